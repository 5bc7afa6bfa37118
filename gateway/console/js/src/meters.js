// @ts-check
/**
 * The units that a call's use is counted in, as in `ledger/core/values/meters.py`: a row is a meter's number, the units
 * that one ask buys, and for a finer meter the number of the coarser one.
 */
import { Wrong } from './bytes.js';

/** @typedef {{ meter: number, count: bigint }} Unit */

/** @type {ReadonlyArray<{ name: string, scale: bigint, coarse: number }>} */
export const METERS = [
  ['call', 1n, 0],
  ['input_token', 10n ** 6n, 1],
  ['cached_input_token', 10n ** 6n, 1],
  ['cache_write_token', 10n ** 6n, 1],
  ['output_token', 10n ** 6n, 4],
  ['reasoning_token', 10n ** 6n, 4],
  ['input_audio_token', 10n ** 6n, 1],
  ['output_audio_token', 10n ** 6n, 4],
  ['input_image', 1n, 8],
  ['output_image', 1n, 9],
  ['search', 1n, 10],
  ['input_character', 10n ** 6n, 11],
  ['ms', 10n ** 3n, 12],
  ['byte', 10n ** 9n, 13],
  ['fuel', 10n ** 6n, 14],
].map(([name, scale, coarse]) => ({ name: String(name), scale: BigInt(scale), coarse: Number(coarse) }));

export const MAX_UNITS = 2n ** 40n - 1n;

/**
 * The counts above 0, meters ascending, from a mapping of meter names to whole numbers.
 * @param {Record<string, number>} counts
 * @returns {Unit[]}
 */
export function unitsOf(counts) {
  const units = [];
  for (const [name, count] of Object.entries(counts)) {
    const meter = METERS.findIndex((one) => one.name === name);
    if (meter < 0) throw new Wrong(`${name} is no meter`);
    if (!Number.isSafeInteger(count) || count < 0 || BigInt(count) > MAX_UNITS) {
      throw new Wrong(`${name} counts ${count}, not a whole number of units up to 2^40-1`);
    }
    if (count) units.push({ meter, count: BigInt(count) });
  }
  return units.sort((one, other) => one.meter - other.meter);
}
