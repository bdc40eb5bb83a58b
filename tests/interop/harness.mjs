// Starts servers and proxies on loopback, and ends them with the test.

import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";

/** Starts a program and waits for a line of its output; gives what the expression's first group matched. */
export async function start(test, program, args, expression, options = {}) {
  const child = spawn(program, args, { stdio: ["ignore", "pipe", "pipe"], ...options });
  test.after(() => child.kill("SIGKILL"));
  const lines = [];
  return new Promise((resolve, reject) => {
    for (const stream of [child.stdout, child.stderr]) {
      createInterface({ input: stream }).on("line", (line) => {
        lines.push(line);
        const found = expression.exec(line);
        if (found) resolve(found[1]);
      });
    }
    child.once("error", reject);
    child.once("exit", (code) => reject(new Error(`${program} ended with ${code}:\n${lines.join("\n")}`)));
  });
}

/** A port that nobody listens on. */
export async function freePort() {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address();
  server.close();
  return port;
}

/**
 * Proxies in front of a server, or of several, one whose route has no filters and one with a reader; `tls` is of their
 * listeners, `more` of the routes, `balance` of the upstream, and `rest` gives what else each has.
 */
export async function proxy(test, endpoint, { tls = "", more = "", balance = '"round-robin"', rest = () => "" } = {}) {
  const endpoints = [endpoint].flat().map((url) => `{ url = "${url}" }`);
  const configuration = (route, filters) => `[upstreams.server]
balance = ${balance}
endpoints = [${endpoints.join(", ")}]
[[routes]]
name = "${route}"
upstream = "server"
${more}
${filters}
${rest(route)}`;
  return proxies(test, configuration, tls);
}

/**
 * Proxies with the recipe of docs/recipes.md that has this heading, one as it stands and one with a reader as the filter of
 * its route; `endpoints` take the places of the addresses in it, one after the other.
 */
export async function recipe(test, heading, endpoints) {
  const places = [...endpoints];
  const written = recipes()
    .get(heading)
    .replace(/127\.0\.0\.1:\d+/g, () => places.shift());
  assert.deepEqual(places, [], "the recipe has an address for each endpoint");
  assert.equal(written.split("[[routes]]").length, 2, "the recipe has one route");
  return proxies(test, (_, filters) => written.replace("[[routes]]", `[[routes]]\n${filters}`));
}

/** The recipes of the page, by their headings. */
export function recipes() {
  const [, ...sections] = readFileSync(process.env.RECIPES, "utf8").split("\n## ");
  return new Map(sections.map((text) => [text.split("\n", 1)[0], /^```toml\n([^]*?)^```$/m.exec(text)[1]]));
}

/** Proxies with what a function of the route's name and its filters writes, without filters and with a reader. */
async function proxies(test, configuration, tls = "") {
  const folder = mkdtempSync(join(tmpdir(), "tidegate-interop-"));
  const origins = {};
  for (const [route, filters] of Object.entries({ relay: "", reader: 'filters = ["reader"]' })) {
    const file = join(folder, `${route}.toml`);
    writeFileSync(
      file,
      `[log]
format = "json"
[[listeners]]
listen = "127.0.0.1:0"
${tls}
[components.reader]
path = "${process.env.READER}"
max_memory = "64MiB"
deadline = "10s"
${configuration(route, filters)}`,
    );
    const listening = /"message":"listening".*"address":"([^"]*)"/;
    origins[route] = await start(test, process.env.TIDEGATE, ["run", "--config", file, "--workers", "1"], listening);
  }
  return origins;
}

/** Listens on a free port of loopback; gives the port. */
export async function listen(test, server) {
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  test.after(() => server.close() && server.closeAllConnections());
  return server.address().port;
}

/** The next event of a WebSocket, an EventEmitter. An error, or a refusal, is an error here. */
export async function next(socket, event) {
  const [value] = await Promise.race([
    once(socket, event),
    once(socket, "unexpected-response").then(([, response]) => {
      throw new Error(`refused with ${response.statusCode}`);
    }),
  ]);
  return value;
}

/** Why a Python package is not there; false when it is. */
export function lacks(module) {
  const found = spawnSync(process.env.PYTHON, ["-c", `import ${module}`]);
  return found.status === 0 ? false : `${module} is not installed`;
}

/** Why there is no Chromium; false when there is. */
export function lacksChromium() {
  return spawnSync("chromium", ["--version"]).status === 0 ? false : "chromium is not installed";
}

/** Why there is no curl that speaks TLS; false when there is. */
export function lacksCurl() {
  const version = String(spawnSync("curl", ["--version"]).stdout);
  return /^Protocols:.* https /m.test(version) ? false : "curl is not installed";
}

/** Why there is no mosquitto; false when there is. */
export function lacksMosquitto() {
  return spawnSync(process.env.MOSQUITTO, ["-h"]).error ? "mosquitto is not installed" : false;
}
