// The buttons.

import { byId, el } from "./dom.js";
import { podNames } from "./cluster.js";

let run = null;
let attacking = false;
let podCount = -1;

export function showRun(state) {
  run = state;
  byId("mode").textContent = state.ownCluster ? "throwaway cluster, enforcing" : "YOUR cluster, dry run";
  byId("mode").className = `pill ${state.ownCluster ? "own" : "yours"}`;
  const banner = byId("banner");
  banner.hidden = state.ownCluster;
  banner.textContent = `This is your cluster, ${state.host}. Dry run is on: every function asks the API server with dryRun=All, and nothing is changed.`;
  byId("offers").replaceChildren(...state.offers.filter((o) => o.main).map(button));
  byId("capture").replaceChildren(...state.offers.filter((o) => !o.main).map((o) => el("option", { value: o.id, text: o.title })));
  if (!state.ownCluster) {
    byId("empty-hint").textContent = "Choose a pod and send an alert. You will see which triggers take it and which do not, and what the function would do and why.";
    byId("messages-hint").textContent = "In dry run functions post nothing.";
  }
  podCount = -1;
  showPods();
  refresh();
}

export function showAttack(state) {
  attacking = state.running;
  const text = state.running
    ? `Alert ${state.step} of ${state.of}: ${state.title}${state.problem ? ` (${state.problem})` : ""}`
    : "The series is over. Press again for another.";
  byId("attack-state").textContent = text;
  refresh();
}

// showPods offers the pods to aim at. The choice stays while its pod does.
export function showPods() {
  if (!run) return;
  const names = podNames();
  const signature = names.join();
  if (signature === podCount) return;
  podCount = signature;
  const aim = byId("aim");
  const chosen = aim.value;
  aim.replaceChildren(
    el("option", { value: "", text: run.ownCluster ? "the workload that fits the alert" : "choose a pod" }),
    ...names.map((name) => el("option", { value: name, text: name })));
  aim.value = names.includes(chosen) ? chosen : "";
  refresh();
}

function button(o) {
  const hint = o.made ? `${o.expect}. Changed: ${o.made}.` : `${o.expect}.`;
  return el("button", { type: "button", class: "offer", "data-alert": o.id, on: { click: () => send(o) } },
    el("span", { class: `mark ${o.priority.toLowerCase()}`, "aria-hidden": "true" }),
    el("span", { class: "what" }, el("span", { class: "title", text: o.title }), el("span", { class: "hint", text: hint })));
}

function refresh() {
  if (!run) return;
  byId("aim").disabled = false;
  const mustChoose = !run.ownCluster && byId("aim").value === "";
  byId("aim-hint").textContent = run.ownCluster ? "" : mustChoose
    ? "Alerts about pods can be sent once a pod is chosen."
    : "Nothing is changed in your cluster: dry run is on.";
  const attack = byId("attack");
  attack.disabled = attacking || run.noAttack !== undefined;
  if (run.noAttack) byId("attack-state").textContent = `The series is off: ${run.noAttack}.`;
  for (const node of byId("offers").children) {
    const o = run.offers.find((offer) => offer.id === node.dataset.alert);
    node.disabled = mustChoose && o.workload !== "";
  }
  const selected = run.offers.find((o) => o.id === byId("capture").value);
  byId("send-capture").disabled = !selected || (mustChoose && selected.workload !== "");
}

async function post(path, body) {
  const notice = byId("notice");
  try {
    const response = await fetch(path, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });
    const answer = await response.json().catch(() => ({ error: `the answer was ${response.status}` }));
    notice.textContent = answer.error ? `Not sent: ${answer.error}` : "";
    notice.className = answer.error ? "status-line problem" : "status-line";
    return !answer.error;
  } catch {
    notice.textContent = "Not sent: the program does not answer.";
    notice.className = "status-line problem";
    return false;
  }
}

async function send(o) {
  if (await post("send", { alert: o.id, pod: o.workload === "" ? "" : byId("aim").value })) {
    byId("notice").textContent = `Sent: ${o.title}`;
  }
}

export function wire() {
  byId("single").open = matchMedia("(min-width: 761px)").matches;
  byId("attack").addEventListener("click", () => post("attack", {}));
  byId("aim").addEventListener("change", refresh);
  byId("capture").addEventListener("change", refresh);
  byId("send-capture").addEventListener("click", () => {
    const o = run && run.offers.find((offer) => offer.id === byId("capture").value);
    if (o) send(o);
  });
}
