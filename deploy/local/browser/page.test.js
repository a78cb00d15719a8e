// The page in a real browser: what a person sees and presses, on the real thing.

import assert from "node:assert/strict";
import { mkdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { after, before, test } from "node:test";
import { chromium } from "playwright-core";

import { root, startProgram } from "./program.js";

const screenshots = `${root}dist/screenshots`;
const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const patience = 20_000;

let program, browser, page;
const complaints = [];

before(async () => {
  mkdirSync(screenshots, { recursive: true });
  program = await startProgram();
  browser = await chromium.launch({
    executablePath: process.env.CHROMIUM || "/usr/bin/chromium",
    args: process.getuid() === 0 ? ["--no-sandbox"] : [],
  });
  page = await open({ width: 1440, height: 1000 });
});

after(async () => {
  await browser?.close();
  await program?.stop();
});

async function open(viewport) {
  const context = await browser.newContext({ viewport, colorScheme: "light", reducedMotion: "reduce" });
  const opened = await context.newPage();
  opened.setDefaultTimeout(patience);
  opened.on("console", (message) => {
    if (message.type() === "error" || message.type() === "warning") complaints.push(message.text());
  });
  opened.on("pageerror", (error) => complaints.push(error.message));
  opened.on("request", (request) => {
    if (!request.url().startsWith(program.url)) complaints.push(`request to ${request.url()}`);
  });
  await opened.goto(program.url);
  await opened.waitForSelector("#attack:enabled");
  return opened;
}

// card is the newest card of an alert that was sent under this title.
const card = (title) => page.locator(".card", { has: page.locator(".facts .title", { hasText: title }) }).first();

// delivery is the part of a card about one function.
const delivery = (title, name) => card(title).locator(".delivery", { has: page.locator(".hop .name", { hasText: new RegExp(`^${name}$`) }) });

async function verdict(title, name) {
  const d = delivery(title, name);
  await d.locator(".chip.outcome").first().waitFor();
  return {
    outcome: await d.locator(".chip.outcome").first().textContent(),
    reason: (await d.locator(".reason").count()) ? await d.locator(".reason").first().textContent() : "",
    message: await d.locator(".message").first().textContent(),
  };
}

test("the page loads, and everything runs", async () => {
  const response = await page.request.get(program.url);
  assert.match(response.headers()["content-security-policy"], /default-src 'none'/);
  await page.waitForFunction(() => document.querySelectorAll("#functions .dot.ok").length >= 6);
  assert.equal(await page.locator("#connection").textContent(), "live");
  assert.ok(await page.locator("#pods .tile").count() >= 9);
  assert.ok(await page.locator(".offer").count() >= 10);
  assert.match(await page.locator("#functions").textContent(), /ServiceAccount riposte\/riposte-delete-pod/);
});

test("a button sends an alert, and its pod is deleted and replaced", async () => {
  const cards = await page.locator(".card").count();
  await page.getByRole("button", { name: "Malware dropped and run" }).click();
  const got = await verdict("Malware dropped and run", "delete-pod");
  assert.equal(got.outcome, "applied");
  assert.equal(await page.locator(".card").count(), cards + 1);
  const pod = (await card("Malware dropped and run").locator(".facts code").first().textContent()).split("/")[1];
  assert.ok(got.message.includes(pod), `${got.message} does not name ${pod}`);
  // The pod that was there is shown as deleted, and a new one as new.
  await page.locator(".tile.deleted", { hasText: pod }).waitFor();
  await page.locator(".tile", { has: page.locator(".badge.new") }).first().waitFor();
  // The outcome went on to Slack's stand-in.
  await delivery("Malware dropped and run", "delete-pod").locator(".follow", { hasText: "slack" }).waitFor();
  await page.locator("#messages li.slack").first().waitFor();
  assert.match(await page.locator("#live").textContent(), /(delete-pod|collect-evidence|slack) applied/);
});

test("triggers that do not match say why", async () => {
  const misses = card("Malware dropped and run").locator(".misses");
  assert.match(await misses.locator("summary").textContent(), /triggers do not match/);
  await misses.locator("summary").click();
  const why = await misses.locator("li", { hasText: "mark-suspect" }).locator(".why").textContent();
  assert.match(why, /rule is "Drop and execute new binary in container", which is not among/);
});

test("what was replaced in the capture is shown", async () => {
  const origin = card("Malware dropped and run").locator(".origin");
  await origin.locator("summary").click();
  const what = await origin.locator("tbody th").allTextContents();
  assert.deepEqual(what, ["event id", "time", "container.id", "k8s.pod.name"]);
});

test("the keyboard is enough", async () => {
  await page.locator("#attack").focus();
  await page.keyboard.press("Tab");
  assert.equal(await page.evaluate(() => document.activeElement.id), "aim");
  await page.getByRole("button", { name: "AWS login without MFA" }).focus();
  await page.keyboard.press("Enter");
  assert.equal((await verdict("AWS login without MFA", "lambda")).outcome, "applied");
  await page.locator("#messages li.aws").first().waitFor();
});

test("names from alerts are text", async () => {
  await page.locator(".all summary").click();
  await page.locator("#capture").selectOption("21-unusual-rule-name");
  await page.locator("#send-capture").click();
  const heading = card("21-unusual-rule-name").locator("h3");
  await heading.waitFor();
  assert.match(await heading.textContent(), /<x>&y/);
  assert.equal(await page.locator("x").count(), 0);
  await card("21-unusual-rule-name").locator(".nothing").waitFor();
});

test("the simulated attack ends as it should", async () => {
  await page.locator("#attack").click();
  await page.locator("#attack:disabled").waitFor();
  await page.locator("#attack-state", { hasText: "The series is over" }).waitFor();
  for (const [title, name, outcome, reason] of [
    ["Shell in a container", "label", "applied", ""],
    ["Alert about the host", "label", "skipped", "no-target"],
    ["Pod calls the Kubernetes API", "isolate", "applied", null],
    ["Malware in a StatefulSet", "delete-pod", "applied", ""],
    ["Malware dropped and run", "delete-pod", "applied", ""],
    ["The same alert once more", "delete-pod", "applied", ""],
    ["Pod in kube-system", "delete-pod", "refused", "protected-namespace"],
    ["Old alert, live pod", "delete-pod", "refused", "too-old"],
    ["Forged pod name in the output", "label", "applied", ""],
    ["Breakout to the node", "taint", "applied", ""],
    ["AWS login without MFA", "lambda", "applied", ""],
  ]) {
    const got = await verdict(title, name);
    assert.equal(got.outcome, outcome, `${title}: ${got.message}`);
    if (reason !== null) assert.equal(got.reason, reason, `${title}: ${got.message}`);
  }
  await card("Falcosidekick's test alert").locator(".nothing").waitFor();
  // The forged alert marked the pod that Falco named.
  const named = await card("Forged pod name in the output").locator(".facts code").first().textContent();
  assert.ok((await verdict("Forged pod name in the output", "label")).message.includes(named.split("/")[1]));
  assert.match(named, /^default\/web-/);
  await page.locator(".badge.isolated").first().waitFor();
  await page.locator(".badge.taint").first().waitFor();
});

test("it looks right in light and dark and on a phone, and is accessible", async () => {
  await page.evaluate(() => {
    for (const open of document.querySelectorAll(".card details[open]")) open.open = false;
    scrollTo(0, 0);
  });
  for (const colorScheme of ["light", "dark"]) {
    await page.emulateMedia({ colorScheme, reducedMotion: "reduce" });
    await page.screenshot({ path: `${screenshots}/${colorScheme}.png` });
    await accessible(page, colorScheme);
  }
  const phone = await open({ width: 380, height: 800 });
  await phone.locator(".card").first().waitFor();
  await phone.screenshot({ path: `${screenshots}/phone.png` });
  await phone.screenshot({ path: `${screenshots}/phone-whole.png`, fullPage: true });
  const width = await phone.evaluate(() => document.documentElement.scrollWidth);
  assert.ok(width <= 380, `the page is ${width} pixels wide on a phone`);
  await accessible(phone, "phone");
  await phone.context().close();
});

async function accessible(where, name) {
  await where.evaluate(axe);
  const { violations } = await where.evaluate(() => window.axe.run(document, {
    runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"],
  }));
  const found = violations.map((v) => `${v.id}: ${v.nodes.map((n) => n.target.join(" ")).slice(0, 3).join(", ")}`);
  assert.deepEqual(found, [], `${name}: accessibility`);
}

test("other sites can neither read nor press", async () => {
  const { port } = new URL(program.url);
  for (const [what, request, want] of [
    ["no origin", { method: "POST", headers: { "content-type": "application/json" }, data: "{}" }, 403],
    ["another origin", { method: "POST", headers: { origin: "http://attacker.example", "content-type": "application/json" }, data: "{}" }, 403],
    ["another host", { method: "GET", headers: { host: `attacker.example:${port}` } }, 403],
  ]) {
    const path = request.method === "POST" ? "attack" : "";
    const response = await page.request.fetch(program.url + path, request);
    assert.equal(response.status(), want, what);
  }
});

test("nothing went wrong in the browser", () => {
  assert.deepEqual(complaints, []);
});

test("stopping is clean, and the page says that it has lost the program", async () => {
  const pids = (await page.locator("#functions").textContent()).match(/(?<=pid )\d+/g).map(Number);
  assert.ok(pids.length >= 6);
  const ended = await program.stop();
  assert.deepEqual(ended, { code: 0, signal: null });
  for (const pid of pids) assert.throws(() => process.kill(pid, 0), { code: "ESRCH" }, `process ${pid} is still there`);
  await page.locator("#connection", { hasText: "connection lost" }).waitFor();
});
