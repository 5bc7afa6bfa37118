// Verifies a receipt by viem alone: node with-viem.mjs evidence.json [RPC-URL SETTLEMENT-ADDRESS]
// Name the Settlement contract that you know; without it only the signature is checked.
import { readFileSync } from 'node:fs';
import {
  concat, createPublicClient, encodeAbiParameters, hashStruct, http, isAddressEqual, keccak256, numberToHex, parseAbi,
  parseAbiParameters, slice, verifyTypedData,
} from 'viem';

const [file, rpc, settlement] = process.argv.slice(2);
const { domain, types, primaryType, message, signature, signer, batch } = JSON.parse(readFileSync(file, 'utf8'));
const holds = (what, truth) => {
  console.log(`${truth ? 'ok' : 'WRONG'}: ${what}`);
  if (!truth) process.exit(1);
};

const signed = await verifyTypedData({ address: signer, domain, types, primaryType, message, signature });
holds(`${signer} signed the receipt, whose charge is ${message.charge} atoms`, signed && signer === message.gateway);
if (!rpc) process.exit(0);
holds('its batch is public', batch !== null);

// A tree node is 24 bytes of hash and 8 of sum; a receipt's leaf is at its place in the batch.
const node = (hashed, sum) => concat([slice(hashed, 0, 24), numberToHex(sum, { size: 8 })]);
const sumOf = (word) => BigInt(slice(word, 24));
const parent = (left, right) => node(keccak256(concat([left, right])), sumOf(left) + sumOf(right));
const hash = hashStruct({ data: message, primaryType, types });
let [word, at] = [node(keccak256(concat(['0x03', message.lane, hash])), BigInt(message.charge)), batch.place];
for (const sibling of batch.siblings) {
  word = at % 2 ? parent(sibling, word) : parent(word, sibling);
  at = Math.floor(at / 2);
}
holds(`it stands at place ${batch.place} under the batch's root`, at === 0 && word === batch.header.receipts_root);

const fields = parseAbiParameters(
  'bytes24 prev, uint32 era, uint40 closedAt, uint48 heights, bytes32 receipts, bytes32 payouts, bytes32 debits, ' +
  'bytes32 lines, bytes32 gateways, bytes32 data');
const id = slice(keccak256(encodeAbiParameters(fields, Object.values(batch.header))), 0, 24);
const client = createPublicClient({ transport: http(rpc) });
holds(`the endpoint is of chain ${domain.chainId}`, (await client.getChainId()) === Number(domain.chainId));
holds('it is signed for the contract that you named', isAddressEqual(settlement, domain.verifyingContract));
const abi = parseAbi([
  'function batches(address lane, uint64 id) view returns (bytes24 hash, uint40 until, uint24 open)',
  'function heads(address lane) view returns (uint64 total, uint32 next, uint32 finalized, uint40 finalClosedAt, ' +
  'uint40 lastClosedAt, uint32 consumers, uint8 payoutHeight, uint8 debitHeight)',
  'function keys() view returns (address)',
  'function gateways(address lane, address key) view returns (uint32 number, uint40 addedAt, uint40 revokedAt)',
]);
const read = (functionName, args, address = settlement) => client.readContract({ address, abi, functionName, args });
const [, next, finalized] = await read('heads', [message.lane]);
const [posted] = await read('batches', [message.lane, BigInt(batch.number)]);
holds(`the chain has its batch ${batch.number}`, batch.number < next && posted === id);
const [, addedAt] = await read('gateways', [message.lane, signer], await read('keys', []));
holds('the signer is a gateway of this lane', addedAt > 0);
console.log(batch.number <= finalized ? 'The batch is final.' : 'The batch can still be challenged.');
