// A phone with the client of examples/clients/mobile.js: does what is written to it, one JSON object a line, and
// answers each in the same way. Its store is a file, since the phone may be switched off; its network may fail.

import { existsSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createInterface } from "node:readline";
import { setTimeout } from "node:timers/promises";

const [clients, address, file] = process.argv.slice(2);
const { mobileClient } = await import(`${clients}/mobile.js`);

const network = { offline: false, losing: 0, slow: false, late: 0, sent: [] };
const really = globalThis.fetch;
globalThis.fetch = async (url, options) => {
  const path = new URL(url).pathname.split("/").pop();
  network.sent.push(path);
  if (network.offline) throw new TypeError("fetch failed");
  const response = await really(url, options);
  if (network.losing-- > 0) throw new TypeError("terminated");
  if (network.slow && path === "refresh") {
    network.late += 1;
    await setTimeout(300);
  }
  return response;
};

const signedOut = [];
const store = {
  broken: false,
  get: async () => (existsSync(file) ? readFileSync(file, "utf8") : null),
  set: async (token) => {
    if (store.broken) throw new Error("The store is locked.");
    writeFileSync(file, token);
  },
  delete: async () => rmSync(file, { force: true }),
};
const client = mobileClient(address, store, { onSignedOut: (code) => signedOut.push(code ?? null) });

const steps = {
  logIn: ({ email, password }) => client.logIn(email, password),
  call: ({ method, path, body }) => client.call(method, path, body),
  many: ({ times }) => Promise.all(Array.from({ length: times }, () => client.call("GET", "/me"))),
  logOut: () => client.logOut(),
  // While the answer of a refresh is on its way, which is the last thing that the network brings.
  logOutMeanwhile: async () => {
    network.slow = true;
    const called = client.call("GET", "/me").catch(() => {});
    while (!network.late) await setTimeout(1);
    network.offline = true;
    await Promise.all([client.logOut(), called]);
  },
  isSignedIn: () => client.isSignedIn(),
  set: ({ offline = network.offline, losing = 0, broken = false }) => {
    Object.assign(network, { offline, losing, sent: [] });
    store.broken = broken;
  },
  seen: () => ({ sent: network.sent, signedOut }),
};

for await (const line of createInterface({ input: process.stdin })) {
  const { step, ...given } = JSON.parse(line);
  const answer = await Promise.resolve(steps[step](given)).then(
    (value) => ({ value: value ?? null }),
    (error) => ({ error: error.code ?? [error.name, error.status].join(" ").trim() }),
  );
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}
