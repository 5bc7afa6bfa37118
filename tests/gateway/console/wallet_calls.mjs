// What the wallet's page has an account send and sign: calls of contracts, and the fields of typed data.
import { readFileSync } from 'node:fs';

const { lane, account, debit, payout, deposit, sent } = JSON.parse(readFileSync(0, 'utf8'));
const { commands } = await import(process.argv[2]);
console.log(JSON.stringify({
  calls: [
    commands.leave(lane, false), commands.leave(lane, true), commands.withdraw(lane, account, debit),
    commands.claim(lane, account, payout),
  ].map(({ to, data }) => [to, data]),
  nonce: commands.deposit(lane, account, deposit).message.nonce,
  digest: commands.request(lane, account, sent).message.request,
}));
