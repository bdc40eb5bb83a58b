// What clients do over TLS, through a route without filters and one whose filter reads every message.

import assert from "node:assert/strict";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { join } from "node:path";
import { test } from "node:test";

import { WebSocket, WebSocketServer } from "ws";

import { Authority, converse, lacksOpenssl, opened, spkiOf } from "./authority.mjs";
import { lacks, lacksChromium, lacksCurl, next, proxy, start } from "./harness.mjs";

const ROUTES = ["relay", "reader"];
const MESSAGE = "is anybody there?";
const skip = lacksOpenssl();

/** An echo server behind proxies that speak TLS; gives where they listen, and the heads that the server has read. */
async function secured(test, certificates, rest = "") {
  const server = createServer();
  const sockets = new WebSocketServer({ server });
  const heads = [];
  sockets.on("connection", (socket, { headers }) => {
    heads.push(headers);
    socket.on("message", (data, isBinary) => socket.send(data, { binary: isBinary }));
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  test.after(() => server.close() && server.closeAllConnections());
  const list = certificates.map(({ chain, key }) => `{ chain = "${chain}", key = "${key}" }`);
  const tls = `[listeners.tls]\ncertificates = [${list}]\n${rest}\n`;
  return [await proxy(test, `ws://127.0.0.1:${server.address().port}`, { tls }), heads];
}

for (const version of ["1.2", "1.3"]) {
  test(`openssl speaks TLS ${version} and resumes its session`, { skip }, async (test) => {
    const authority = new Authority();
    const [origins, heads] = await secured(test, [authority.issue("a", "a.example")]);
    for (const route of ROUTES) {
      const session = join(authority.folder, `${route}.session`);
      const args = [`-tls${version.replace(".", "_")}`, "-alpn", "http/1.1"];
      const first = await converse(authority, origins[route], "a.example", [...args, "-sess_out", session]);
      assert.match(first, new RegExp(`New, TLSv${version}, Cipher is`));
      assert.match(first, /Verification: OK/);
      assert.match(first, /ALPN protocol: http\/1\.1/);
      const second = await converse(authority, origins[route], "a.example", [...args, "-sess_in", session]);
      assert.match(second, new RegExp(`Reused, TLSv${version}, Cipher is`));
    }
    assert.deepEqual(heads.map((head) => head["x-forwarded-proto"]), Array(4).fill("https"));
  });
}

test("openssl gets the certificate of the name that it asks for", { skip }, async (test) => {
  const authority = new Authority();
  const certificates = [["a", "a.example"], ["b", "b.example"], ["wild", "*.wild.example"]];
  const [{ relay }] = await secured(test, certificates.map((each) => authority.issue(...each)));
  for (const [name, subject] of [["a.example", "a"], ["b.example", "b"], ["x.wild.example", "wild"]]) {
    const said = await converse(authority, relay, name, ["-verify_hostname", name]);
    assert.match(said, new RegExp(`subject=CN ?= ?${subject}\n`));
    assert.match(said, /Verified peername: /);
  }
});

test("openssl comes in with a client certificate and not without", { skip }, async (test) => {
  const authority = new Authority();
  const issued = authority.issue("a", "a.example");
  const auth = `client_auth = { ca = "${authority.file}" }`;
  const [{ relay }, heads] = await secured(test, [issued], auth);
  const alice = authority.issue("alice", "alice.example");
  for (const version of ["-tls1_2", "-tls1_3"]) {
    await converse(authority, relay, "a.example", [version, "-cert", alice.chain, "-key", alice.key]);
    const stranger = converse(authority, relay, "a.example", [version]);
    // TLS 1.2 has one alert for it.
    await assert.rejects(stranger, /alert (certificate required|handshake failure|bad certificate)/);
  }
  assert.equal(heads.length, 2);
});

test("node's ws speaks wss", { skip }, async (test) => {
  const authority = new Authority();
  const [origins] = await secured(test, [authority.issue("a", "a.example")]);
  for (const route of ROUTES) {
    const options = { ca: readFileSync(authority.file), servername: "a.example" };
    const socket = new WebSocket(`wss://${origins[route]}/`, options);
    await next(socket, "open");
    socket.send(MESSAGE);
    assert.equal(String(await next(socket, "message")), MESSAGE);
    socket.close(1000);
    assert.equal(await next(socket, "close"), 1000);
  }
});

test("node's own WebSocket speaks wss", { skip }, async (test) => {
  const authority = new Authority();
  const [origins] = await secured(test, [authority.issue("local", "localhost")]);
  const args = ["--experimental-websocket", "--no-warnings", "clients/built_in_echo.mjs"];
  const env = { ...process.env, NODE_EXTRA_CA_CERTS: authority.file };
  for (const route of ROUTES) {
    const url = `wss://localhost:${origins[route].split(":").pop()}/`;
    assert.equal(await start(test, process.execPath, [...args, url], /^echoed (.*)$/, { env }), MESSAGE);
  }
});

test("websockets of Python speaks wss", { skip: skip || lacks("websockets") }, async (test) => {
  const authority = new Authority();
  const [origins] = await secured(test, [authority.issue("a", "a.example")]);
  for (const route of ROUTES) {
    const args = ["clients/websockets_echo.py", `wss://${origins[route]}/`, authority.file];
    assert.equal(await start(test, process.env.PYTHON, args, /^echoed (.*)$/), MESSAGE);
  }
});

test("curl is upgraded over TLS", { skip: skip || lacksCurl() }, async (test) => {
  const authority = new Authority();
  const [origins] = await secured(test, [authority.issue("a", "a.example")]);
  const headers = ["Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13"];
  headers.push("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==");
  for (const route of ROUTES) {
    const port = origins[route].split(":").pop();
    const resolved = ["--resolve", `a.example:${port}:127.0.0.1`, "--cacert", authority.file, "--http1.1"];
    const args = [...resolved, "-sv", ...headers.flatMap((header) => ["-H", header]), `https://a.example:${port}/`];
    const accepted = await start(test, "curl", args, /^< sec-websocket-accept: (\S+)/i);
    assert.equal(accepted, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
  }
});

test("chromium speaks wss", { skip: skip || lacksChromium() }, async (test) => {
  const authority = new Authority();
  const issued = authority.issue("a", "a.example");
  const [origins] = await secured(test, [issued]);
  const { chromium } = await import("playwright-core");
  const browser = await chromium.launch({
    executablePath: "/usr/bin/chromium",
    args: [
      ...["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"],
      ...["--host-resolver-rules=MAP a.example 127.0.0.1", `--ignore-certificate-errors-spki-list=${spkiOf(issued)}`],
    ],
  });
  test.after(() => browser.close());
  const page = await browser.newPage();
  for (const route of ROUTES) {
    const url = `wss://a.example:${origins[route].split(":").pop()}/`;
    const echoed = await page.evaluate(
      ([url, message]) =>
        new Promise((resolve) => {
          const socket = new WebSocket(url);
          socket.onopen = () => socket.send(message);
          socket.onmessage = ({ data }) => resolve(data);
          socket.onclose = ({ code }) => resolve(`closed with ${code}`);
        }),
      [url, MESSAGE],
    );
    assert.equal(echoed, MESSAGE);
  }
});

test("a client that believes somebody else says so and nothing is lost", { skip }, async (test) => {
  const [authority, other] = [new Authority(), new Authority()];
  const [{ relay }, heads] = await secured(test, [authority.issue("a", "a.example")]);
  const mistrusting = converse(other, relay, "a.example", ["-verify_return_error"]);
  await assert.rejects(mistrusting, /verify error|unable to get local/);
  assert.match(await converse(authority, relay, "a.example", []), opened);
  assert.equal(heads.length, 1);
});
