// @ts-check
/**
 * The receipt that a gateway signs for one call, as in `ledger/core/receipts/receipt.py`: its struct hash, its record.
 */
import { METERS, unitsOf } from './meters.js';
import { Reader, Wrong, big, concat, fromHex, toHex, word } from './bytes.js';
import { hashOfText, keccak, signingDigest } from './typed_data.js';

/** @typedef {import('./meters.js').Unit} Unit */
/** @typedef {import('./typed_data.js').Domain} Domain */
/**
 * Bytes are Uint8Arrays, numbers BigInts.
 * @typedef {object} Receipt
 * @property {Uint8Array} callId
 * @property {Uint8Array} parent
 * @property {Uint8Array} lane
 * @property {Uint8Array} gateway
 * @property {bigint} seq
 * @property {Uint8Array} consumer
 * @property {Uint8Array} terms
 * @property {bigint} epoch
 * @property {bigint} subcalls
 * @property {bigint} subcallTotal
 * @property {bigint} price
 * @property {bigint} charge
 * @property {bigint} end
 * @property {bigint} endedAt
 * @property {Uint8Array} requestDigest
 * @property {Uint8Array} responseDigest
 * @property {Unit[]} units
 */

/**
 * The fields before the units, in the order of struct and record: name, EIP-712 type, bytes in a record, name in JSON.
 * @type {ReadonlyArray<readonly [keyof Receipt, string, number, string]>}
 */
export const FIELDS = [
  ['callId', 'bytes32', 32, 'call_id'],
  ['parent', 'bytes32', 32, 'parent'],
  ['lane', 'address', 20, 'lane'],
  ['gateway', 'address', 20, 'gateway'],
  ['seq', 'uint64', 8, 'seq'],
  ['consumer', 'address', 20, 'consumer'],
  ['terms', 'bytes32', 32, 'terms'],
  ['epoch', 'uint64', 8, 'epoch'],
  ['subcalls', 'uint8', 1, 'subcalls'],
  ['subcallTotal', 'uint64', 8, 'subcall_total'],
  ['price', 'uint64', 8, 'price'],
  ['charge', 'uint64', 8, 'charge'],
  ['end', 'uint8', 1, 'end'],
  ['endedAt', 'uint64', 8, 'ended_at'],
  ['requestDigest', 'bytes32', 32, 'request_digest'],
  ['responseDigest', 'bytes32', 32, 'response_digest'],
];
export const ENDS = ['normal', 'client_abort', 'upstream_cut', 'hold_reached', 'timeout'];
export const MAX_SUBCALLS = 63n;

const UNIT_TYPE = 'Unit(uint8 meter,uint64 count)';
export const RECEIPT_TYPE =
  `Receipt(${FIELDS.map(([name, type]) => `${type} ${name}`).join(',')},Unit[] units)${UNIT_TYPE}`;
const UNIT_TYPEHASH = hashOfText(UNIT_TYPE);
const RECEIPT_TYPEHASH = hashOfText(RECEIPT_TYPE);

/**
 * A receipt from what a gateway shows. Wrong where it is none.
 * @param {Record<string, any>} shown the object `receipt` of `GET /v1/receipts/{id}`
 * @returns {Receipt}
 */
export function receiptOf(shown) {
  /** @type {Record<string, any>} */
  const receipt = { units: unitsOf(shown.units) };
  for (const [name, type, size, json] of FIELDS) {
    receipt[name] = type.startsWith('uint') ? whole(shown[json], json) : fromHex(shown[json], size);
  }
  checkRanges(/** @type {Receipt} */ (receipt));
  return /** @type {Receipt} */ (receipt);
}

/**
 * A receipt from its record, and how many bytes that has. Wrong unless it is as `pack` writes it.
 * @param {Reader} reader
 * @returns {Receipt}
 */
export function unpack(reader) {
  /** @type {Record<string, any>} */
  const receipt = { units: [] };
  for (const [name, type, size] of FIELDS) {
    receipt[name] = type.startsWith('uint') ? numberOf(reader, size) : reader.take(size);
  }
  let last = -1;
  for (let left = reader.small(1); left > 0; left--) {
    const meter = reader.small(1);
    const count = BigInt(reader.small(5));
    if (meter <= last || meter >= METERS.length || count === 0n) {
      throw new Wrong(`a record counts ${count} units of meter ${meter} after meter ${last}`);
    }
    receipt.units.push({ meter, count });
    last = meter;
  }
  checkRanges(/** @type {Receipt} */ (receipt));
  return /** @type {Receipt} */ (receipt);
}

/**
 * A receipt as its record: the bytes that a batch file has of it.
 * @param {Receipt} receipt
 * @returns {Uint8Array}
 */
export function pack(receipt) {
  const head = FIELDS.map(([name, type, size]) => {
    const value = receipt[name];
    return type.startsWith('uint') ? big(/** @type {bigint} */ (value), size) : /** @type {Uint8Array} */ (value);
  });
  const counts = receipt.units.map(({ meter, count }) => concat(big(meter, 1), big(count, 5)));
  return concat(...head, big(counts.length, 1), ...counts);
}

/**
 * The EIP-712 struct hash.
 * @param {Receipt} receipt
 * @returns {Uint8Array}
 */
export function structHash(receipt) {
  const words = FIELDS.map(([name]) => word(/** @type {bigint | Uint8Array} */ (receipt[name])));
  const units = receipt.units.map(({ meter, count }) => keccak(UNIT_TYPEHASH, word(meter), word(count)));
  return keccak(RECEIPT_TYPEHASH, ...words, keccak(concat(...units)));
}

/**
 * The digest that a gateway signs.
 * @param {Domain} domain
 * @param {Receipt} receipt
 * @returns {Uint8Array}
 */
export function receiptDigest(domain, receipt) {
  return signingDigest(domain, structHash(receipt));
}

/**
 * The receipt's own id: its gateway and number.
 * @param {Receipt} receipt
 * @returns {string}
 */
export function receiptId(receipt) {
  return `${toHex(receipt.gateway)}-${receipt.seq}`;
}

/**
 * @param {Reader} reader
 * @param {number} size
 * @returns {bigint}
 */
function numberOf(reader, size) {
  return size === 8 ? reader.u64() : BigInt(reader.small(size));
}

/**
 * A whole number of JSON: a decimal text, a number that a double holds exactly, or the name of an end.
 * @param {unknown} value
 * @param {string} field
 * @returns {bigint}
 */
function whole(value, field) {
  if (field === 'end' && typeof value === 'string') return BigInt(ENDS.indexOf(value));
  if (typeof value === 'string' && /^(0|[1-9][0-9]{0,19})$/.test(value)) return BigInt(value);
  if (typeof value === 'number' && Number.isSafeInteger(value)) return BigInt(value);
  throw new Wrong(`${field} is ${value}, not a whole number`);
}

/** @param {Receipt} receipt */
function checkRanges(receipt) {
  if (receipt.end < 0n || receipt.end >= BigInt(ENDS.length)) throw new Wrong(`a call has no end ${receipt.end}`);
  if (receipt.subcalls > MAX_SUBCALLS) throw new Wrong(`a receipt counts at most 63 sub-calls, not ${receipt.subcalls}`);
  for (const [name, type] of FIELDS) {
    const value = receipt[name];
    if (type === 'uint64' && (/** @type {bigint} */ (value) < 0n || /** @type {bigint} */ (value) >= 2n ** 64n)) {
      throw new Wrong(`${name} is ${value}, which does not fit 64 bits`);
    }
  }
}
