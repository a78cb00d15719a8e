// Pods and nodes as they are, and for a moment as they were.

import { byId, el, plural } from "./dom.js";

const freshFor = 15000;
const goneFor = 6000;
let seen = null; // pods by UID; null until the first state
const fresh = new Map(); // UID -> until when
const gone = new Map(); // UID -> { pod, until }
let current = [];

export function showCluster(state) {
  const now = Date.now();
  const pods = new Map(state.pods.map((p) => [p.uid, p]));
  if (seen !== null) {
    for (const uid of pods.keys()) if (!seen.has(uid)) fresh.set(uid, now + freshFor);
    for (const [uid, pod] of seen) if (!pods.has(uid)) gone.set(uid, { pod, until: now + goneFor });
  }
  seen = pods;
  current = state.pods;
  draw();
  byId("nodes").replaceChildren(...state.nodes.map(node));
  if (state.more > 0) byId("pods").append(el("p", { class: "hint", text: `and ${plural(state.more, "more pod")}` }));
}

export function clearCluster() {
  seen = null;
  fresh.clear();
  gone.clear();
}

export const podNames = () => current.filter((p) => p.ready && !p.terminating).map((p) => `${p.namespace}/${p.name}`);

function draw() {
  const now = Date.now();
  for (const [uid, until] of fresh) if (until < now) fresh.delete(uid);
  for (const [uid, { until }] of gone) if (until < now) gone.delete(uid);
  const groups = new Map();
  const add = (pod, isGone) => {
    const owner = pod.owner ? `${pod.ownerKind} ${pod.owner}` : "on its own";
    const key = `${pod.namespace} · ${owner}`;
    if (!groups.has(key)) groups.set(key, []);
    groups.get(key).push(tile(pod, isGone));
  };
  const all = [...current.map((pod) => [pod, false]), ...[...gone.values()].map(({ pod }) => [pod, true])];
  all.sort(([a], [b]) => a.namespace.localeCompare(b.namespace) || a.owner.localeCompare(b.owner) || a.name.localeCompare(b.name));
  for (const [pod, isGone] of all) add(pod, isGone);
  byId("pods").replaceChildren(...[...groups].map(([name, tiles]) => el("div", { class: "group" },
    el("h3", { text: name }), el("ul", { class: "tiles" }, ...tiles))));
}

setInterval(() => {
  if (fresh.size > 0 || gone.size > 0) draw();
}, 1000);

function tile(pod, isGone) {
  const state = isGone ? "deleted" : pod.terminating ? "terminating" : pod.ready ? "ready" : pod.phase.toLowerCase() || "pending";
  const badges = [];
  if (!isGone && fresh.has(pod.uid)) badges.push(el("span", { class: "badge new", text: "new" }));
  if (isGone || pod.terminating) badges.push(el("span", { class: "badge gone", text: state }));
  for (const mark of pod.marks) badges.push(el("span", { class: `badge ${mark.split("=")[0]}`, text: mark }));
  return el("li", { class: `tile ${state}` },
    el("span", { class: "pod", title: pod.name, text: pod.name }),
    el("span", { class: "small", text: `${pod.uid.slice(0, 8)} · ${pod.node || "no node"}` }),
    badges.length ? el("span", { class: "badges" }, ...badges) : null);
}

function node(n) {
  return el("li", {},
    el("span", { class: `dot ${n.ready ? "ok" : "bad"}` }),
    el("span", { class: "name", text: n.name }),
    ...n.taints.map((t) => el("span", { class: "badge taint", text: t })));
}
