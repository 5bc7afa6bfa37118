// @ts-check
/**
 * A receipt checked without its gateway's word: who signed it, what its terms make of its units, where it stands in its
 * batch, and whether the chain has that batch. A gateway shows receipt, proof or file, and numbers; each is recomputed or compared
 * with what the chain says, and nothing is believed.
 */
import { Wrong, equal, fromHex, toHex } from './bytes.js';
import { idOf, read, receiptLeaves } from './batch_file.js';
import { headerId, placeOf } from './header.js';
import { METERS } from './meters.js';
import { charge } from './price.js';
import { leavesOf, read as readProof, rootOf } from './proof.js';
import { pack, receiptDigest, receiptId, receiptOf, structHash } from './receipt.js';
import { amount, build, proof as siblingsOf, verify as stands } from './sum_tree.js';
import { ROLES, decode, termsId } from './terms.js';
import { recover } from './typed_data.js';

/** What receipts are signed in, beside the chain and the contract. */
const [NAME, VERSION] = ['Tollway', '2'];

/** @typedef {import('./batch_file.js').BatchFile} BatchFile */
/** @typedef {import('./chain.js').Chain} Chain */
/** @typedef {BatchFile & { path: import('./proof.js').Path }} Part a proof, read as a file of few receipts */
/** @typedef {import('./receipt.js').Receipt} Receipt */
/** @typedef {import('./typed_data.js').Domain} Domain */
/** @typedef {[string, string][]} Inputs what a check was made from and what it made, by name */
/** @typedef {{ name: string, ok: boolean | null, says: string, inputs: Inputs }} Check ok: null where it cannot be made */
/**
 * @typedef {object} Evidence
 * @property {any} shown `GET /v1/receipts/{id}`
 * @property {any} [proof] `GET /v1/proofs/receipt/{id}`, once the receipt is in a batch that is public
 * @property {any} [batch] `GET /v1/settlement/batches/{number}`, with the file
 * @property {Uint8Array} [file] `GET /v1/settlement/batches/{number}/file`: the whole batch, instead of the proof
 * @property {Chain | null} [chain] null: no endpoint was named
 * @property {(done: number) => void} [onProgress] how many receipts of the batch are hashed
 */

/**
 * The checks of a receipt in order, each as soon as it is made. Later ones rest on earlier ones, so the first cross ends
 * them, but for the price.
 * @param {Evidence} evidence
 * @returns {AsyncGenerator<Check>}
 */
export async function* verify(evidence) {
  const { shown } = evidence;
  /** @type {Receipt} */
  let receipt;
  /** @type {Domain} */
  let domain;
  try {
    receipt = receiptOf(shown.receipt);
    domain = domainOf(shown.domain);
  } catch (error) {
    yield { name: 'Receipt', ok: false, says: wordsOf(error), inputs: [] };
    return;
  }
  const signed = made('Signature', () => signature(receipt, domain, shown));
  yield signed;
  const priced = made('Price', () => price(receipt, shown));
  yield priced;
  if (!signed.ok || !priced.ok) return;
  if (!evidence.proof && !(evidence.file && evidence.batch)) {
    yield later('Place', 'The receipt is in no public batch yet: look again when its batch is on chain.');
    return;
  }
  yield* inBatch(receipt, domain, evidence);
}

/**
 * @param {Receipt} receipt
 * @param {Domain} domain
 * @param {Evidence} evidence
 * @returns {AsyncGenerator<Check>}
 */
async function* inBatch(receipt, domain, { shown, proof, batch, file: bytes, chain = null, onProgress }) {
  /** @type {BatchFile | Part | undefined} */
  let file;
  const placed = made('Place', () => {
    file = proof ? readProof(proof, receipt, domain) : read(/** @type {Uint8Array} */ (bytes));
    return place(receipt, domain, file, shown);
  });
  yield placed;
  if (!file || !placed.ok) return;
  const here = file;
  const counted = made('Sub-calls', () => subcalls(receipt, here));
  yield counted;
  const rooted = await awaited('Tree', async () => 'path' in here
    ? path(receipt, here)
    : tree(receipt, here, await receiptLeaves(here, onProgress)));
  yield rooted;
  if (!counted.ok || !rooted.ok) return;
  const id = idOf(file);
  yield {
    name: 'Batch', ok: true,
    says: 'path' in file
      ? `Batch ${file.number}'s header, with these two roots, has this id; its other roots are as shown.`
      : `Batch ${file.number}'s header, recomputed from its file, has this id.`,
    inputs: [['header id', id], ['file (SHA-256)', toHex(file.header.dataRef)], ...rootsOf(file)],
  };
  if (domain.chainId === 0n) {
    yield later('Chain', 'A private grid has no chain: that this batch is the only one is its operator’s word.');
  } else if (chain === null) {
    yield later('Chain', 'Name an RPC endpoint that you trust: only the chain can say that this is the batch.');
  } else {
    yield await awaited('Chain', () => committed(domain, here, chain, proof ? proof.batch : batch));
    yield await awaited('Key', () => key(receipt, here, chain));
  }
}

/**
 * @param {Receipt} receipt
 * @param {Domain} domain
 * @param {any} shown
 * @returns {Omit<Check, 'name'>}
 */
export function signature(receipt, domain, shown) {
  const digest = receiptDigest(domain, receipt);
  const signer = recover(digest, fromHex(shown.signature));
  const gateway = toHex(receipt.gateway);
  return {
    ok: signer === gateway,
    says: signer === gateway ? 'The gateway that it names signed it.' : `It names ${gateway}, and ${signer} signed it.`,
    inputs: [
      ['chain id and contract', `${domain.chainId}, ${domain.verifyingContract}`], ['EIP-712 digest', toHex(digest)],
      ['signature', shown.signature], ['signer', signer],
    ],
  };
}

/**
 * @param {Receipt} receipt
 * @param {any} shown
 * @returns {Omit<Check, 'name'>}
 */
export function price(receipt, shown) {
  const body = fromHex(shown.terms.body);
  if (!equal(termsId(body), receipt.terms)) throw new Wrong('these terms are not those that the receipt names');
  const due = charge(decode(body), receipt.units, receipt.subcallTotal);
  const ok = due.price === receipt.price && due.charge === receipt.charge;
  const used = receipt.units.map(({ meter, count }) => `${count} ${METERS[meter].name}`).join(', ');
  const says = ok
    ? `Its terms make a price of ${due.price} atoms of its units, of which this receipt charges ${due.charge}.`
    : `It says price ${receipt.price} and charge ${receipt.charge}; its terms make ${due.price} and ${due.charge}.`;
  const lines = due.payments.map(({ party, role, amount }) => /** @type {[string, string]} */ (
    [ROLES[role], `${amount} atoms to ${party}`]));
  /** @type {Inputs} */
  const rest = [['sub-calls', `${receipt.subcallTotal} atoms`], ['rebate', `${due.rebate} atoms`]];
  return { ok, says, inputs: [['terms', toHex(receipt.terms)], ['units', used], ...lines, ...rest] };
}

/**
 * @param {Receipt} receipt
 * @param {Domain} domain
 * @param {BatchFile} file
 * @param {any} shown
 * @returns {Omit<Check, 'name'>}
 */
export function place(receipt, domain, file, shown) {
  const ofThisLane = equal(file.lane, receipt.lane) && file.chainId === domain.chainId &&
    file.contract === domain.verifyingContract.toLowerCase();
  if (!ofThisLane) throw new Wrong(`the file is of lane ${toHex(file.lane)}, chain ${file.chainId}, or another contract`);
  const at = placeOf(file.ranges, receipt.gateway, receipt.seq);
  const there = file.signed[at];
  if (!there) throw new Wrong(`the proof is of other receipts than the one at place ${at}`);
  const record = pack(receipt);
  const ok = equal(pack(there.receipt), record) && toHex(there.signature) === shown.signature.toLowerCase() &&
    (file.terms === null || file.terms.has(toHex(receipt.terms)));
  const barred = file.barred.has(at) ? ' It is barred: its consumer had left, and pays nothing for it.' : '';
  return {
    ok,
    says: ok
      ? `Receipt ${receipt.seq} of this gateway stands at place ${at} of ${file.calls}, byte for byte.${barred}`
      : `At place ${at} the batch has another receipt, ${receiptId(there.receipt)} of ${there.receipt.charge} atoms.`,
    inputs: [['batch', `${file.number}`], ['place', `${at}`], ['record', toHex(record)]],
  };
}

/**
 * The sub-calls of a receipt stand right before it, and their prices are in its own. The last direct one is next to it;
 * that one's own stand before that, and so on to the first.
 * @param {Receipt} receipt
 * @param {BatchFile} file
 * @returns {Omit<Check, 'name'>}
 */
export function subcalls(receipt, file) {
  let at = placeOf(file.ranges, receipt.gateway, receipt.seq) - 1;
  const stop = at - Number(receipt.subcalls);
  let total = 0n;
  /** @type {Inputs} */
  const inputs = [];
  while (at > stop && at >= 0 && file.signed[at]) {
    const sub = file.signed[at].receipt;
    if (!equal(sub.parent, receipt.callId) || !equal(sub.gateway, receipt.gateway)) break;
    total += sub.price;
    inputs.unshift(['sub-call', `${receiptId(sub)}: ${sub.price} atoms`]);
    at -= 1 + Number(sub.subcalls);
  }
  const ok = at === stop && total === receipt.subcallTotal;
  const says = ok
    ? receipt.subcalls ? `The sub-calls right before it cost what it says, ${total} atoms.` : 'It has no sub-calls.'
    : `It counts ${receipt.subcalls} sub-calls of ${receipt.subcallTotal} atoms; those before it cost ${total}.`;
  return { ok, says, inputs };
}

/**
 * @param {Receipt} receipt
 * @param {BatchFile} file
 * @param {Uint8Array[]} leaves
 * @returns {Omit<Check, 'name'>}
 */
export function tree(receipt, file, leaves) {
  const at = placeOf(file.ranges, receipt.gateway, receipt.seq);
  const levels = build(leaves, file.header.heights[0]);
  const root = levels[levels.length - 1][0];
  const path = siblingsOf(levels, at);
  const ok = equal(root, file.header.receiptsRoot) && stands(file.header.receiptsRoot, leaves[at], at, path);
  return {
    ok,
    says: ok
      ? `Its leaf leads to the receipts’ root, which holds ${amount(root)} atoms of ${leaves.length} receipts.`
      : `The file says another root than its receipts make: ${toHex(file.header.receiptsRoot)}.`,
    inputs: [
      ['struct hash', toHex(structHash(receipt))], ['leaf', toHex(leaves[at])],
      ...path.map((sibling, level) => /** @type {[string, string]} */ ([`sibling at level ${level}`, toHex(sibling)])),
      ['root', toHex(root)],
    ],
  };
}

/**
 * @param {Receipt} receipt
 * @param {Part} part
 * @returns {Omit<Check, 'name'>}
 */
export function path(receipt, part) {
  const root = rootOf(part);
  const ok = equal(root, part.header.receiptsRoot);
  const leaves = leavesOf(part);
  return {
    ok,
    says: ok
      ? `Its leaf leads to the receipts’ root, which holds ${amount(root)} atoms of ${part.calls} receipts.`
      : `The header says another root than this path makes: ${toHex(part.header.receiptsRoot)}.`,
    inputs: [
      ['struct hash', toHex(structHash(receipt))],
      ...leaves.map((word, at) => /** @type {[string, string]} */ ([`leaf at place ${part.path.first + at}`, toHex(word)])),
      ...part.path.siblings.map((word, at) => /** @type {[string, string]} */ ([`sibling ${at + 1}`, toHex(word)])),
      ['root', toHex(root)],
    ],
  };
}

/**
 * @param {Domain} domain
 * @param {BatchFile} file
 * @param {Chain} chain
 * @param {any} batch
 * @returns {Promise<Omit<Check, 'name'>>}
 */
export async function committed(domain, file, chain, batch) {
  const chainId = await chain.chainId();
  if (chainId !== domain.chainId) throw new Wrong(`the endpoint is of chain ${chainId}, the receipt of ${domain.chainId}`);
  if (chain.settlement.toLowerCase() !== domain.verifyingContract.toLowerCase()) {
    throw new Wrong(`the receipt is signed for contract ${domain.verifyingContract}, you named ${chain.settlement}`);
  }
  const onchainId = BigInt(batch.chain_id ?? 0);
  const posted = await chain.posted(file.lane, onchainId);
  const id = toHex(headerId(file.header));
  const final = posted.finalized >= onchainId;
  const until = new Date(Number(posted.until) * 1000).toISOString().slice(0, 19);
  return {
    ok: posted.id === id,
    says: posted.id !== id
      ? `The chain has another header there: ${posted.id}.`
      : final ? 'The chain has this batch, and it is final.' : `The chain has this batch; it can be challenged until ${until} UTC.`,
    inputs: [
      ['RPC endpoint', chain.url], ['Settlement', chain.settlement], ['chain', `${chainId}, block ${posted.latest}`],
      ['lane', toHex(file.lane)], ['batch on chain', `${onchainId} of ${posted.next - 1n}, final up to ${posted.finalized}`],
      ['header id on chain', posted.id],
    ],
  };
}

/**
 * @param {Receipt} receipt
 * @param {BatchFile} file
 * @param {Chain} chain
 * @returns {Promise<Omit<Check, 'name'>>}
 */
export async function key(receipt, file, chain) {
  const known = await chain.gatewayKey(receipt.lane, receipt.gateway);
  const number = file.ranges.find((range) => equal(range.gateway, receipt.gateway))?.number;
  const isKey = known.addedAt > 0n && known.number === BigInt(number ?? 0);
  const ok = isKey && (await chain.signsFor(receipt.lane, receipt.gateway, receipt.endedAt / 1000n));
  const revoked = known.revokedAt ? `, revoked at ${known.revokedAt}` : '';
  return {
    ok,
    says: ok ? `The gateway’s key was key ${number} of this lane on chain when it signed.`
      : isKey ? 'The key was revoked before it signed this.' : 'The chain does not know this key in this lane.',
    inputs: [['key', toHex(receipt.gateway)], ['added', `at ${known.addedAt} (seconds)${revoked}`]],
  };
}

/**
 * @param {any} shown
 * @returns {Domain}
 */
export function domainOf(shown) {
  const { name, version, chainId, verifyingContract } = shown;
  if (name !== NAME || version !== VERSION) throw new Wrong(`signatures count in the domain ${NAME} ${VERSION}, not ${name} ${version}`);
  fromHex(verifyingContract, 20);
  return { name, version, chainId: BigInt(chainId), verifyingContract };
}

/**
 * @param {BatchFile} file
 * @returns {Inputs}
 */
function rootsOf({ header }) {
  return [
    ['receipts', toHex(header.receiptsRoot)], ['payouts', toHex(header.payoutRoot)],
    ['debits', toHex(header.debitRoot)], ['lines', toHex(header.linesRoot)], ['gateways', toHex(header.gatewaysRoot)],
  ];
}

/**
 * @param {string} name
 * @param {string} says
 * @returns {Check}
 */
function later(name, says) {
  return { name, ok: null, says, inputs: [] };
}

/**
 * A check; what is malformed is a cross with the reason.
 * @param {string} name
 * @param {() => Omit<Check, 'name'>} check
 * @returns {Check}
 */
function made(name, check) {
  try {
    return { name, ...check() };
  } catch (error) {
    return { name, ok: false, says: wordsOf(error), inputs: [] };
  }
}

/**
 * @param {string} name
 * @param {() => Promise<Omit<Check, 'name'>>} check
 * @returns {Promise<Check>}
 */
async function awaited(name, check) {
  try {
    return { name, ...(await check()) };
  } catch (error) {
    return { name, ok: false, says: wordsOf(error), inputs: [] };
  }
}

/**
 * What is wrong, as a sentence. What a gateway shows may have any shape, so an error of any kind is a cross.
 * @param {unknown} error
 * @returns {string}
 */
function wordsOf(error) {
  const said = error instanceof Error ? error.message : String(error);
  return `${said.slice(0, 1).toUpperCase()}${said.slice(1)}.`;
}
