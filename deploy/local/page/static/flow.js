// The live flow: one card for each alert, from the alert to what became of it.

import { byId, clock, duration, el, plural, say } from "./dom.js";

const maxCards = 100;
const cards = new Map(); // by the alert's id
const told = new Set(); // outcomes that screen readers have heard

const words = {
  applied: "applied", unchanged: "unchanged", skipped: "skipped",
  refused: "refused", dryrun: "dry run", failed: "failed",
};

export function clearFlow() {
  cards.clear();
  byId("alerts").replaceChildren();
  count();
}

export function showAlert(alert) {
  let card = cards.get(alert.id);
  if (!card) {
    card = newCard(alert);
    cards.set(alert.id, card);
    byId("alerts").prepend(card.node);
    drop();
  }
  card.alert = alert;
  card.route.replaceChildren(...route(alert));
  showMisses(card, alert);
  announce(alert);
  count();
}

function drop() {
  while (cards.size > maxCards) {
    const [id, card] = cards.entries().next().value;
    card.node.remove();
    cards.delete(id);
  }
}

// newCard makes what does not change: it keeps its open details and its focus.
function newCard(alert) {
  const title = alert.rule || alert.type;
  const route = el("div", { class: "route" });
  const misses = el("details", { class: "misses", hidden: "" }, el("summary"), el("ul"));
  const node = el("li", { class: "card" },
    el("div", { class: "card-head" },
      el("span", { class: `chip priority ${alert.priority.toLowerCase()}`, text: alert.priority || "event" }),
      el("h3", { text: title }),
      el("time", { datetime: alert.at, text: clock(alert.at) })),
    el("p", { class: "facts" }, ...facts(alert)),
    route, misses, origin(alert));
  return { node, route, misses, alert };
}

function facts(alert) {
  const out = [];
  if (alert.sent) out.push(el("span", { class: "title", text: alert.sent.title }));
  out.push(alert.pod
    ? el("span", {}, "pod ", el("code", { text: alert.pod }))
    : el("span", { text: "no pod named" }));
  out.push(el("span", { text: alert.eventSource || alert.source }));
  if (alert.sent && alert.sent.expect) out.push(el("span", { class: "expect", text: `To see: ${alert.sent.expect}.` }));
  return out;
}

function origin(alert) {
  const rows = alert.sent ? alert.sent.changes.map((c) => el("tr", {},
    el("th", { scope: "row", text: c.what }), el("td", { text: c.from || "-" }), el("td", { text: c.to }))) : [];
  return el("details", { class: "origin" },
    el("summary", { text: alert.sent ? `Capture ${alert.sent.capture}, ${plural(rows.length, "value")} replaced` : "Event" }),
    rows.length ? el("div", { class: "scroll" }, el("table", {},
      el("thead", {}, el("tr", {},
        el("th", { scope: "col", text: "Replaced" }), el("th", { scope: "col", text: "Captured" }), el("th", { scope: "col", text: "Sent" }))),
      el("tbody", {}, ...rows))) : null,
    alert.output ? el("p", { class: "output" }, el("span", { class: "label", text: "Output (shown, never parsed)" }), el("code", { text: alert.output })) : null,
    el("p", { class: "output" }, el("span", { class: "label", text: "Event id" }), el("code", { text: alert.eventId })));
}

function route(passage) {
  const place = new Map(passage.decisions.map((d, i) => [d.trigger, i]));
  const rows = passage.deliveries.toSorted((a, b) => place.get(a.trigger) - place.get(b.trigger)).map(delivery);
  if (!passage.decisions.some((d) => d.matched)) {
    rows.push(el("p", { class: "nothing", text: "No trigger takes this event: nothing is called." }));
  }
  return rows;
}

function delivery(d) {
  const result = el("div", { class: "result" }, ...outcome(d));
  return el("div", { class: `delivery ${d.state}` },
    el("div", { class: "hop" }, el("span", { class: "label", text: "trigger" }), el("span", { class: "name", text: d.trigger })),
    el("div", { class: "hop" }, el("span", { class: "label", text: "function" }), el("span", { class: "name", text: d.function })),
    result);
}

function outcome(d) {
  const parts = [];
  const last = d.calls[d.calls.length - 1];
  if (d.outcome) {
    const o = d.outcome;
    const line = el("p", { class: "verdict" },
      el("span", { class: `chip outcome ${o.outcome}`, text: words[o.outcome] || o.outcome }));
    if (o.reason) line.append(el("code", { class: "reason", text: o.reason }));
    line.append(el("span", { class: "took", text: duration(o.took) }));
    parts.push(line, el("p", { class: "message", text: o.message }));
    parts.push(...changes(o));
  } else if (d.state === "calling") {
    parts.push(el("p", { class: "verdict" }, el("span", { class: "chip busy", text: "calling" })));
  } else if (d.state === "done") {
    parts.push(el("p", { class: "verdict" }, el("span", { class: "chip outcome unchanged", text: `answered ${last.status}` }),
      el("span", { class: "took", text: duration(last.took) })));
  }
  for (const call of d.calls) {
    if (call.status >= 300) parts.push(attempt(call));
  }
  if (d.state === "failed") {
    parts.push(el("p", { class: "verdict" }, el("span", { class: "chip outcome failed", text: d.deadLetter ? "dead letter" : "not delivered" })));
  }
  if (d.next) parts.push(...follow(d.next));
  return parts;
}

function attempt(call) {
  const again = call.again ? `, again in ${duration(call.again)}` : "";
  return el("p", { class: "attempt", text: `attempt ${call.number}: ${call.status} ${call.answer || ""}${again}` });
}

function changes(o) {
  if (!Array.isArray(o.changes) || o.changes.length === 0) return [];
  return [el("ul", { class: "changes" }, ...o.changes.slice(0, 5).map((c) => el("li", {},
    el("code", { text: c.field }), `: ${brief(c.before)} → ${brief(c.after)}`)))];
}

function brief(value) {
  if (value === null || value === undefined || value === "") return "none";
  const text = typeof value === "string" ? value : JSON.stringify(value);
  return text.length > 80 ? `${text.slice(0, 80)}…` : text;
}

// follow is where an outcome went: in one line each, as it is the end of the story.
function follow(passage) {
  return passage.deliveries.map((d) => {
    const o = d.outcome;
    const what = o ? `${words[o.outcome] || o.outcome}${o.reason ? ` (${o.reason})` : ""} in ${duration(o.took)}` : d.state;
    return el("p", { class: "follow" },
      el("span", { class: "label", text: "then" }), " ",
      el("span", { class: "name", text: d.trigger }), " → ", el("span", { class: "name", text: d.function }), ` ${what}`);
  });
}

function showMisses(card, alert) {
  const misses = alert.decisions.filter((d) => !d.matched);
  card.misses.hidden = misses.length === 0;
  card.misses.querySelector("summary").replaceChildren(
    `${plural(misses.length, "trigger does", "triggers do")} not match: `,
    el("span", { class: "names", text: misses.map((d) => d.trigger).join(", ") }));
  card.misses.querySelector("ul").replaceChildren(...misses.map((d) => el("li", {},
    el("span", { class: "name", text: d.trigger }), el("span", { class: "why", text: d.reason }))));
}

function announce(alert) {
  for (const d of alert.deliveries) {
    if (!d.outcome || d.function === "slack") continue;
    const key = `${alert.id} ${d.trigger}`;
    if (told.has(key)) continue;
    told.add(key);
    say(`${d.function} ${words[d.outcome.outcome] || d.outcome.outcome}: ${d.outcome.message}`);
  }
}

function count() {
  const totals = {};
  for (const { alert } of cards.values()) {
    for (const d of alert.deliveries) {
      if (d.function !== "slack" && d.outcome) totals[d.outcome.outcome] = (totals[d.outcome.outcome] || 0) + 1;
      if (d.deadLetter) totals["dead letter"] = (totals["dead letter"] || 0) + 1;
    }
  }
  byId("empty").hidden = cards.size > 0;
  byId("counts").replaceChildren(...(cards.size === 0 ? [] : [
    el("span", { text: plural(cards.size, "alert") }),
    ...Object.entries(totals).map(([name, n]) => el("span", { class: `count ${name}`, text: `${n} ${words[name] || name}` })),
  ]));
}
