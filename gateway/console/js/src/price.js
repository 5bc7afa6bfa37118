// @ts-check
/**
 * The priced-ratio rule, as in `ledger/core/pricing/price.py`: a price is the least natural P with
 * sum of ceil(ratio_i * P / 10^6) + F_i at most P, and then the sum is P exactly. All numbers are BigInts.
 */
import { METERS } from './meters.js';
import { MAX_ATOMS, MAX_RATIOS_PPM, PPM } from './terms.js';
import { Wrong } from './bytes.js';

/** @typedef {import('./meters.js').Unit} Unit */
/** @typedef {import('./terms.js').Terms} Terms */
/** @typedef {import('./terms.js').Ask} Ask */
/** @typedef {import('./terms.js').Deduction} Deduction */
/** @typedef {{ ratioPpm: bigint, fixed: bigint }} Claim */
/** @typedef {{ party: string, role: number, amount: bigint }} Payment */
/** @typedef {{ price: bigint, charge: bigint, rebate: bigint, payments: Payment[] }} Charge */

const COMMON = 10n ** 9n;
const CAP_PPM = 900_000n;
export const SURFACE_PPM = 700_000n;
const CURATOR = 5;
const PROTOCOL = 8;
const NOBODY = `0x${'0'.repeat(40)}`;

/**
 * @param {bigint} value
 * @param {bigint} divisor
 * @returns {bigint}
 */
function ceilDiv(value, divisor) {
  return (value + divisor - 1n) / divisor;
}

/**
 * F: what a line's asks make of these units, summed exactly, rounded up once. Units of a finer meter without an ask pay
 * the coarser one's.
 * @param {Ask[]} asks
 * @param {Unit[]} units
 * @returns {bigint}
 */
export function fixed(asks, units) {
  let weighed = 0n;
  for (const { meter, count } of units) {
    const own = asks.find((one) => one.meter === meter);
    const ask = own ?? asks.find((one) => one.meter === METERS[meter].coarse);
    if (ask) weighed += ask.atoms * count * (COMMON / METERS[meter].scale);
  }
  return ceilDiv(weighed, COMMON);
}

/**
 * @param {Claim} claim
 * @param {bigint} price
 * @returns {bigint}
 */
export function pay(claim, price) {
  return ceilDiv(claim.ratioPpm * price, PPM) + claim.fixed;
}

/**
 * The least price at which every claim gets what it bid, and what each gets. Wrong above 2^63-1 atoms.
 * @param {Claim[]} claims
 * @returns {{ price: bigint, amounts: bigint[] }}
 */
export function compose(claims) {
  const ratios = checkRatios(claims);
  const asked = claims.reduce((sum, claim) => sum + claim.fixed, 0n);
  let price = (asked * PPM) / (PPM - ratios); // the real-valued solution, floored: never above the least fixed point
  for (;;) {
    const due = claims.reduce((sum, claim) => sum + pay(claim, price), 0n);
    if (due === price) break;
    price = due;
  }
  if (price > MAX_ATOMS) throw new Wrong(`a price of ${price} atoms is above 2^63-1`);
  return { price, amounts: claims.map((claim) => pay(claim, price)) };
}

/**
 * A price posted by the seller of record: the others get their pay of it, the seller the rest.
 * @param {Claim[]} claims
 * @param {bigint} price
 * @param {number} seller
 * @returns {{ price: bigint, amounts: bigint[] }}
 */
export function listAt(claims, price, seller) {
  checkRatios(claims);
  const amounts = claims.map((claim) => pay(claim, price));
  const rest = price - (amounts.reduce((sum, amount) => sum + amount, 0n) - amounts[seller]);
  if (rest < amounts[seller]) {
    throw new Wrong(`list price too low: residual ${rest} < reserve ${amounts[seller]}`);
  }
  amounts[seller] = rest;
  return { price, amounts };
}

/**
 * A sponsor's line in parts, which sum to it. What the curator and the surface get is rounded down.
 * @param {bigint} line
 * @param {Deduction} deduction
 * @returns {{ kept: bigint, curator: bigint, rebate: bigint, surface: bigint, treasury: bigint }}
 */
export function deduct(line, deduction) {
  const cap = (line * CAP_PPM) / PPM;
  const offered = (line * deduction.offerPpm) / PPM;
  const given = deduction.curator === NOBODY ? 0n : least(offered, cap);
  const curator = (given * deduction.keepPpm) / PPM;
  const promotion = deduction.surface === NOBODY ? 0n : least(deduction.promotion, cap - given);
  const surface = (promotion * SURFACE_PPM) / PPM;
  return { kept: line - given - promotion, curator, rebate: given - curator, surface, treasury: promotion - surface };
}

/**
 * Price one call: what it costs, what its consumer pays for this receipt, and who gets what of that. The sub-calls are
 * one more claim of ratio 0.
 * @param {Terms} terms
 * @param {Unit[]} units
 * @param {bigint} subcallTotal
 * @returns {Charge}
 */
export function charge(terms, units, subcallTotal) {
  const claims = terms.lines.map((line) => ({ ratioPpm: line.ratioPpm, fixed: fixed(line.asks, units) }));
  claims.push({ ratioPpm: 0n, fixed: subcallTotal });
  const quote = terms.listPrice === null ? compose(claims) : listAt(claims, terms.listPrice, terms.seller);
  const payments = terms.lines.map(({ party, role }, at) => ({ party, role, amount: quote.amounts[at] }));
  let rebate = 0n;
  if (terms.deduction) {
    const part = deduct(payments[terms.deduction.sponsor].amount, terms.deduction);
    payments[terms.deduction.sponsor].amount = part.kept;
    payments.push(
      { party: terms.deduction.curator, role: CURATOR, amount: part.curator },
      { party: terms.deduction.surface, role: CURATOR, amount: part.surface },
      { party: terms.deduction.treasury, role: PROTOCOL, amount: part.treasury },
    );
    rebate = part.rebate;
  }
  return { price: quote.price, charge: quote.price - subcallTotal - rebate, rebate, payments };
}

/**
 * @param {Claim[]} claims
 * @returns {bigint} their sum
 */
function checkRatios(claims) {
  const ratios = claims.reduce((sum, claim) => sum + claim.ratioPpm, 0n);
  if (ratios > MAX_RATIOS_PPM) throw new Wrong(`ratio sum above cap: ${ratios} > ${MAX_RATIOS_PPM} ppm`);
  return ratios;
}

/**
 * @param {bigint} one
 * @param {bigint} other
 * @returns {bigint}
 */
function least(one, other) {
  return one < other ? one : other;
}
