// Checks receipts with the console's bundle. Standard input: {"rpc": URL, "settlement": ADDRESS, "cases": [{"shown",
// "batch", "file" as hex} or {"shown", "proof"}]}; standard output: the checks of each, in order. A case {"lane", "old"} asks for a batch by its
// event, as batches are that Settlement has forgotten.
import { readFileSync } from 'node:fs';
import { pathToFileURL } from 'node:url';

const { bytes, chain, verification } = await import(pathToFileURL(process.argv[2]));
const { rpc, settlement, cases } = JSON.parse(readFileSync(0, 'utf8'));
const found = [];
for (const { shown, batch, file, proof, ...other } of cases) {
  const checks = [];
  const there = rpc ? new chain.Chain(rpc, other.settlement ?? settlement) : null;
  if (other.old) {
    found.push((await there.logged(bytes.fromHex(other.lane), BigInt(other.old))).id);
    continue;
  }
  const evidence = { shown, proof, batch, file: file && bytes.fromHex(file), chain: there };
  for await (const check of verification.verify(evidence)) checks.push(check);
  found.push(checks);
}
console.log(JSON.stringify(found));
