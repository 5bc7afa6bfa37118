// @ts-check
/**
 * Terms, from which a call's price follows with its units: their bytes, as in `ledger/core/catalog/bids.py`.
 */
import { METERS } from './meters.js';
import { Reader, Wrong, toHex } from './bytes.js';
import { keccak } from './typed_data.js';

/** @typedef {{ meter: number, atoms: bigint }} Ask */
/** @typedef {{ party: string, role: number, ratioPpm: bigint, asks: Ask[] }} Line */
/**
 * @typedef {object} Deduction
 * @property {number} sponsor the line that gives
 * @property {string} curator
 * @property {bigint} offerPpm
 * @property {bigint} keepPpm
 * @property {bigint} promotion atoms
 * @property {string} surface
 * @property {string} treasury
 */
/**
 * @typedef {object} Terms
 * @property {Uint8Array} subject
 * @property {Line[]} lines
 * @property {bigint | null} listPrice
 * @property {number} seller counts only with a list price
 * @property {Deduction | null} deduction
 */

export const ROLES = ['', 'maker', 'oem', 'compute', 'delivery', 'curator', 'weaver', 'gateway', 'protocol'];
export const PPM = 10n ** 6n;
export const MAX_ATOMS = 2n ** 63n - 1n;
export const MAX_RATIOS_PPM = 900_000n;
const MAX_LINES = 16;
const [VERSION, LISTED, DEDUCTED] = [2, 1, 2];
const NOT_SPONSORS = [7, 8];

/**
 * The id of encoded terms: keccak256 of their bytes.
 * @param {Uint8Array} body
 * @returns {Uint8Array}
 */
export function termsId(body) {
  return keccak(body);
}

/**
 * Terms from their bytes. Wrong where no gateway may write such bytes.
 * @param {Uint8Array} body
 * @returns {Terms}
 */
export function decode(body) {
  const reader = new Reader(body, 'terms');
  const [version, flags, seller] = [reader.small(1), reader.small(1), reader.small(1)];
  if (version !== VERSION || flags > (LISTED | DEDUCTED)) throw new Wrong(`terms of version ${version}, flags ${flags}`);
  const listPrice = reader.u64();
  const subject = reader.take(32);
  const count = reader.small(1);
  const deduction = flags & DEDUCTED ? readDeduction(reader) : null;
  const lines = [];
  for (let left = count; left > 0; left--) lines.push(readLine(reader));
  reader.end();
  const terms = { subject, lines, listPrice: flags & LISTED ? listPrice : null, seller, deduction };
  check(terms, listPrice);
  return terms;
}

/**
 * @param {Reader} reader
 * @returns {Line}
 */
function readLine(reader) {
  const party = toHex(reader.take(20));
  const role = reader.small(1);
  const ratioPpm = BigInt(reader.small(3));
  /** @type {Ask[]} */
  const asks = [];
  for (let left = reader.small(1); left > 0; left--) asks.push({ meter: reader.small(1), atoms: reader.u64() });
  if (role < 1 || role >= ROLES.length) throw new Wrong(`a line has role ${role}, which is none`);
  const ascending = asks.every((ask, at) => at === 0 || asks[at - 1].meter < ask.meter);
  if (!ascending || asks.some((ask) => ask.meter >= METERS.length || ask.atoms > MAX_ATOMS)) {
    throw new Wrong('asks are of known meters, ascending, each at most 2^63-1 atoms');
  }
  return { party, role, ratioPpm, asks };
}

/**
 * @param {Reader} reader
 * @returns {Deduction}
 */
function readDeduction(reader) {
  const sponsor = reader.small(1);
  const curator = toHex(reader.take(20));
  const offerPpm = BigInt(reader.small(3));
  const keepPpm = BigInt(reader.small(3));
  const promotion = reader.u64();
  const surface = toHex(reader.take(20));
  return { sponsor, curator, offerPpm, keepPpm, promotion, surface, treasury: toHex(reader.take(20)) };
}

/**
 * @param {Terms} terms
 * @param {bigint} written the list price in the bytes, whether it counts or not
 */
function check({ lines, listPrice, seller, deduction }, written) {
  if (lines.length < 1 || lines.length > MAX_LINES) throw new Wrong(`terms have 1 to 16 lines, not ${lines.length}`);
  const ratios = lines.reduce((sum, line) => sum + line.ratioPpm, 0n);
  if (ratios > MAX_RATIOS_PPM) throw new Wrong(`the ratios sum to ${ratios} ppm, above the cap of ${MAX_RATIOS_PPM}`);
  if (listPrice === null ? written !== 0n || seller !== 0 : listPrice > MAX_ATOMS) {
    throw new Wrong('composed terms have neither list price nor seller, and a list price is at most 2^63-1 atoms');
  }
  if (seller >= lines.length) throw new Wrong(`the seller ${seller} is none of the ${lines.length} lines`);
  if (!deduction) return;
  const sponsor = lines[deduction.sponsor];
  if (!sponsor || NOT_SPONSORS.includes(sponsor.role)) throw new Wrong(`line ${deduction.sponsor} cannot be a sponsor`);
  if (deduction.offerPpm > PPM || deduction.keepPpm > PPM || deduction.promotion > MAX_ATOMS) {
    throw new Wrong('a deduction has parts of at most 10^6 ppm and 2^63-1 atoms');
  }
}
