// Applications that have pages and APIs beside their socket, through one route with `http = true`, with a filter that reads
// every message and without.

import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:http";
import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";

import { EventSource } from "eventsource";
import { Server } from "socket.io";
import { io } from "socket.io-client";
import { WebSocket } from "ws";

import { lacks, next, proxy, start } from "./harness.mjs";

const ROUTES = ["relay", "reader"];
const HTTP = "http = true";

/** Listens on a free port of loopback; gives the port. */
async function listen(test, server) {
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  test.after(() => server.close() && server.closeAllConnections());
  return server.address().port;
}

test("socket.io polls, and its polling becomes a WebSocket", async (test) => {
  const instances = [];
  for (const name of ["one", "two"]) {
    const server = createServer();
    const sockets = new Server(server);
    sockets.on("connection", (socket) => {
      socket.on("who", (answer) => answer(name, socket.conn.transport.name));
      socket.on("echo", (data, answer) => answer(data));
    });
    test.after(() => sockets.close());
    instances.push(`http://127.0.0.1:${await listen(test, server)}`);
  }
  const balance = '{ component = "consistent-hash", config = { key = "header:x-client" } }';
  const origins = await proxy(test, instances, { more: HTTP, balance });
  for (const route of ROUTES) {
    const met = new Set();
    for (let client = 0; client < 8; client += 1) {
      const extraHeaders = { "x-client": `${client}` };
      const socket = io(`http://${origins[route]}`, { extraHeaders, forceNew: true, reconnection: false });
      test.after(() => socket.close());
      const failed = once(socket, "connect_error").then(([error]) => Promise.reject(error));
      failed.catch(() => {});
      const upgraded = once(socket.io.engine, "upgrade");
      await Promise.race([once(socket, "connect"), failed]);
      // Over whatever carries it at that moment, and over the WebSocket.
      const large = Buffer.alloc(200_000, "x");
      assert.ok(large.equals(await socket.emitWithAck("echo", large)));
      await upgraded;
      const [name, transport] = await new Promise((resolve) => {
        socket.emit("who", (...answer) => resolve(answer));
      });
      assert.equal(transport, "websocket");
      assert.ok(large.equals(await socket.emitWithAck("echo", large)));
      met.add(name);
      socket.close();
    }
    assert.deepEqual([...met].sort(), ["one", "two"]);
  }
});

test("EventSource gets events as they come, and comes back with the last id", async (test) => {
  const server = createServer(async (request, response) => {
    const last = Number(request.headers["last-event-id"] ?? 0);
    response.writeHead(200, { "content-type": "text/event-stream", "cache-control": "no-store" });
    response.write(`retry: 1\nid: ${last + 1}\ndata: first of ${last}\n\n`);
    server.once("go on", () => response.end(`id: ${last + 2}\ndata: last of ${last}\n\n`));
  });
  const origins = await proxy(test, `http://127.0.0.1:${await listen(test, server)}`, { more: HTTP });
  for (const route of ROUTES) {
    const source = new EventSource(`http://${origins[route]}/events`);
    test.after(() => source.close());
    const events = [];
    await new Promise((resolve, reject) => {
      source.addEventListener("message", ({ data }) => {
        events.push(data);
        // What is still to be said waits until this has come.
        if (data.startsWith("first")) server.emit("go on");
        if (events.length === 4) resolve();
      });
      source.addEventListener("error", ({ code, message }) => code && reject(new Error(`${code}: ${message}`)));
    });
    source.close();
    assert.deepEqual(events, ["first of 0", "last of 0", "first of 2", "last of 2"]);
  }
});

test("vite serves a page, its modules and what changes", async (test) => {
  const { createServer: createVite } = await import("vite");
  for (const route of ROUTES) {
    const root = mkdtempSync(join(tmpdir(), "tidegate-interop-"));
    writeFileSync(join(root, "index.html"), '<script type="module" src="/main.js"></script>');
    writeFileSync(join(root, "main.js"), "export const version = 1;\nimport.meta.hot.accept();\n");
    const server = { host: "127.0.0.1", port: 0, watch: { usePolling: true, interval: 50 } };
    const vite = await createVite({ root, configFile: false, logLevel: "silent", server });
    test.after(() => vite.close());
    await vite.listen();
    const origin = (await proxy(test, `http://127.0.0.1:${vite.httpServer.address().port}`, { more: HTTP }))[route];
    const read = async (path, options) => {
      const response = await fetch(`http://${origin}${path}`, options);
      assert.equal(response.status, 200, path);
      return { text: await response.text(), etag: response.headers.get("etag") };
    };
    const page = await read("/", { headers: { accept: "text/html" } });
    assert.match(page.text, /@vite\/client/);
    assert.ok((await read("/@vite/client")).text.length > 10_000);
    const { text, etag } = await read("/main.js");
    assert.match(text, /version = 1/);
    const again = await fetch(`http://${origin}/main.js`, { headers: { "if-none-match": etag } });
    assert.equal(again.status, 304);
    const socket = new WebSocket(`ws://${origin}/?token=${vite.config.webSocketToken}`, ["vite-hmr"], {
      origin: `http://${origin}`,
    });
    assert.deepEqual(JSON.parse(await next(socket, "message")), { type: "connected" });
    const changed = next(socket, "message");
    writeFileSync(join(root, "main.js"), "export const version = 2;\nimport.meta.hot.accept();\n");
    const { type, updates } = JSON.parse(await changed);
    assert.equal(type, "update");
    const fresh = await read(`${updates[0].path}?t=${updates[0].timestamp}`);
    assert.match(fresh.text, /version = 2/);
    socket.close(1000);
    await next(socket, "close");
  }
});

test("jupyter serves its API, uploads and events", { skip: lacks("jupyter_server") }, async (test) => {
  const folder = mkdtempSync(join(tmpdir(), "tidegate-interop-"));
  const args = ["--no-browser", "--allow-root", "--port=0", "--ip=127.0.0.1", "--IdentityProvider.token=secret"];
  const env = { ...process.env, HOME: folder, JUPYTER_PLATFORM_DIRS: "1" };
  const port = await start(
    test,
    process.env.PYTHON,
    ["-m", "jupyter_server", ...args, `--ServerApp.root_dir=${folder}`],
    /http:\/\/127\.0\.0\.1:(\d+)\//,
    { env },
  );
  const origins = await proxy(test, `http://127.0.0.1:${port}`, { more: HTTP });
  const headers = { authorization: "token secret" };
  for (const route of ROUTES) {
    const api = `http://${origins[route]}/api`;
    assert.equal((await fetch(`${api}/status`)).status, 403);
    assert.equal((await fetch(`${api}/status`, { headers })).status, 200);
    const content = "x".repeat(1 << 20);
    const body = JSON.stringify({ type: "file", format: "text", content });
    const put = await fetch(`${api}/contents/${route}.txt`, { method: "PUT", headers, body });
    assert.equal(put.status, 201);
    const got = await fetch(`${api}/contents/${route}.txt`, { headers });
    assert.equal((await got.json()).content, content);
    const gone = await fetch(`${api}/contents/${route}.txt`, { method: "DELETE", headers });
    assert.equal(gone.status, 204);
    const socket = new WebSocket(`ws://${origins[route]}/api/events/subscribe`, {
      headers,
      origin: `http://${origins[route]}`,
    });
    await next(socket, "open");
    socket.close(1000);
    await next(socket, "close");
  }
});
