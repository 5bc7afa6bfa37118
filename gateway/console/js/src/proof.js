// @ts-check
/**
 * What a gateway shows of a batch instead of its file: one receipt with its sub-calls, the siblings on their path, and the
 * header. It is read as a batch file of which only these receipts are there. That the header is the batch's own, the
 * chain alone can say.
 */
import { Reader, Wrong, equal, fromHex } from './bytes.js';
import { checkRanges, gatewaysRoot, heightsFor } from './header.js';
import { structHash, unpack } from './receipt.js';
import { ZERO, rangeRoot, receiptLeaf } from './sum_tree.js';

/** @typedef {import('./batch_file.js').BatchFile} BatchFile */
/** @typedef {import('./header.js').Header} Header */
/** @typedef {import('./sum_tree.js').Word} Word */
/** @typedef {{ first: number, siblings: Word[] }} Path the place of the first receipt, and the siblings at the boundaries */

const HEIGHTS = ['receipts', 'payouts', 'debits', 'gateways', 'parties', 'runs'];
const MOST_CALLS = 2 ** 24;

/**
 * A proof as the gateway shows it. Wrong where it is none, and where its places are not those of its header.
 * @param {any} shown `GET /v1/proofs/receipt/{id}`
 * @param {import('./receipt.js').Receipt} receipt
 * @param {import('./typed_data.js').Domain} domain
 * @returns {BatchFile & { path: Path }}
 */
export function read(shown, receipt, domain) {
  const { lane } = receipt;
  /** @type {any[]} */
  const rows = shown.batch.ranges;
  const ranges = rows.map((row) => ({
    number: small(row.number), gateway: fromHex(row.gateway, 20), first: BigInt(small(row.first)), count: small(row.count),
  }));
  checkRanges(ranges);
  const calls = ranges.reduce((sum, range) => sum + range.count, 0);
  if (calls > MOST_CALLS) throw new Wrong(`a batch has at most ${MOST_CALLS} receipts, not ${calls}`);
  const header = headerOf(shown.batch.header);
  const least = heightsFor(calls, 0, 0, ranges.length ? ranges[ranges.length - 1].number : 0);
  if (header.heights[0] !== least[0] || !equal(gatewaysRoot(lane, ranges), header.gatewaysRoot)) {
    throw new Wrong('the header commits to other receipt logs than those that are shown');
  }
  const first = small(shown.first);
  /** @type {BatchFile['signed']} */
  const signed = [];
  for (const hex of shown.receipts) {
    const reader = new Reader(fromHex(hex), 'receipt');
    const one = { receipt: unpack(reader), signature: reader.take(65) };
    reader.end();
    signed[signed.length || first] = one;
  }
  if (!signed.length || signed.length > calls) throw new Wrong(`the proof has receipts beyond the batch's ${calls}`);
  return {
    chainId: domain.chainId, contract: domain.verifyingContract.toLowerCase(), lane, number: BigInt(small(shown.batch.number)),
    ranges, calls, barred: new Set(shown.barred.map(small)), signed, terms: null, header,
    path: { first, siblings: shown.siblings.map((/** @type {string} */ hex) => fromHex(hex, 32)) },
  };
}

/**
 * The leaves of the receipts that are there, in order.
 * @param {BatchFile & { path: Path }} part
 * @returns {Word[]}
 */
export function leavesOf({ lane, signed, barred, path }) {
  return signed.slice(path.first).map(({ receipt }, at) =>
    barred.has(path.first + at) ? ZERO : receiptLeaf(lane, structHash(receipt), receipt.charge));
}

/**
 * The root that these receipts and their siblings make.
 * @param {BatchFile & { path: Path }} part
 * @returns {Word}
 */
export function rootOf(part) {
  return rangeRoot(leavesOf(part), part.path.first, part.header.heights[0], part.path.siblings);
}

/**
 * @param {any} shown
 * @returns {Header}
 */
function headerOf(shown) {
  const root = (/** @type {string} */ name) => fromHex(shown[name], 32);
  return {
    prev: fromHex(shown.prev, 24), era: small(shown.era), closedAt: BigInt(small(shown.closed_at)),
    heights: HEIGHTS.map((name) => small(shown.heights[name])),
    receiptsRoot: root('receipts_root'), payoutRoot: root('payout_root'), debitRoot: root('debit_root'),
    linesRoot: root('lines_root'), gatewaysRoot: root('gateways_root'), dataRef: root('data_ref'),
  };
}

/**
 * @param {unknown} value
 * @returns {number}
 */
function small(value) {
  if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < 0) throw new Wrong(`${value} is not a whole number`);
  return value;
}
