// Starts an echo and proxies with one filter on loopback, and ends them with the test.

import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { copyFileSync, mkdtempSync, renameSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { promisify } from "node:util";
import { WebSocket, WebSocketServer } from "ws";

const run = promisify(execFile);

/** The address of a server that sends back what it gets. */
export async function echo(test) {
  const server = new WebSocketServer({ host: "127.0.0.1", port: 0 });
  test.after(() => server.close());
  server.on("connection", (socket) => socket.on("message", (data, isBinary) => socket.send(data, { binary: isBinary })));
  await once(server, "listening");
  return `ws://127.0.0.1:${server.address().port}`;
}

/** A proxy in front of a server, with one filter, which may be replaced. */
export class Proxy {
  #lines = [];
  #waiting = [];

  static async start(test, endpoint, language) {
    const proxy = new Proxy();
    proxy.folder = mkdtempSync(join(tmpdir(), "tidegate-languages-"));
    proxy.#put(language);
    const file = join(proxy.folder, "tidegate.toml");
    writeFileSync(
      file,
      `cache_directory = "${join(process.cwd(), "cache")}"
[log]
format = "json"
[admin]
listen = "127.0.0.1:0"
[[listeners]]
listen = "127.0.0.1:0"
[components.shout]
path = "shout.wasm"
deadline = "1s"
[upstreams.back]
endpoints = [{ url = "${endpoint}" }]
[[routes]]
name = "shout"
upstream = "back"
filters = ["shout"]
`,
    );
    const child = spawn(process.env.TIDEGATE, ["run", "--config", file, "--workers", "1"]);
    test.after(() => child.kill("SIGKILL"));
    for (const stream of [child.stdout, child.stderr]) createInterface({ input: stream }).on("line", (line) => proxy.#read(line));
    child.once("exit", (code) => proxy.#read(`the proxy ended with ${code}`));
    const addressOf = (message) => new RegExp(`"message":"${message}","address":"([^"]*)"`);
    [, proxy.admin] = await proxy.until(addressOf("admin listening"));
    [, proxy.address] = await proxy.until(addressOf("listening"));
    return proxy;
  }

  /** What an expression matches in the log, once it does. */
  until(expression) {
    const find = () => this.#lines.map((line) => expression.exec(line)).find((found) => found);
    return new Promise((resolve, reject) => {
      const look = () => {
        const found = find();
        const ended = this.#lines.at(-1)?.startsWith("the proxy ended");
        if (found) resolve(found);
        else if (ended) reject(new Error(this.#lines.join("\n")));
        return Boolean(found) || ended;
      };
      if (!look()) this.#waiting.push(look);
    });
  }

  /** Puts the filter of another language in its place. */
  async replace(language) {
    this.#put(language);
    await run(process.env.TIDEGATE, ["reload", "--admin", this.admin]);
  }

  async open() {
    const socket = new WebSocket(`ws://${this.address}/`);
    await once(socket, "open");
    return socket;
  }

  #put(language) {
    const draft = join(this.folder, "draft");
    copyFileSync(`${language}.wasm`, draft);
    renameSync(draft, join(this.folder, "shout.wasm"));
  }

  #read(line) {
    this.#lines.push(line);
    this.#waiting = this.#waiting.filter((look) => !look());
  }
}

/** What comes back for a text. */
export async function say(socket, text) {
  const answer = once(socket, "message");
  socket.send(text);
  return (await answer)[0].toString();
}
