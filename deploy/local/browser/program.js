// Starts the local run as a user does, and stops it as Ctrl-C does.

import { spawn } from "node:child_process";
import { fileURLToPath } from "node:url";

export const root = fileURLToPath(new URL("../../../", import.meta.url));

// The first build of the control plane takes minutes.
const startTimeout = 20 * 60 * 1000;

export async function startProgram() {
  const environment = { ...process.env };
  delete environment.KUBECONFIG;
  const child = spawn(`${root}dist/bin/local`, [], { cwd: root, env: environment, stdio: ["ignore", "pipe", "inherit"] });
  const ended = new Promise((resolve) => child.on("exit", (code, signal) => resolve({ code, signal })));
  const url = await new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error("the program did not start in time")), startTimeout);
    const fail = (error) => {
      clearTimeout(timer);
      reject(error);
    };
    let output = "";
    child.stdout.on("data", (data) => {
      output += data;
      const found = output.match(/http:\/\/127\.0\.0\.1:\d+\//);
      if (found) {
        clearTimeout(timer);
        resolve(found[0]);
      }
    });
    child.on("error", fail);
    ended.then(({ code }) => fail(new Error(`the program ended with status ${code}`)));
  });
  return {
    url,
    async stop() {
      child.kill("SIGINT");
      return ended;
    },
  };
}
