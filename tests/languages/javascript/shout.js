// A filter in JavaScript: answers a text in capitals with its number in the connection.
const nothing = { kinds: { text: false, binary: false }, need: { tag: "nothing" } };
const texts = { kinds: { text: true, binary: false }, need: { tag: "whole" } };
const known = (count) => Object.assign(new Session(), { count });

class Session {
  count = 0;

  static open() {
    return { session: new Session(), upstreamHeaders: [], clientHeaders: [], attributes: [], leaseSeconds: undefined };
  }

  onMessage(origin, message) {
    if (message.val === "fail") throw new Error("out of luck");
    this.count += 1;
    return { tag: "replace", val: { tag: "text", val: `${this.count} ${message.val.toUpperCase()}` } };
  }
}

export const filtering = { configure: () => ({ fromClient: texts, fromUpstream: nothing }), Session };

export const swapping = {
  save: (session) => Uint8Array.from(String(session.count), (digit) => digit.charCodeAt(0)),
  resume: (handshake, state) => known(Number(String.fromCharCode(...state))),
};
