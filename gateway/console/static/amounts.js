// @ts-check
// Amounts of the lane's currency, as pages write them and as forms take them. Held to Python's by a test.

/** @typedef {DOMStringMap | { symbol: string, decimals: string }} Currency as an element's data has it */

/**
 * `12.5 AIC` of atoms.
 * @param {string | bigint} atoms
 * @param {Currency} of
 * @returns {string}
 */
export function amount(atoms, of) {
  const decimals = Number(of.decimals);
  const digits = String(atoms).padStart(decimals + 1, "0");
  const cut = digits.length - decimals;
  const part = digits.slice(cut).replace(/0+$/, "");
  return `${digits.slice(0, cut)}${part ? `.${part}` : ""} ${of.symbol}`;
}

/**
 * Atoms of a decimal amount in whole tokens; null if it is none.
 * @param {string} text
 * @param {Currency} of
 * @returns {string | null}
 */
export function atoms(text, of) {
  const decimals = Number(of.decimals);
  const found = /^(\d{1,12})(?:\.(\d*))?$/.exec(text.trim());
  if (!found || (found[2] ?? "").length > decimals) return null;
  return BigInt(found[1] + (found[2] ?? "").padEnd(decimals, "0")).toString();
}
