// WebSockets over HTTP/2 (RFC 8441) by those who speak it, through a route without filters and one whose filter reads every
// message.

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { connect } from "node:http2";
import { join } from "node:path";
import { test } from "node:test";

import { WebSocketServer } from "ws";

import { Authority, lacksOpenssl, spkiOf } from "./authority.mjs";
import { freePort, lacks, lacksChromium, lacksCurl, proxy, start } from "./harness.mjs";

const ROUTES = ["relay", "reader"];
const skip = lacksOpenssl();

/** An echo server behind proxies that speak TLS, with a page and the metrics of each; gives where they listen. */
async function secured(test, authority) {
  const issued = authority.issue("a", "a.example");
  const server = createServer();
  new WebSocketServer({ server }).on("connection", (socket) => {
    socket.on("message", (data, isBinary) => {
      const [, code] = /^close (\d+)$/.exec(String(data)) ?? [];
      if (code) socket.close(Number(code), "as you wish");
      else socket.send(data, { binary: isBinary });
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  test.after(() => server.close() && server.closeAllConnections());
  const tls = `[listeners.tls]\ncertificates = [{ chain = "${issued.chain}", key = "${issued.key}" }]\n`;
  const admin = { relay: await freePort(), reader: await freePort() };
  const page = `[[routes]]\nname = "page"\npath = "/page"\n[routes.answer]\nstatus = 200\nbody = "<title>page</title>"
headers = { content-type = "text/html" }\n`;
  const rest = (route) => `${page}[admin]\nlisten = "127.0.0.1:${admin[route]}"\n`;
  const origins = await proxy(test, `ws://127.0.0.1:${server.address().port}`, { tls, rest });
  const metric = async (route, name) => {
    const text = await (await fetch(`http://127.0.0.1:${admin[route]}/metrics`)).text();
    const lines = text.split("\n").filter((line) => line.startsWith(`${name}{`));
    return lines.reduce((sum, line) => sum + Number(line.split(" ").pop()), 0);
  };
  return { issued, origins, metric };
}

/** A frame of a client for a text below 126 bytes, with a mask of zeros. */
const text = (text) => Buffer.concat([Buffer.from([0x81, 0x80 | text.length, 0, 0, 0, 0]), Buffer.from(text)]);

test("node's http2 has ten websockets on one connection", { skip }, async (test) => {
  const authority = new Authority();
  const { origins, metric } = await secured(test, authority);
  for (const route of ROUTES) {
    const session = connect(`https://${origins[route]}`, { ca: readFileSync(authority.file), servername: "a.example" });
    const [settings] = await once(session, "remoteSettings");
    assert.equal(settings.enableConnectProtocol, true);
    const conversations = Array.from({ length: 10 }, async (_, place) => {
      const head = { ":method": "CONNECT", ":protocol": "websocket", ":scheme": "https", ":path": `/${place}` };
      const stream = session.request({ ...head, ":authority": "a.example", "sec-websocket-version": "13" });
      const [answer] = await once(stream, "response");
      assert.equal(answer[":status"], 200);
      const message = `message ${place}`;
      stream.write(text(message));
      const [echo] = await once(stream, "data");
      assert.deepEqual(echo, Buffer.concat([Buffer.from([0x81, message.length]), Buffer.from(message)]));
      stream.write(Buffer.from([0x88, 0x82, 0, 0, 0, 0, 0x03, 0xe8]));
      const [close] = await once(stream, "data");
      assert.deepEqual(close, Buffer.from([0x88, 0x02, 0x03, 0xe8]));
      if (!stream.readableEnded) await once(stream, "end");
      return stream.rstCode;
    });
    assert.deepEqual(await Promise.all(conversations), Array(10).fill(0));
    assert.equal(await metric(route, "tidegate_http2_connections_active"), 1);
    session.close();
  }
});

test("h2 of Python speaks over one connection", { skip: skip || lacks("h2") }, async (test) => {
  const authority = new Authority();
  const { origins } = await secured(test, authority);
  for (const route of ROUTES) {
    const args = ["clients/h2_echo.py", ...origins[route].split(":"), authority.file];
    assert.equal(await start(test, process.env.PYTHON, args, /^echoed (.*)$/), "one two three");
  }
});

test("curl is told over HTTP/2 how to ask", { skip: skip || lacksCurl() }, async (test) => {
  const authority = new Authority();
  const { origins } = await secured(test, authority);
  for (const route of ROUTES) {
    const port = origins[route].split(":").pop();
    const resolved = ["--resolve", `a.example:${port}:127.0.0.1`, "--cacert", authority.file, "--http2"];
    const wanted = ["-s", "-D", "-", "-o", "/dev/null", "-w", "spoken: %{http_version}"];
    const { stdout } = spawnSync("curl", [...resolved, ...wanted, `https://a.example:${port}/`]);
    assert.match(String(stdout), /^HTTP\/2 405 \r\n[^]*allow: CONNECT\r\n[^]*spoken: 2$/);
  }
});

test("chromium has ten websockets of a page on one connection", { skip: skip || lacksChromium() }, async (test) => {
  const authority = new Authority();
  const { issued, origins, metric } = await secured(test, authority);
  const { chromium } = await import("playwright-core");
  for (const route of ROUTES) {
    const netLog = join(authority.folder, `${route}.netlog`);
    const browser = await chromium.launch({
      executablePath: "/usr/bin/chromium",
      args: [
        ...["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"],
        ...["--host-resolver-rules=MAP a.example 127.0.0.1", `--ignore-certificate-errors-spki-list=${spkiOf(issued)}`],
        `--log-net-log=${netLog}`,
      ],
    });
    test.after(() => browser.close());
    const page = await browser.newPage();
    const origin = `a.example:${origins[route].split(":").pop()}`;
    await page.goto(`https://${origin}/page`);
    const conversation = ([origin, place]) =>
      new Promise((resolve, reject) => {
        const socket = new WebSocket(`wss://${origin}/${place}`);
        const heard = [];
        socket.onopen = () => socket.send("x".repeat(place * 10_000));
        socket.onmessage = ({ data }) => {
          heard.push(data.length);
          socket.send(heard.length < 3 ? data : `close ${4000 + place}`);
        };
        socket.onerror = () => reject(new Error(`socket ${place} has failed`));
        socket.onclose = ({ code, reason, wasClean }) => resolve({ heard, code, reason, wasClean });
      });
    const places = Array.from({ length: 10 }, (_, place) => place);
    const told = await Promise.all(places.map((place) => page.evaluate(conversation, [origin, place])));
    for (const place of places) {
      const heard = Array(3).fill(place * 10_000);
      assert.deepEqual(told[place], { heard, code: 4000 + place, reason: "as you wish", wasClean: true });
    }
    assert.equal(await metric(route, "tidegate_http2_connections_active"), 1);
    await browser.close();
    const asked = websocketsByConnection(netLog);
    assert.deepEqual(Object.values(asked), [10]);
  }
});

/** How many WebSockets were asked for on each connection over HTTP/2, as Chromium's own log tells it. */
function websocketsByConnection(file) {
  const { constants, events } = JSON.parse(readFileSync(file, "utf8"));
  const sent = constants.logEventTypes.HTTP2_SESSION_SEND_HEADERS;
  const asked = {};
  for (const { type, source, params } of events) {
    if (type === sent && params?.headers?.some((field) => field.startsWith(":protocol: websocket"))) {
      asked[source.id] = (asked[source.id] ?? 0) + 1;
    }
  }
  return asked;
}
