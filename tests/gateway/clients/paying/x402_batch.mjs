// `@x402/fetch` pays for calls by x402's `batch-settlement`: one, 64 at once, one more, all of one deposit.
import assert from "node:assert/strict";
import { toClientEvmSigner } from "@x402/evm";
import { BatchSettlementEvmScheme } from "@x402/evm/batch-settlement/client";
import { wrapFetchWithPayment, x402Client } from "@x402/fetch";
import { createPublicClient, http } from "viem";
import { privateKeyToAccount } from "viem/accounts";

const [url, secret, chain, token, rpc] = process.argv.slice(2);
const network = `eip155:${chain}`;
const signer = toClientEvmSigner(privateKeyToAccount(secret), createPublicClient({ transport: http(rpc) }));
const scheme = new BatchSettlementEvmScheme(signer, { depositPolicy: { depositMultiplier: 100 } });
const client = new x402Client().register(network, scheme);
client.setSpendControls({ allowedAssets: [{ network, asset: token, maxAmountPerPayment: "1000000" }] });
const paying = wrapFetchWithPayment(fetch, client);

let served = 0;
let again = 0;
// A caller's own loop. The stock client signs again once; where two of its calls signed the same voucher, one is sent
// again. It leaves the bodies of 402s unread, so each call holds up to three connections, of which the gateway closes
// the oldest when an address has more than 64 that carried no call yet: nothing was charged on those.
async function call() {
  const body = JSON.stringify({ model: "@acme/chat", messages: [{ role: "user", content: "hi" }], max_tokens: 50 });
  const headers = { "content-type": "application/json" };
  for (let tries = 0; tries < 20; tries++) {
    const answer = await paying(`${url}/v1/chat/completions`, { method: "POST", headers, body }).catch((error) => error);
    if (answer.status === 200) {
      assert.ok((await answer.json()).choices.length);
      served++;
      return;
    }
    const said = (await answer.text?.()) ?? answer.message;
    assert.ok([402, 503].includes(answer.status) || said === "fetch failed", `${answer.status} ${said}`);
    const seconds = answer.headers?.get("retry-after") ?? 0; // said by a 503
    await new Promise((resolve) => setTimeout(resolve, 1000 * seconds));
    again++;
  }
}

await call();
await Promise.all(Array.from({ length: 64 }, call));
await call();
console.log("done: plain, paid");
console.log(JSON.stringify({ served, again }));
