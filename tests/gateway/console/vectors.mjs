// Recomputes the shared vectors with the console's bundle, and changes them: each difference is a line. Arguments: the
// bundle, the folder of the vectors.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';

const [bundle, vectors] = process.argv.slice(2);
const library = await import(pathToFileURL(bundle));
const { Reader, Wrong, fromHex, toHex, word, big, number } = library.bytes;
const { METERS } = library.meters;
const { charge, compose, deduct, fixed, listAt } = library.price;
const { pack, receiptDigest, structHash, unpack } = library.receipt;
const { decode } = library.terms;
const { build, leaf, proof, verify, amount } = library.sumTree;
const { hashOfText, keccak, separator, signingDigest } = library.typedData;

/** A vector file. Numbers above 2^53 are there too: every whole number is a BigInt. */
const read = (name) => JSON.parse(readFileSync(join(vectors, `${name}.json`), 'utf8'), (key, value, { source } = {}) =>
  typeof value === 'number' && /^-?\d+$/.test(source) ? BigInt(source) : value);

const checked = {};
const differences = [];
function same(where, expected, found) {
  const kind = where.split(' ')[0];
  checked[kind] = (checked[kind] ?? 0) + 1;
  const [one, other] = [expected, found].map((value) => JSON.stringify(value, written));
  if (one !== other) differences.push(`${where}: the vector says ${one}, here it is ${other}`);
}
/** JSON with whole numbers as text, and names in order. */
function written(_, part) {
  if (typeof part === 'bigint') return String(part);
  return part?.constructor === Object ? Object.fromEntries(Object.entries(part).sort(([a], [b]) => (a < b ? -1 : 1))) : part;
}
function refused(where, change) {
  try {
    const said = change();
    if (said !== false) differences.push(`${where}: taken, with ${said}`);
  } catch (error) {
    if (!(error instanceof Wrong)) throw error;
  }
  checked.refused = (checked.refused ?? 0) + 1;
}
const flipped = (bytes, at) => bytes.map((byte, place) => (place === at ? byte ^ 1 : byte));
const sums = (lines, amounts) => Object.fromEntries(lines.map((line, at) => [line.id, amounts[at]]));

function receipts() {
  const { chainId, contract, receipts: known, ...typed } = read('typed_data');
  const domain = { name: 'Tollway', version: '2', chainId, verifyingContract: contract };
  same('receipt separator', typed.separator, toHex(separator(domain)));
  const { lane, account, cumMax, digest } = typed.voucher;
  const hashed = keccak(hashOfText('Voucher(address lane,address account,uint64 cumMax)'),
    word(fromHex(lane)), word(fromHex(account)), word(BigInt(cumMax)));
  same('receipt voucher', digest, toHex(signingDigest(domain, hashed)));
  for (const [place, one] of [...known, ...read('receipts').receipts].entries()) {
    const record = fromHex(one.record);
    const reader = new Reader(record, 'record');
    const receipt = unpack(reader);
    reader.end();
    same(`receipt ${place} record`, one.record, toHex(pack(receipt)));
    same(`receipt ${place} hash`, one.hash, toHex(structHash(receipt)));
    if (one.digest) same(`receipt ${place} digest`, one.digest, toHex(receiptDigest(domain, receipt)));
    for (let at = 0; at < record.length; at += 7) {
      refused(`receipt ${place} with byte ${at} changed`, () => {
        const other = new Reader(flipped(record, at), 'record');
        const changed = unpack(other);
        other.end();
        return toHex(structHash(changed)) === one.hash;
      });
    }
  }
}

function prices() {
  for (const [place, one] of read('split_prices').cases.entries()) {
    const body = fromHex(one.terms);
    const words = fromHex(one.units);
    const units = [];
    for (let at = 64; at < words.length; at += 64) {
      units.push({ meter: Number(number(words.subarray(at, at + 32))), count: number(words.subarray(at + 32, at + 64)) });
    }
    const found = split(body, units, BigInt(one.subcall_total));
    same(`price ${place} (${one.note})`, one.split, found);
    for (const at of [0, body.length - 1, 44, 70]) {
      refused(`price ${place} with byte ${at} of its terms changed`, () => {
        const changed = flipped(body, at);
        decode(changed);
        return toHex(keccak(changed)) === toHex(keccak(body));
      });
    }
  }
  const { shares_ppm: shares, models } = read('prices');
  for (const { name, ask, calls } of models) {
    const asks = METERS.map((meter, at) => ({ meter: at, atoms: ask[meter.name] })).filter((one) => one.atoms !== undefined)
      .map(({ meter, atoms }) => ({ meter, atoms: BigInt(atoms) }));
    for (const call of calls) {
      const units = METERS.map((meter, at) => ({ meter: at, count: call.units[meter.name] })).filter((one) => one.count);
      const asked = fixed(asks, units);
      same(`price of ${name}: its asks`, call.fixed, String(asked));
      const claims = [{ ratioPpm: 0n, fixed: asked }, ...shares.map((ratioPpm) => ({ ratioPpm, fixed: 0n }))];
      same(`price of ${name}`, call.price, String(compose(claims).price));
    }
  }
}

/** A split as the contract returns it: whether there is a price, the price, the charge, the amounts. */
function split(body, units, subcallTotal) {
  let due;
  try {
    due = charge(decode(body), units, subcallTotal);
  } catch (error) {
    if (!(error instanceof Wrong)) throw error;
    return toHex(word(0));
  }
  const amounts = due.payments.map((one) => one.amount);
  return [1n, due.price, due.charge, 128n, BigInt(amounts.length), ...amounts]
    .reduce((text, value) => text + toHex(big(value, 32)).slice(2), '0x');
}

function mechanism() {
  const written = read('mechanism').vectors;
  const { composed, carve } = read('mechanism_random');
  for (const one of [...written.filter((vector) => vector.kind === 'composed'), ...composed]) {
    const { price, amounts } = compose(claims(one));
    same(`mechanism ${one.name ?? 'drawn'}`, [one.price, one.amounts], [price, sums(one.lines, amounts)]);
  }
  for (const one of written.filter((vector) => vector.kind === 'rejected')) {
    refused(`mechanism ${one.name}`, () => compose(claims(one)));
  }
  for (const one of written.filter((vector) => vector.kind === 'listed')) {
    const seller = one.lines.findIndex((line) => line.id === one.seller);
    same(`mechanism ${one.name}`, one.amounts, sums(one.lines, listAt(claims(one), one.list_price, seller).amounts));
    if (one.infeasible_list_price) {
      refused(`mechanism ${one.name}, too low`, () => listAt(claims(one), one.infeasible_list_price, seller));
    }
  }
  for (const one of [...written.filter((vector) => vector.kind === 'carve'), ...carve]) deduction(one);
}

const claims = (one) => one.lines.map(({ r, F }) => ({ ratioPpm: r, fixed: F }));

function deduction(one) {
  const somebody = `0x${'11'.repeat(20)}`;
  const nobody = `0x${'00'.repeat(20)}`;
  const referred = one.curator !== undefined ? one.curator : Object.keys(one.extra).some((key) => key.startsWith('curator:'));
  const shown = one.surface !== undefined ? one.surface : Object.keys(one.extra).some((key) => key.startsWith('surface:'));
  const part = deduct(one.amounts[one.sponsor_line], {
    sponsor: 0, curator: referred ? somebody : nobody, offerPpm: one.offer_ppm, keepPpm: one.keep_ppm,
    promotion: one.promo_second_price, surface: shown ? somebody : nobody, treasury: nobody,
  });
  same('deduction kept', one.net[one.sponsor_line], part.kept);
  const extra = { curator: part.curator, consumer: part.rebate, surface: part.surface, protocol: part.treasury };
  const given = Object.fromEntries(Object.entries(one.extra).map(([key, value]) => [key.split(':')[0], value]));
  const positive = Object.fromEntries(Object.entries(extra).filter(([, value]) => value));
  same('deduction parts', given, positive);
}

function trees() {
  for (const [place, one] of read('sumtree').trees.entries()) {
    const leaves = [];
    const lane = fromHex(one.lane);
    const rows = new Map(one.leaves.map((row) => [Number(row.index), row]));
    for (let index = 0; index <= Math.max(...rows.keys()); index++) {
      const row = rows.get(index);
      leaves.push(row ? leaf(Number(one.tag), lane, index, fromHex(row.account), BigInt(row.cumulative)) : word(0));
    }
    const levels = build(leaves, Number(one.height));
    const root = levels.at(-1)[0];
    same(`tree ${place} root`, [one.root, one.total, Number(one.height)], [toHex(root), String(amount(root)), levels.length - 1]);
    for (const known of one.proofs) {
      const index = Number(known.index);
      const path = known.proof.map((sibling) => fromHex(sibling));
      const node = fromHex(known.node);
      same(`tree ${place} proof`, known.proof, proof(levels, index).map(toHex));
      same(`tree ${place} proof holds`, true, verify(root, node, index, path));
      for (const at of [0, 23, 24, 31]) {
        refused(`tree ${place} leaf ${index} changed`, () => verify(root, flipped(node, at), index, path));
        refused(`tree ${place} root changed`, () => verify(flipped(root, at), node, index, path));
        for (const level of path.keys()) {
          const wrong = path.map((sibling, here) => (here === level ? flipped(sibling, at) : sibling));
          refused(`tree ${place} sibling ${level} changed`, () => verify(root, node, index, wrong));
        }
      }
      refused(`tree ${place} at another index`, () => verify(root, node, index + 1, path));
      if (path.length) refused(`tree ${place} without a level`, () => verify(root, node, index, path.slice(1)));
    }
  }
}

receipts();
prices();
mechanism();
trees();
console.log(JSON.stringify({ checked, differences }));
