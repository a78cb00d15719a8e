// What the program says, to the part of the page that shows it.

import { byId } from "./dom.js";
import { clearCluster, showCluster } from "./cluster.js";
import { clearFlow, showAlert } from "./flow.js";
import { clearSide, showFunction, showMessage } from "./side.js";
import { showAttack, showPods, showRun, wire } from "./controls.js";

function connection(text, state) {
  const pill = byId("connection");
  if (pill.textContent === text) return;
  pill.textContent = text;
  pill.className = `pill ${state}`;
}

function connect() {
  const stream = new EventSource("events");
  const on = (name, f) => stream.addEventListener(name, (event) => f(JSON.parse(event.data)));
  // With each connection everything comes anew.
  stream.addEventListener("open", () => {
    clearFlow();
    clearSide();
    clearCluster();
    connection("live", "live");
  });
  stream.addEventListener("error", () => connection("connection lost", "lost"));
  on("run", showRun);
  on("alert", showAlert);
  on("function", showFunction);
  on("message", showMessage);
  on("attack", showAttack);
  on("cluster", (state) => {
    showCluster(state);
    showPods();
  });
}

wire();
connect();
