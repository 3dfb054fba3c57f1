// Runs before the first paint, so that no page flashes in the wrong light, and asks for words and state while the rest
// loads.
const chosen = localStorage.getItem("kalibre.theme");
if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
if (document.documentElement.dataset.page === "hub") {
  const lang = localStorage.getItem("kalibre.lang") ?? document.documentElement.lang;
  const symbol = new URLSearchParams(location.search).get("symbol");
  window.early = {
    lang,
    words: fetch(`/page/words.${lang}.json`),
    state: fetch(`/hub/state${symbol ? `?symbol=${encodeURIComponent(symbol)}` : ""}`),
  };
  for (const one of [window.early.words, window.early.state]) one.catch(() => {}); // who awaits them deals with it
}
