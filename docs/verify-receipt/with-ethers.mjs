// Verifies a receipt by ethers alone: node with-ethers.mjs evidence.json [RPC-URL SETTLEMENT-ADDRESS]
// Name the Settlement contract that you know; without it only the signature is checked.
import { readFileSync } from 'node:fs';
import {
  AbiCoder, Contract, JsonRpcProvider, TypedDataEncoder, concat, dataSlice, getAddress, keccak256, toBeHex,
  verifyTypedData,
} from 'ethers';

const [file, rpc, settlement] = process.argv.slice(2);
const { domain, types, message, signature, signer, batch } = JSON.parse(readFileSync(file, 'utf8'));
const holds = (what, truth) => {
  console.log(`${truth ? 'ok' : 'WRONG'}: ${what}`);
  if (!truth) process.exit(1);
};

const found = verifyTypedData(domain, types, message, signature);
holds(`${found} signed the receipt, whose charge is ${message.charge} atoms`,
  found === getAddress(signer) && found === getAddress(message.gateway));
if (!rpc) process.exit(0);
holds('its batch is public', batch !== null);

// A tree node is 24 bytes of hash and 8 of sum; a receipt's leaf is at its place in the batch.
const node = (hashed, sum) => concat([dataSlice(hashed, 0, 24), toBeHex(sum, 8)]);
const sumOf = (word) => BigInt(dataSlice(word, 24));
const parent = (left, right) => node(keccak256(concat([left, right])), sumOf(left) + sumOf(right));
const hash = TypedDataEncoder.hashStruct('Receipt', types, message);
let [word, at] = [node(keccak256(concat(['0x03', message.lane, hash])), BigInt(message.charge)), batch.place];
for (const sibling of batch.siblings) {
  word = at % 2 ? parent(sibling, word) : parent(word, sibling);
  at = Math.floor(at / 2);
}
holds(`it stands at place ${batch.place} under the batch's root`, at === 0 && word === batch.header.receipts_root);

const kinds = ['bytes24', 'uint32', 'uint40', 'uint48', ...Array(6).fill('bytes32')];
const id = dataSlice(keccak256(AbiCoder.defaultAbiCoder().encode(kinds, Object.values(batch.header))), 0, 24);
const provider = new JsonRpcProvider(rpc);
const { chainId } = await provider.getNetwork();
holds(`the endpoint is of chain ${domain.chainId}`, chainId === BigInt(domain.chainId));
holds('it is signed for the contract that you named', getAddress(settlement) === getAddress(domain.verifyingContract));
const contract = new Contract(settlement, [
  'function batches(address lane, uint64 id) view returns (tuple(bytes24 hash, uint40 until, uint24 open))',
  'function heads(address lane) view returns (tuple(uint64 total, uint32 next, uint32 finalized, uint40 finalClosedAt, ' +
  'uint40 lastClosedAt, uint32 consumers, uint8 payoutHeight, uint8 debitHeight))',
  'function keys() view returns (address)',
], provider);
const head = await contract.heads(message.lane);
const posted = await contract.batches(message.lane, batch.number);
holds(`the chain has its batch ${batch.number}`, BigInt(batch.number) < head.next && posted.hash === id);
const keys = new Contract(await contract.keys(), [
  'function gateways(address lane, address key) view returns (tuple(uint32 number, uint40 addedAt, uint40 revokedAt))',
], provider);
holds('the signer is a gateway of this lane', (await keys.gateways(message.lane, signer)).addedAt > 0n);
console.log(BigInt(batch.number) <= head.finalized ? 'The batch is final.' : 'The batch can still be challenged.');
provider.destroy();
