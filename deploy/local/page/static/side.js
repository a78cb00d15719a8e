// The functions and what the stand-ins got.

import { byId, clock, el, plural } from "./dom.js";

const functions = new Map();
const maxMessages = 30;

export function clearSide() {
  functions.clear();
  byId("messages").replaceChildren();
}

export function showFunction(f) {
  functions.set(f.name, f);
  const list = [...functions.values()].sort((a, b) => a.name.localeCompare(b.name));
  byId("functions").replaceChildren(...list.map(line));
}

function line(f) {
  const facts = [];
  if (f.address) facts.push(f.address);
  if (f.pid) facts.push(`pid ${f.pid}`);
  if (f.restarts > 0) facts.push(plural(f.restarts, "restart"));
  return el("li", {},
    el("span", { class: `dot ${f.state === "ready" ? "ok" : "bad"}` }),
    el("span", { class: "name", text: f.name }),
    f.state === "ready" ? null : el("span", { class: "badge gone", text: f.state }),
    el("span", { class: "small", text: facts.join(" · ") }),
    f.account ? el("span", { class: "small account", text: `ServiceAccount ${f.account}` }) : null,
    f.last && f.state !== "ready" ? el("span", { class: "small", text: f.last }) : null);
}

export function showMessage(m) {
  const lines = [m.title, ...m.text.split("\n")].filter((l) => l !== "");
  const head = (lines.shift() || "").replaceAll("*", "");
  byId("messages").prepend(el("li", { class: m.service },
    el("span", { class: "who", text: m.service === "aws" ? "AWS Lambda" : "Slack" }),
    el("time", { datetime: m.at, text: clock(m.at) }),
    el("strong", { text: head }),
    lines.length ? el("span", { class: "text", text: lines.join("\n") }) : null));
  while (byId("messages").children.length > maxMessages) byId("messages").lastElementChild.remove();
}
