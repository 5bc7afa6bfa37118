// @ts-check
/**
 * A batch's header, as Settlement hashes it, and the gateways tree from which a receipt's place follows. As in
 * `ledger/core/settlement/header.py`.
 */
import { Wrong, big, concat, equal, number, toHex, word } from './bytes.js';
import { gatewayLeaf, sparseRoot } from './sum_tree.js';
import { keccak } from './typed_data.js';

/** @typedef {import('./sum_tree.js').Word} Word */
/** @typedef {{ number: number, gateway: Uint8Array, first: bigint, count: number }} Range */
/** Levels of the trees: receipts, payouts, debits, gateways, parties, runs. @typedef {number[]} Heights */
/**
 * @typedef {object} Header
 * @property {Uint8Array} prev 24 bytes
 * @property {number} era
 * @property {bigint} closedAt seconds
 * @property {Heights} heights
 * @property {Word} receiptsRoot
 * @property {Word} payoutRoot
 * @property {Word} debitRoot
 * @property {Word} linesRoot
 * @property {Word} gatewaysRoot
 * @property {Uint8Array} dataRef the SHA-256 of the batch's file
 */

const RUN = 16;

/**
 * The name of a header on chain: the first 24 bytes of keccak256 of its ten words.
 * @param {Header} header
 * @returns {Uint8Array}
 */
export function headerId(header) {
  const { receiptsRoot, payoutRoot, debitRoot, linesRoot, gatewaysRoot } = header;
  const packed = number(Uint8Array.from(header.heights).reverse());
  const numbers = [word(header.era), word(header.closedAt), word(packed)];
  const roots = [receiptsRoot, payoutRoot, debitRoot, linesRoot, gatewaysRoot];
  return keccak(concat(header.prev, big(0, 8)), ...numbers, ...roots, header.dataRef).subarray(0, 24);
}

/**
 * Wrong unless the receipt logs of a batch are in the order that its file has.
 * @param {Range[]} ranges
 */
export function checkRanges(ranges) {
  if (ranges.some((range, at) => range.number < 1 || (at && ranges[at - 1].number >= range.number))) {
    throw new Wrong('receipt logs are sorted by the number of their gateway, from 1');
  }
}

/**
 * The root of the tree of every gateway of the lane, each at its number.
 * @param {Uint8Array} lane
 * @param {Range[]} ranges
 * @returns {Word}
 */
export function gatewaysRoot(lane, ranges) {
  const last = ranges.reduce((most, { number }) => Math.max(most, number), 0);
  return sparseRoot(new Map(ranges.map((range) => [range.number, gatewayLeaf(lane, range)])), heightFor(last + 1));
}

/**
 * A receipt's place in its batch, from 0. Wrong when the batch does not contain it.
 * @param {Range[]} ranges by the number of their gateway
 * @param {Uint8Array} gateway
 * @param {bigint} seq
 * @returns {number}
 */
export function placeOf(ranges, gateway, seq) {
  let before = 0;
  for (const range of ranges) {
    const within = seq - range.first;
    if (equal(range.gateway, gateway) && within >= 0n && within < BigInt(range.count)) return before + Number(within);
    before += range.count;
  }
  throw new Wrong(`receipt ${seq} of gateway ${toHex(gateway)} is not in this batch`);
}

/**
 * The least heights that hold so many calls, and these highest indexes and gateway number.
 * @param {number} calls
 * @param {number} payees
 * @param {number} consumers
 * @param {number} gateways
 * @returns {Heights}
 */
export function heightsFor(calls, payees, consumers, gateways) {
  const payouts = heightFor(payees + 1);
  const runs = heightFor(Math.ceil(calls / RUN));
  return [heightFor(calls), payouts, heightFor(consumers + 1), heightFor(gateways + 1), payouts, runs];
}

/**
 * The height of the smallest tree with this many leaves.
 * @param {number} size
 * @returns {number}
 */
function heightFor(size) {
  return 32 - Math.clz32(Math.max(size - 1, 0));
}
