// What the server has said: named values and rings of points, the clocks, and who we are.

export const store = {
  seq: 0,
  cells: new Map(),
  rings: new Map(),
  now: null,
  you: { by: "", scopes: [], csrf: null },
  chosen: "",
  staleBars: 2,
  horizonBars: 4,
  version: "",
  heardAt: 0,
  skew: 0,
  linked: false,
  refused: false,
};

const MOST = 480;
const listeners = new Set();
export const listen = (listener) => listeners.add(listener);
const tell = (what) => {
  for (const listener of listeners) listener(what);
};

// By what a later point takes over an earlier one. Rings of records keep the order in which they came.
function idOf(name, point) {
  if (Array.isArray(point)) return name.includes("/fills/") ? `${point[0]} ${point[1]}` : point[0];
  if (name === "jobs" || name === "alerts") return point.key;
  if (name === "commands") return `${point.learner} ${point.at}`;
  if (name.startsWith("checkpoints/")) return `${point.at} ${point.digest}`;
  return point.seq ?? point.start_ms ?? `${point.at} ${point.name} ${point.test}`;
}
const byTime = (a, b) => (Array.isArray(a) ? a[0] - b[0] : (a.at ?? a.start_ms ?? 0) - (b.at ?? b.start_ms ?? 0));

function merge(name, ring) {
  const fresh = ring.points;
  const known = store.rings.get(name);
  if (ring.whole || known === undefined) {
    store.rings.set(name, fresh);
    return;
  }
  const ids = new Set(fresh.map((point) => idOf(name, point)));
  const kept = known.filter((point) => !ids.has(idOf(name, point))).concat(fresh);
  if (!["jobs", "alerts", "commands", "verdicts"].includes(name)) kept.sort(byTime);
  store.rings.set(name, kept.slice(-MOST));
}

export function takeBoard(board) {
  if (board.seq < store.seq) {
    // Another log, or one that lost its end: nothing of before counts.
    store.cells.clear();
    store.rings.clear();
  }
  for (const [name, cell] of Object.entries(board.cells)) store.cells.set(name, cell);
  for (const [name, ring] of Object.entries(board.rings)) merge(name, ring);
  store.seq = board.seq;
  tell(new Set([...Object.keys(board.cells), ...Object.keys(board.rings)]));
}

export function takeNow(now) {
  store.now = now;
  store.ready = now.ready;
  store.skew = now.now_ms - Date.now();
  store.heardAt = performance.now();
  tell(new Set(["now"]));
}

export function takeState(state) {
  store.cells.clear();
  store.rings.clear();
  store.chosen = state.chosen;
  store.staleBars = state.stale_bars;
  store.horizonBars = state.horizon_bars;
  store.version = state.version;
  store.you = state.you;
  takeNow(state.now);
  takeBoard(state.board);
}

export function setLink(linked, refused = false) {
  if (store.linked === linked && store.refused === refused) return;
  // Whether a server that is back has read its log is known once it says so.
  Object.assign(store, { linked, refused, ready: false });
  tell(new Set(["link"]));
}

export const cell = (name) => store.cells.get(name);
export const value = (name) => store.cells.get(name)?.v;
export const ring = (name) => store.rings.get(name) ?? [];
export const may = (scope) => store.you.scopes.includes(scope);

// The values (or rings) whose names begin so, by the rest of their names, in the order of those.
export function under(prefix, map = store.cells) {
  const found = [];
  for (const [name, one] of map) if (name.startsWith(prefix)) found.push([name.slice(prefix.length), one]);
  return found.sort((a, b) => (a[0] < b[0] ? -1 : 1));
}

// --- clocks and ages ----------------------------------------------------------------------------------------------

export const wallNow = () => Date.now() + store.skew;
export const marketNow = () => wallNow() + (store.now?.lead_ms ?? 0);
export const about = (series = store.chosen) => store.now?.series.find((one) => one.key === series);
const unheardS = () => (performance.now() - store.heardAt) / 1000;

// Is a value too old to go by? Market figures are judged by their market: a closed one makes nothing stale.
export function stale(kind, at, series = store.chosen) {
  if (unheardS() > 15 || !store.linked) return true;
  if (kind === "record") return false;
  if (kind === "beat") return at > 10;
  const one = about(series);
  const step = one?.step_ms ?? 900_000;
  const newest = cell(`${series}/bar`)?.at ?? 0;
  if (one?.overdue_ms ? marketNow() > one.overdue_ms : marketNow() - newest > (store.staleBars + 1) * step) return true;
  const hour = Math.max(3_600_000, step);
  const most = {
    bar: 0,
    forecast: store.staleBars * step,
    live: (store.staleBars + store.horizonBars) * step,
    hourly: 2 * hour + step,
    checkpoint: 3 * hour,
  }[kind];
  return newest - at > most;
}

export function ageS(clock, at) {
  if (clock === "beat") return at + unheardS();
  return ((clock === "wall" ? wallNow() : marketNow()) - at) / 1000;
}
