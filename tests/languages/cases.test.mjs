// What filters in other languages do in a real proxy.

import assert from "node:assert";
import { once } from "node:events";
import test from "node:test";
import { Proxy, echo, say } from "./harness.mjs";

const words = (text) => text.split(" ").filter((word) => word);
const built = words(process.env.BUILT);

for (const language of words(process.env.LANGUAGES)) {
  const skip = built.includes(language) ? false : "it was not built";

  test(`${language}: texts come back in capitals, counted for each connection`, { skip }, async (test) => {
    const proxy = await Proxy.start(test, await echo(test), language);
    const [one, other] = [await proxy.open(), await proxy.open()];
    assert.equal(await say(one, "ahoy"), "1 AHOY");
    assert.equal(await say(one, "land in sight"), "2 LAND IN SIGHT");
    assert.equal(await say(other, "ahoy"), "1 AHOY");
    const answers = [];
    one.on("message", (data) => answers.push(data.toString()));
    for (let number = 3; number <= 100; number += 1) one.send("at once");
    while (answers.length < 98) await once(one, "message");
    assert.deepEqual(answers, Array.from({ length: 98 }, (_, index) => `${index + 3} AT ONCE`));
  });

  test(`${language}: what an exception says is in the log, and its connection is closed with 1011`, { skip }, async (test) => {
    const proxy = await Proxy.start(test, await echo(test), language);
    const [one, other] = [await proxy.open(), await proxy.open()];
    assert.equal(await say(other, "ahoy"), "1 AHOY");
    const closed = once(one, "close");
    one.send("fail");
    assert.equal((await closed)[0], 1011);
    await proxy.until(/"level":"WARN".*out of luck/);
    assert.match(await say(other, "still here"), /STILL HERE$/);
  });
}

test(`each language takes over from the one before it: ${built.join(", ")}`, { skip: built.length < 2 }, async (test) => {
  const [first, ...others] = built;
  const proxy = await Proxy.start(test, await echo(test), first);
  const socket = await proxy.open();
  assert.equal(await say(socket, "ahoy"), "1 AHOY");
  let count = 1;
  for (const language of [...others, first]) {
    await proxy.replace(language);
    count += 1;
    assert.equal(await say(socket, language), `${count} ${language.toUpperCase()}`);
  }
});
