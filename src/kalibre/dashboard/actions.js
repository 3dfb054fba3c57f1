// What a person does: asked once more in a dialog, sent as a POST with the session's token, told what became of it.

import { byId } from "./dom.js";
import { named, t } from "./format.js";
import { may, store } from "./store.js";

const SCOPE = { kill: "kill", release: "admin" };

function bodyOf(verb, name, reason, digest) {
  switch (verb) {
    case "pause":
    case "resume":
    case "reset":
      return ["/hub/command", { learner: name, verb, reason }];
    case "restore":
      return ["/hub/command", { learner: name, verb, checkpoint: digest, reason }];
    case "checkpoint":
      return ["/hub/checkpoint", { learner: name, reason }];
    case "retrain":
      return ["/hub/retrain", { symbol: name, reason }];
    case "restart":
    case "stop":
    case "start":
      return ["/hub/worker", { name, action: verb, reason }];
    case "kill":
      return ["/ml/kill", { reason: reason || "page" }];
    case "release":
      return ["/ml/kill", { release: true }];
    case "test_alert":
      return ["/alerts/test", undefined];
    default:
      throw new Error(verb);
  }
}

export async function send(path, body) {
  const headers = {};
  if (body !== undefined) headers["content-type"] = "application/json";
  if (store.you.csrf) headers["x-csrf-token"] = store.you.csrf;
  const response = await fetch(path, {
    method: "POST",
    headers,
    body: body === undefined ? undefined : JSON.stringify(body),
  });
  const text = await response.text();
  const answer = text ? JSON.parse(text) : {};
  if (!response.ok) throw new Error(answer.error?.message ?? `${response.status}`);
  return answer;
}

let pending = null;

export function ask(verb, name, digest = "") {
  const scope = SCOPE[verb] ?? "operate";
  const allowed = may(scope) || (verb === "kill" && may("operate"));
  const who = named("learner", name);
  pending = allowed ? { verb, name, digest } : null;
  byId("ask-h").textContent = t(`ask.${verb}`, { name: who });
  byId("ask-what").textContent = allowed
    ? t(`ask_what.${verb}`, { name: who, digest: digest.slice(0, 8) })
    : t("log_in_first");
  byId("ask-problem").textContent = "";
  byId("ask-reason").value = "";
  byId("ask-reason-l").hidden = !allowed || ["test_alert", "release"].includes(verb);
  byId("ask-yes").textContent = t(allowed ? `act.${verb}` : "log_in");
  byId("ask-yes").classList.toggle("danger", ["kill", "reset", "restore", "stop"].includes(verb) && allowed);
  byId("ask").returnValue = "";
  byId("ask").showModal();
}

export function tell(text) {
  const said = byId("said");
  said.textContent = text;
  said.classList.add("shown");
  clearTimeout(tell.later);
  tell.later = setTimeout(() => said.classList.remove("shown"), 6000);
}

export function listen() {
  const dialog = byId("ask");
  dialog.addEventListener("submit", async (event) => {
    event.preventDefault();
    if (pending === null) return location.assign("/login");
    const { verb, name, digest } = pending;
    const button = byId("ask-yes");
    button.disabled = true;
    try {
      const answer = await send(...bodyOf(verb, name, byId("ask-reason").value.trim(), digest));
      dialog.close();
      const failed = answer.results?.filter((one) => !one.ok).length ?? 0;
      tell(
        t(failed ? "done_failed" : "done", {
          what: name ? `${t(`act.${verb}`)} (${named("learner", name)})` : t(`act.${verb}`),
          n: failed,
        }) + (answer.detail ? ` ${answer.detail}` : answer.job ? ` ${answer.job}` : ""),
      );
    } catch (error) {
      byId("ask-problem").textContent = error.message;
    } finally {
      button.disabled = false;
    }
  });
}
