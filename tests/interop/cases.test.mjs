// What browsers and back ends do, through a route without filters and one whose filter reads every message.

import assert from "node:assert/strict";
import { lookup } from "node:dns/promises";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { hostname, tmpdir } from "node:os";
import { mkdtempSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";

import { WebSocket, WebSocketServer } from "ws";

import { lacks, lacksChromium, listen, next, proxy, start } from "./harness.mjs";

const require = createRequire(import.meta.url);
const ROUTES = ["relay", "reader"];

/** Opens a WebSocket from a page of the proxy's own origin, as a browser would. */
function open(address, path = "/", protocols = [], options = {}) {
  return new WebSocket(`ws://${address}${path}`, protocols, { origin: `http://${address}`, ...options });
}

async function echoes(socket) {
  await next(socket, "open");
  socket.send("is anybody there?");
  assert.equal(String(await next(socket, "message")), "is anybody there?");
  socket.close(1000);
  assert.equal(await next(socket, "close"), 1000);
}

test("a ws server that compares the origin with the host admits the proxy's own", async (test) => {
  const server = createServer();
  const verifyClient = ({ origin, req }) => new URL(origin).host === req.headers.host;
  const sockets = new WebSocketServer({ server, verifyClient });
  sockets.on("connection", (socket) => socket.on("message", (data) => socket.send(String(data))));
  const origins = await proxy(test, `ws://127.0.0.1:${await listen(test, server)}`);
  for (const route of ROUTES) await echoes(open(origins[route]));
});

test("tornado admits the proxy's own origin", { skip: lacks("tornado") }, async (test) => {
  const port = await start(test, process.env.PYTHON, ["servers/tornado_echo.py"], /listening on (\d+)/);
  const origins = await proxy(test, `ws://127.0.0.1:${port}`);
  for (const route of ROUTES) await echoes(open(origins[route]));
});

test("jupyter opens its event stream", { skip: lacks("jupyter_server") }, async (test) => {
  const folder = mkdtempSync(join(tmpdir(), "tidegate-interop-"));
  // Who shows a token may come from anywhere.
  const args = ["--no-browser", "--allow-root", "--port=0", "--ip=127.0.0.1", "--IdentityProvider.token="];
  const env = { ...process.env, HOME: folder, JUPYTER_PLATFORM_DIRS: "1" };
  const port = await start(
    test,
    process.env.PYTHON,
    ["-m", "jupyter_server", ...args, `--ServerApp.root_dir=${folder}`],
    /http:\/\/127\.0\.0\.1:(\d+)\//,
    { env },
  );
  const origins = await proxy(test, `ws://127.0.0.1:${port}`);
  for (const route of ROUTES) {
    const socket = open(origins[route], "/api/events/subscribe");
    await next(socket, "open");
    socket.close(1000);
    await next(socket, "close");
  }
});

test("vite opens its channel to a page of an allowed host", async (test) => {
  const { createServer } = await import("vite");
  // By its name, if it has one of its own here: Vite admits any address, whatever it allows.
  const named = await lookup(hostname(), 4).then(({ address }) => address === "127.0.0.1", () => false);
  const vite = await createServer({
    root: mkdtempSync(join(tmpdir(), "tidegate-interop-")),
    configFile: false,
    logLevel: "silent",
    server: { host: "127.0.0.1", port: 0, allowedHosts: ["app.example"] },
  });
  test.after(() => vite.close());
  await vite.listen();
  const { port } = vite.httpServer.address();
  const origins = await proxy(test, `ws://${named ? hostname() : "127.0.0.1"}:${port}`);
  for (const route of ROUTES) {
    const headers = { Host: "app.example" };
    const path = `/?token=${vite.config.webSocketToken}`;
    const socket = open(origins[route], path, ["vite-hmr"], { headers, origin: "http://app.example" });
    assert.deepEqual(JSON.parse(await next(socket, "message")), { type: "connected" });
    socket.close(1000);
    await next(socket, "close");
  }
});

test("yjs carries a document of 4 MB that compresses well", async (test) => {
  const Y = require("yjs");
  const { WebsocketProvider } = require("y-websocket");
  const { setupWSConnection } = require("y-websocket/bin/utils");
  const server = createServer();
  const sockets = new WebSocketServer({ server, perMessageDeflate: true });
  sockets.on("connection", (socket, request) => setupWSConnection(socket, request));
  const origins = await proxy(test, `ws://127.0.0.1:${await listen(test, server)}`);
  for (const route of ROUTES) {
    const [writer, reader] = [new Y.Doc(), new Y.Doc()];
    writer.getMap("files").set("zeros", new Uint8Array(4 << 20));
    const received = await new Promise((resolve, reject) => {
      reader.getMap("files").observe(() => resolve(reader.getMap("files").get("zeros")));
      for (const doc of [writer, reader]) {
        const options = { WebSocketPolyfill: WebSocket, disableBc: true };
        const provider = new WebsocketProvider(`ws://${origins[route]}`, route, doc, options);
        provider.on("connection-close", (event) => event && reject(new Error(`closed with ${event.code}`)));
        test.after(() => provider.destroy());
      }
    });
    assert.equal(received.length, 4 << 20);
  }
});

test("chromium sends 300,000 letters that compress to almost nothing", { skip: lacksChromium() }, async (test) => {
  const { chromium } = await import("playwright-core");
  const pages = createServer((_, response) => response.end("<title>interop</title>"));
  const sockets = new WebSocketServer({ server: pages, perMessageDeflate: true });
  sockets.on("connection", (socket) => socket.on("message", (data) => socket.send(String(data))));
  const port = await listen(test, pages);
  const origins = await proxy(test, `ws://127.0.0.1:${port}`);
  const browser = await chromium.launch({
    executablePath: "/usr/bin/chromium",
    args: ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"],
  });
  test.after(() => browser.close());
  const page = await browser.newPage();
  await page.goto(`http://127.0.0.1:${port}/`);
  for (const route of ROUTES) {
    const echoed = await page.evaluate(
      (address) =>
        new Promise((resolve) => {
          const socket = new WebSocket(`ws://${address}/`);
          socket.onopen = () => socket.send("y".repeat(300000));
          socket.onmessage = ({ data }) => resolve(`${data.length} ${socket.extensions}`);
          socket.onclose = ({ code }) => resolve(`closed with ${code}`);
        }),
      origins[route],
    );
    assert.match(echoed, /^300000 permessage-deflate/);
  }
});
