// @ts-check
/**
 * The public batch file, as `ledger/core/settlement/batch_file.py` writes it, and the header that follows from it.
 */
import { sha256 } from '@noble/hashes/sha2.js';
import { Reader, Wrong, equal, toHex } from './bytes.js';
import { checkRanges, gatewaysRoot, headerId, heightsFor } from './header.js';
import { structHash, unpack } from './receipt.js';
import { receiptLeaf, ZERO } from './sum_tree.js';
import { termsId } from './terms.js';

/** @typedef {import('./header.js').Header} Header */
/** @typedef {import('./header.js').Range} Range */
/** @typedef {import('./receipt.js').Receipt} Receipt */
/** @typedef {import('./sum_tree.js').Word} Word */
/**
 * @typedef {object} BatchFile
 * @property {bigint} chainId
 * @property {string} contract
 * @property {Uint8Array} lane
 * @property {bigint} number
 * @property {Range[]} ranges by the number of their gateway
 * @property {Set<number>} barred places of receipts that are charged to nobody
 * @property {number} calls receipts of the batch
 * @property {{ receipt: Receipt, signature: Uint8Array }[]} signed by place; of a proof, a few of them
 * @property {Map<string, Uint8Array> | null} terms bodies by id; null: not shown
 * @property {Header} header as it follows from these bytes
 */

const MAGIC = [0x54, 0x57, 0x42, 0x32]; // TWB2
const LEAST_SIGNED = 336;
const AT_ONCE = 256;

/**
 * A batch file from its bytes. Wrong where it is cut off, too long or out of order.
 * @param {Uint8Array} bytes
 * @returns {BatchFile}
 */
export function read(bytes) {
  const reader = new Reader(bytes, 'batch file');
  if (!equal(reader.take(4), Uint8Array.from(MAGIC))) throw new Wrong('this is no batch file: it does not begin with TWB2');
  const chainId = reader.u64();
  const contract = toHex(reader.take(20));
  const lane = reader.take(20);
  const number = reader.u64();
  reader.u64(); // the epoch of the book
  const era = reader.small(4);
  const closedAt = reader.u64();
  const calls = reader.small(4);
  const prev = reader.take(24);
  reader.take(32); // the book's root
  const ranges = many(reader, 36, () => ({
    number: reader.small(4), gateway: reader.take(20), first: reader.u64(), count: reader.small(4),
  }));
  const barred = new Set(many(reader, 4, () => reader.small(4)));
  if (ranges.reduce((sum, range) => sum + range.count, 0) !== calls) throw new Wrong('the head miscounts the receipts');
  checkRanges(ranges);
  if (calls * LEAST_SIGNED > bytes.length) throw new Wrong(`the head counts ${calls} calls, more than the file holds`);
  const signed = [];
  for (let left = calls; left > 0; left--) signed.push({ receipt: unpack(reader), signature: reader.take(65) });
  const terms = new Map(many(reader, 2, () => reader.take(reader.small(2))).map((body) => [toHex(termsId(body)), body]));
  const [payees, consumers] = [lastIndex(reader), lastIndex(reader)];
  many(reader, 77, () => reader.take(77)); // vouchers
  const [receiptsRoot, payoutRoot, debitRoot, linesRoot] = [0, 0, 0, 0].map(() => reader.take(32));
  reader.end();
  const gateways = ranges.length ? ranges[ranges.length - 1].number : 0;
  const header = {
    prev, era, closedAt, heights: heightsFor(calls, payees, consumers, gateways),
    receiptsRoot, payoutRoot, debitRoot, linesRoot, gatewaysRoot: gatewaysRoot(lane, ranges), dataRef: sha256(bytes),
  };
  return { chainId, contract, lane, number, ranges, calls, barred, signed, terms, header };
}

/**
 * The leaves of the receipts tree, by place. It gives way to the page now and then.
 * @param {BatchFile} file
 * @param {(done: number) => void} [onProgress]
 * @returns {Promise<Word[]>}
 */
export async function receiptLeaves({ lane, signed, barred }, onProgress = () => {}) {
  /** @type {Word[]} */
  const leaves = [];
  for (const { receipt } of signed) {
    const place = leaves.length;
    leaves.push(barred.has(place) ? ZERO : receiptLeaf(lane, structHash(receipt), receipt.charge));
    if (leaves.length % AT_ONCE === 0) {
      onProgress(leaves.length);
      await new Promise((resolve) => setTimeout(resolve));
    }
  }
  return leaves;
}

/**
 * The name under which the chain has the batch, if it has it.
 * @param {BatchFile} file
 * @returns {string}
 */
export function idOf(file) {
  return toHex(headerId(file.header));
}

/**
 * A counted list. Wrong when it says more items than bytes are left.
 * @template Item
 * @param {Reader} reader
 * @param {number} least the bytes of an item, at least
 * @param {() => Item} one
 * @returns {Item[]}
 */
function many(reader, least, one) {
  const count = reader.small(4);
  if (count * least > reader.bytes.length - reader.at) throw new Wrong(`the batch file counts ${count} items too many`);
  const items = [];
  for (let left = count; left > 0; left--) items.push(one());
  return items;
}

/**
 * The highest index of a table of cumulatives, whose rows are index, account, amount.
 * @param {Reader} reader
 * @returns {number}
 */
function lastIndex(reader) {
  const indexes = many(reader, 32, () => {
    const index = reader.small(4);
    reader.take(28);
    return index;
  });
  return indexes.length ? indexes[indexes.length - 1] : 0;
}
