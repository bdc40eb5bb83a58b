// Certificates, and TLS by hand, both with the openssl that everybody has.

import { spawn, spawnSync } from "node:child_process";
import { createHash, X509Certificate } from "node:crypto";
import { mkdtempSync, readFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** An authority that nobody knows yet, with a folder for what it issues. */
export class Authority {
  constructor() {
    this.folder = mkdtempSync(join(tmpdir(), "tidegate-interop-"));
    this.file = join(this.folder, "ca.pem");
    const usage = ["-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=keyCertSign"];
    openssl(["req", "-x509", ...KEY, "-subj", "/CN=Authority", ...usage, "-keyout", this.#key, "-out", this.file]);
  }

  /** A certificate for a name, and its key, as files. */
  issue(file, name) {
    const [chain, key] = [join(this.folder, `${file}.pem`), join(this.folder, `${file}.key`)];
    const names = ["-addext", `subjectAltName=DNS:${name}`, "-addext", "basicConstraints=CA:FALSE"];
    const by = ["-CA", this.file, "-CAkey", this.#key];
    openssl(["req", "-x509", ...KEY, "-subj", `/CN=${file}`, ...names, ...by, "-keyout", key, "-out", chain]);
    return { chain, key };
  }

  get #key() {
    return join(this.folder, "ca.key");
  }
}

/** What a server has said when the upgrade and the echo of a message were there. */
export const opened = /HTTP\/1\.1 101 [^]*\x81\x05hello/;

/** Opens a WebSocket by `openssl s_client`, has `hello` echoed, and closes; gives all that s_client has said. */
export async function converse(authority, address, name, args) {
  const to = ["-connect", address, "-servername", name, "-CAfile", authority.file];
  const child = spawn("openssl", ["s_client", ...to, ...args], { stdio: "pipe" });
  let said = "";
  const until = (expression) =>
    new Promise((resolve, reject) => {
      const look = () => expression.test(said) && resolve();
      for (const stream of [child.stdout, child.stderr]) {
        stream.on("data", (data) => {
          said += data.toString("latin1");
          look();
        });
      }
      child.stdin.on("error", () => {});
      child.once("close", () => reject(new Error(said)));
    });
  child.stdin.write(
    `GET / HTTP/1.1\r\nHost: ${name}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n` +
      "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
  );
  // Masks of zeros.
  child.stdin.write(Buffer.from("\x81\x85\0\0\0\0hello", "latin1"));
  await until(opened);
  const closed = new Promise((resolve) => child.once("close", resolve));
  child.stdin.write(Buffer.from("\x88\x82\0\0\0\0\x03\xe8", "latin1"));
  await closed;
  return said;
}

/** What Chromium tells a certificate by: the digest of its public key. */
export function spkiOf({ chain }) {
  const { publicKey } = new X509Certificate(readFileSync(chain));
  return createHash("sha256").update(publicKey.export({ type: "spki", format: "der" })).digest("base64");
}

/** Why there is no openssl that issues certificates; false when there is. */
export function lacksOpenssl() {
  const version = /^OpenSSL (\d+)/.exec(String(spawnSync("openssl", ["version"]).stdout));
  return version && Number(version[1]) >= 3 ? false : "openssl 3 is not installed";
}

function openssl(args) {
  const done = spawnSync("openssl", args);
  if (done.status !== 0) throw new Error(`openssl ${args.join(" ")}:\n${done.stderr}`);
}

const KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30"];
