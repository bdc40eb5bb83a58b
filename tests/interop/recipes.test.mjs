// The recipes of docs/recipes.md, each in front of its application: as it stands there, and with a filter that reads every
// message.

import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:http";
import { mkdirSync, mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import { tmpdir, userInfo } from "node:os";
import { join } from "node:path";
import { test } from "node:test";

import { EventSource } from "eventsource";
import { buildSchema } from "graphql";
import { createHandler } from "graphql-http/lib/use/http";
import { createClient } from "graphql-ws";
import { useServer } from "graphql-ws/use/ws";
import { connectAsync } from "mqtt";
import { Server } from "socket.io";
import { io } from "socket.io-client";
import { WebSocket, WebSocketServer } from "ws";

import { freePort, lacks, lacksMosquitto, listen, next, recipe, recipes, start } from "./harness.mjs";

const ROUTES = ["relay", "reader"];

test("every recipe of the page is tried here", () => {
  const tried = [...readFileSync(import.meta.filename, "utf8").matchAll(/recipe\(test, "([^"]*)"/g)];
  assert.deepEqual([...recipes().keys()].sort(), tried.map(([, heading]) => heading).sort());
});

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
    instances.push(`127.0.0.1:${await listen(test, server)}`);
  }
  const origins = await recipe(test, "Socket.IO", instances);
  for (const route of ROUTES) {
    const met = new Set();
    for (let client = 0; client < 8; client += 1) {
      const options = { query: { client }, forceNew: true, reconnection: false };
      const socket = io(`http://${origins[route]}`, options);
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

test("jupyter serves its API, uploads, events and kernels", { skip: lacks("ipykernel, jupyter_server") }, async (test) => {
  const folder = mkdtempSync(join(tmpdir(), "tidegate-interop-"));
  const args = ["--no-browser", "--allow-root", "--port=0", "--ip=127.0.0.1", "--IdentityProvider.token=secret"];
  const env = { ...process.env, HOME: folder, JUPYTER_PLATFORM_DIRS: "1" };
  const port = await start(
    test,
    process.env.PYTHON,
    [
      "-m",
      "jupyter_server",
      ...args,
      "--ServerApp.local_hostnames=notebooks.example.com",
      `--ServerApp.root_dir=${folder}`,
    ],
    /http:\/\/127\.0\.0\.1:(\d+)\//,
    { env },
  );
  const origins = await recipe(test, "Jupyter", [`127.0.0.1:${port}`]);
  const headers = { authorization: "token secret" };
  const api = (route) => `http://${origins[route]}/api`;
  const started = await fetch(`${api("relay")}/kernels`, { method: "POST", headers, body: '{"name":"python3"}' });
  assert.equal(started.status, 201, await started.clone().text());
  const { id } = await started.json();
  for (const route of ROUTES) {
    assert.equal((await fetch(`${api(route)}/status`)).status, 403);
    assert.equal((await fetch(`${api(route)}/status`, { headers })).status, 200);
    const content = "x".repeat(1 << 20);
    const body = JSON.stringify({ type: "file", format: "text", content });
    const put = await fetch(`${api(route)}/contents/${route}.txt`, { method: "PUT", headers, body });
    assert.equal(put.status, 201);
    const got = await fetch(`${api(route)}/contents/${route}.txt`, { headers });
    assert.equal((await got.json()).content, content);
    const gone = await fetch(`${api(route)}/contents/${route}.txt`, { method: "DELETE", headers });
    assert.equal(gone.status, 204);
    // As a page does that was asked for by the name of the server.
    const host = "notebooks.example.com";
    const page = { headers: { ...headers, host }, origin: `http://${host}` };
    const events = new WebSocket(`ws://${origins[route]}/api/events/subscribe`, page);
    await next(events, "open");
    events.close(1000);
    await next(events, "close");
    const kernel = new WebSocket(`ws://${origins[route]}/api/kernels/${id}/channels?session_id=${route}`, page);
    await next(kernel, "open");
    const header = { msg_id: route, session: route, msg_type: "execute_request", username: "", version: "5.3", date: "" };
    const code = "print('x' * 100_000)";
    const request = { header, parent_header: {}, metadata: {}, content: { code, silent: false }, channel: "shell" };
    let printed = "";
    const done = new Promise((resolve) => {
      kernel.on("message", (data) => {
        const { msg_type, parent_header, content } = JSON.parse(data);
        if (parent_header.msg_id === route && msg_type === "stream") printed += content.text;
        if (printed.endsWith("\n")) resolve();
      });
    });
    kernel.send(JSON.stringify(request));
    await done;
    assert.equal(printed.length, 100_001);
    kernel.close(1000);
    await next(kernel, "close");
  }
});

test("graphql answers queries and subscriptions on one path", async (test) => {
  const schema = buildSchema("type Query { hello: String } type Subscription { count(to: Int!): Int }");
  const rootValue = {
    hello: "world",
    count: async function* ({ to }) {
      for (let count = 1; count <= to; count += 1) yield { count };
    },
  };
  const handler = createHandler({ schema, rootValue });
  const server = createServer((request, response) => handler(request, response));
  useServer({ schema, roots: { subscription: rootValue } }, new WebSocketServer({ server, path: "/graphql" }));
  const origins = await recipe(test, "GraphQL over WebSocket", [`127.0.0.1:${await listen(test, server)}`]);
  for (const route of ROUTES) {
    const url = `//${origins[route]}/graphql`;
    const ask = (origin) => {
      const headers = { "content-type": "application/json", origin };
      return fetch(`http:${url}`, { method: "POST", headers, body: '{"query":"{ hello }"}' });
    };
    assert.deepEqual(await (await ask(`http://${origins[route]}`)).json(), { data: { hello: "world" } });
    assert.equal((await ask("http://elsewhere.example")).status, 403);
    class Page extends WebSocket {
      constructor(address, protocols) {
        super(address, protocols, { origin: `http://${origins[route]}` });
      }
    }
    const client = createClient({ url: `ws:${url}`, webSocketImpl: Page, retryAttempts: 0 });
    test.after(() => client.dispose());
    const counted = [];
    for await (const { data } of client.iterate({ query: "subscription { count(to: 100) }" })) {
      counted.push(data.count);
    }
    assert.deepEqual(counted, Array.from({ length: 100 }, (_, index) => index + 1));
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
    const origin = (await recipe(test, "Vite", [`127.0.0.1:${vite.httpServer.address().port}`]))[route];
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

test("EventSource gets events as they come, and comes back with the last id", async (test) => {
  const server = createServer(async (request, response) => {
    const last = Number(request.headers["last-event-id"] ?? 0);
    response.writeHead(200, { "content-type": "text/event-stream", "cache-control": "no-store" });
    response.write(`retry: 1\nid: ${last + 1}\ndata: first of ${last}\n\n`);
    server.once("go on", () => response.end(`id: ${last + 2}\ndata: last of ${last}\n\n`));
  });
  const origins = await recipe(test, "Server-sent events", [`127.0.0.1:${await listen(test, server)}`]);
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

test("mosquitto serves a page and MQTT", { skip: lacksMosquitto() }, async (test) => {
  const folder = mkdtempSync(join(tmpdir(), "tidegate-interop-"));
  const pages = join(folder, "pages");
  mkdirSync(pages);
  writeFileSync(join(pages, "index.html"), "<title>dashboard</title>");
  const port = await freePort();
  // It ends where it listens for WebSockets alone, and would be somebody who cannot read the page.
  const plain = `user ${userInfo().username}\nallow_anonymous true\nlistener 0 ${join(folder, "mqtt.sock")}\n`;
  const file = join(folder, "mosquitto.conf");
  writeFileSync(file, `${plain}listener ${port} 127.0.0.1\nprotocol websockets\nhttp_dir ${pages}\n`);
  const env = { ...process.env, LD_LIBRARY_PATH: process.env.MOSQUITTO_LIBRARIES };
  await start(test, process.env.MOSQUITTO, ["-c", file], /(version \S+ running)/, { env });
  const origins = await recipe(test, "MQTT over WebSocket", [`127.0.0.1:${port}`]);
  for (const route of ROUTES) {
    const page = await fetch(`http://${origins[route]}/index.html`);
    assert.equal(await page.text(), "<title>dashboard</title>");
    const url = `ws://${origins[route]}/mqtt`;
    const will = { topic: `${route}/gone`, payload: "lost", qos: 1 };
    const [sender, receiver] = await Promise.all([
      connectAsync(url, { protocolVersion: 5, reconnectPeriod: 0, will }),
      connectAsync(url, { protocolVersion: 5, reconnectPeriod: 0 }),
    ]);
    test.after(() => receiver.end(true));
    await receiver.subscribeAsync(`${route}/#`, { qos: 2 });
    const payload = Buffer.alloc(2_000, "x");
    const received = once(receiver, "message");
    await sender.publishAsync(`${route}/large`, payload, { qos: 2 });
    const [topic, message] = await received;
    assert.equal(topic, `${route}/large`);
    assert.ok(payload.equals(message));
    // What vanishes without a word, does so behind the proxy as well.
    const gone = once(receiver, "message");
    sender.stream.destroy();
    assert.deepEqual((await gone).slice(0, 2).map(String), [`${route}/gone`, "lost"]);
  }
});

test("a service that speaks plain HTTP has a WebSocket", async (test) => {
  const told = [];
  const server = createServer(async (request, response) => {
    let body = "";
    for await (const part of request) body += part;
    const { event, connection, sequence, text } = JSON.parse(body);
    told.push([connection, sequence, event]);
    server.emit(event);
    if (event !== "message") return response.writeHead(204).end();
    response.setHeader("content-type", "application/json");
    response.end(JSON.stringify({ messages: [{ text: `ordered ${text}` }] }));
  });
  const origins = await recipe(test, "A service that speaks plain HTTP", [`127.0.0.1:${await listen(test, server)}`]);
  for (const route of ROUTES) {
    told.length = 0;
    const socket = new WebSocket(`ws://${origins[route]}/orders`);
    test.after(() => socket.terminate());
    await once(socket, "open");
    const answers = [];
    const answered = new Promise((resolve) => {
      socket.on("message", (data) => answers.push(String(data)) === 20 && resolve());
    });
    for (let number = 0; number < 20; number += 1) socket.send(`${number}`);
    await answered;
    assert.deepEqual(answers, Array.from({ length: 20 }, (_, number) => `ordered ${number}`));
    const closed = once(server, "close");
    socket.close(1000);
    await closed;
    const [[connection]] = told;
    const events = ["open", ...Array(20).fill("message"), "close"];
    assert.deepEqual(told, events.map((event, sequence) => [connection, sequence, event]));
  }
});
