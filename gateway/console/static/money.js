// One's balance, earnings and statement.
import { amount, ask, begin, download, on, one, request, table, tiles } from "./account.js";

const PAGES = 200;
let account = "";

begin(async () => {
  const balance = await ask("/v1/balance");
  account = balance.account;
  tiles(one("balance"), [
    ["Can be spent", amount(balance.spendable)],
    ["Held by gateways", amount(balance.leased), "part of what can be spent"],
    ["Spent", amount(balance.spent)],
    ["Being withdrawn", amount(balance.withdrawing)],
    ["Its voucher allows", amount(balance.voucher), "in all, ever"],
    ["Paid in", amount(balance.deposited)],
  ]);
  const earned = await ask(`/v1/earnings/${account}`);
  tiles(one("earned"), [
    ["Earned", amount(earned.earned)],
    ["Can be claimed", amount(earned.claimable)],
    ["Claimed", amount(earned.claimed)],
  ]);
  const columns = [
    ["Role", (row) => row.role],
    ["Earned", (row) => amount(row.earned), "number"],
    ["In no final batch yet", (row) => amount(row.unsettled), "number"],
  ];
  table(one("roles"), columns, earned.roles, "Nothing was earned yet.");
});
on(one("statement"), "click", async () => {
  let [text, cursor] = ["", ""];
  for (let page = 0; page < PAGES; page += 1) {
    const part = await request(`/v1/statements/${account}?format=csv&limit=1000&cursor=${encodeURIComponent(cursor)}`);
    text += await part.text();
    cursor = part.headers.get("tollway-next");
    if (!cursor) break;
  }
  if (cursor) throw new Error("this statement is longer than a browser takes: tollway consumer statement");
  download("statement.csv", text);
});
