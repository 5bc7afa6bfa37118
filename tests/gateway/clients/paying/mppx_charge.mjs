// `mppx` pays for a call by MPP: a plain one and a streamed one. Prints what it read of its payments.
import assert from "node:assert/strict";
import { Receipt } from "mppx";
import { evm, Mppx } from "mppx/client";
import { privateKeyToAccount } from "viem/accounts";

const [url, secret, chain, token, name, version, most] = process.argv.slice(2);
const sent = [];
const spied = (input, init) => {
  const headers = new Headers(init?.headers);
  sent.push(["authorization", "payment-signature"].filter((one) => headers.has(one)));
  return fetch(input, init);
};
const mppx = Mppx.create({
  fetch: spied,
  polyfill: false,
  methods: [
    evm.charge({
      account: privateKeyToAccount(secret),
      authorization: { name, version },
      currencies: [token],
      networks: [Number(chain)],
      maxAtomicAmount: most,
    }),
  ],
});

const receipts = [];
for (const stream of [false, true]) {
  const body = { model: "@acme/chat", messages: [{ role: "user", content: "hi" }], max_tokens: 50, stream };
  const headers = { "content-type": "application/json" };
  const answer = await mppx.fetch(`${url}/v1/chat/completions`, { method: "POST", headers, body: JSON.stringify(body) });
  const text = await answer.text();
  assert.equal(answer.status, 200, text);
  assert.ok(stream ? text.trimEnd().endsWith("data: [DONE]") : JSON.parse(text).choices.length);
  receipts.push(Receipt.fromResponse(answer));
}
assert.deepEqual(sent, [[], ["authorization"], [], ["authorization"]]);
console.log("done: plain, streamed, paid");
console.log(JSON.stringify(receipts));
