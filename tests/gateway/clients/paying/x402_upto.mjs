// `@x402/fetch` pays for a call by x402's `upto`: a plain one and a streamed one. Prints what it read of its payments.
import assert from "node:assert/strict";
import { UptoEvmScheme } from "@x402/evm/upto/client";
import { decodePaymentResponseHeader, wrapFetchWithPayment, x402Client } from "@x402/fetch";
import { privateKeyToAccount } from "viem/accounts";

const [url, secret, chain, token, most] = process.argv.slice(2);
const network = `eip155:${chain}`;
const client = new x402Client().register(network, new UptoEvmScheme(privateKeyToAccount(secret)));
client.setSpendControls({ allowedAssets: [{ network, asset: token, maxAmountPerPayment: most }] });
const paying = wrapFetchWithPayment(fetch, client);

const receipts = [];
for (const stream of [false, true]) {
  const body = { model: "@acme/chat", messages: [{ role: "user", content: "hi" }], max_tokens: 50, stream };
  const headers = { "content-type": "application/json" };
  const answer = await paying(`${url}/v1/chat/completions`, { method: "POST", headers, body: JSON.stringify(body) });
  const text = await answer.text();
  assert.equal(answer.status, 200, text);
  assert.ok(stream ? text.trimEnd().endsWith("data: [DONE]") : JSON.parse(text).choices.length);
  receipts.push(decodePaymentResponseHeader(answer.headers.get("payment-response")));
}
console.log("done: plain, streamed, paid");
console.log(JSON.stringify(receipts));
