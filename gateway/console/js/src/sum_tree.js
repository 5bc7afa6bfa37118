// @ts-check
/**
 * The packed Merkle-sum tree, as in `ledger/core/values/sum_tree.py`: a tree node is one word, of which the high 192 bits
 * are a hash and the low 64 the sum below it.
 */
import { Wrong, big, concat, equal } from './bytes.js';
import { keccak } from './typed_data.js';

/** @typedef {Uint8Array} Word 32 bytes: 24 of hash, 8 of sum */

/** @type {Word} */
export const ZERO = new Uint8Array(32);
export const [RECEIPT_TAG, GATEWAY_TAG] = [3, 5];
const MAX_HEIGHT = 51;

/**
 * @param {Uint8Array} hash
 * @param {bigint} sum Wrong above 64 bits
 * @returns {Word}
 */
export function treeNode(hash, sum) {
  return concat(hash.subarray(0, 24), big(sum, 8));
}

/**
 * The sum in a word.
 * @param {Word} word
 * @returns {bigint}
 */
export function amount(word) {
  return new DataView(word.buffer, word.byteOffset + 24, 8).getBigUint64(0);
}

/**
 * The leaf of a payee (tag 1) or a consumer (tag 2). The zero word for nothing.
 * @param {number} tag
 * @param {Uint8Array} lane
 * @param {number} index
 * @param {Uint8Array} account
 * @param {bigint} cumulative
 * @returns {Word}
 */
export function leaf(tag, lane, index, account, cumulative) {
  if (cumulative === 0n) return ZERO;
  return treeNode(keccak(big(tag, 1), lane, big(index, 4), account, big(cumulative, 8)), cumulative);
}

/**
 * A receipt's leaf, from its struct hash.
 * @param {Uint8Array} lane
 * @param {Uint8Array} structHash
 * @param {bigint} charge
 * @returns {Word}
 */
export function receiptLeaf(lane, structHash, charge) {
  return treeNode(keccak(big(RECEIPT_TAG, 1), lane, structHash), charge);
}

/**
 * A leaf for receipts [first, first + count) of the gateway whose key has this number in the lane.
 * @param {Uint8Array} lane
 * @param {{ number: number, gateway: Uint8Array, first: bigint, count: number }} range
 * @returns {Word}
 */
export function gatewayLeaf(lane, { number, gateway, first, count }) {
  const packed = concat(big(number, 4), gateway, big(first, 8), big(count, 8));
  return treeNode(keccak(big(GATEWAY_TAG, 1), lane, packed), BigInt(count));
}

/**
 * @param {Word} left
 * @param {Word} right
 * @returns {Word}
 */
export function parent(left, right) {
  return treeNode(keccak(left, right), amount(left) + amount(right));
}

/** The root of an empty subtree of each height. */
export const EMPTY = [ZERO];
while (EMPTY.length <= MAX_HEIGHT) EMPTY.push(parent(EMPTY[EMPTY.length - 1], EMPTY[EMPTY.length - 1]));

/**
 * The levels of the smallest tree, of at least `height`, with these leaves at indexes 0, 1, 2, ...; leaves first.
 * @param {Word[]} leaves
 * @param {number} [height]
 * @returns {Word[][]}
 */
export function build(leaves, height = 0) {
  const levels = [leaves.length ? leaves : [ZERO]];
  while (levels[levels.length - 1].length > 1 || levels.length <= height) {
    const below = levels[levels.length - 1];
    const empty = EMPTY[levels.length - 1];
    const above = [];
    for (let at = 0; at < below.length; at += 2) above.push(parent(below[at], below[at + 1] ?? empty));
    levels.push(above);
  }
  return levels;
}

/**
 * The root of a tree of this height over leaves that may lie far apart: a file may name any index.
 * @param {Map<number, Word>} leaves by index
 * @param {number} height
 * @returns {Word}
 */
export function sparseRoot(leaves, height) {
  let nodes = leaves;
  for (let level = 0; level < height; level++) {
    const above = new Map();
    for (const index of nodes.keys()) {
      const left = index - (index % 2);
      if (above.has(left / 2)) continue;
      above.set(left / 2, parent(nodes.get(left) ?? EMPTY[level], nodes.get(left + 1) ?? EMPTY[level]));
    }
    nodes = above;
  }
  return nodes.get(0) ?? EMPTY[height];
}

/**
 * The siblings on the path of a leaf, lowest first.
 * @param {Word[][]} levels
 * @param {number} index
 * @returns {Word[]}
 */
export function proof(levels, index) {
  return levels.slice(0, -1).map((nodes, up) => nodes[siblingOf(index, up)] ?? EMPTY[up]);
}

/**
 * Whether a word is the leaf at an index below a root, with no sum on the path above 64 bits.
 * @param {Word} root
 * @param {Word} word
 * @param {number} index
 * @param {Word[]} siblings
 * @returns {boolean}
 */
export function verify(root, word, index, siblings) {
  let [node, at] = [word, index];
  try {
    for (const sibling of siblings) {
      node = at % 2 ? parent(sibling, node) : parent(node, sibling);
      at = Math.floor(at / 2);
    }
  } catch (error) {
    if (error instanceof Wrong) return false;
    throw error;
  }
  return at === 0 && equal(node, root);
}

/**
 * The root above neighbouring leaves and the siblings at their boundaries, per level the left one, then the right one.
 * Wrong if they do not fit each other.
 * @param {Word[]} words
 * @param {number} start the index of the first
 * @param {number} height
 * @param {Word[]} siblings
 * @returns {Word}
 */
export function rangeRoot(words, start, height, siblings) {
  let nodes = words;
  let used = 0;
  for (let level = 0; level < height; level++) {
    if (start % 2) nodes = [siblings[used++], ...nodes];
    if (nodes.length % 2) nodes = [...nodes, siblings[used++]];
    if (used > siblings.length) throw new Wrong('the path has too few siblings');
    const above = [];
    for (let at = 0; at < nodes.length; at += 2) above.push(parent(nodes[at], nodes[at + 1]));
    [nodes, start] = [above, Math.floor(start / 2)];
  }
  if (nodes.length !== 1 || start || used !== siblings.length) throw new Wrong('the path does not fit its receipts');
  return nodes[0];
}

/**
 * @param {number} index
 * @param {number} up levels above the leaves
 * @returns {number}
 */
function siblingOf(index, up) {
  const here = Math.floor(index / 2 ** up);
  return here % 2 ? here - 1 : here + 1;
}
