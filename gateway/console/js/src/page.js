// @ts-check
/**
 * The button on a receipt's page. Whatever a gateway, a chain or a stranger says is put there as text.
 */
import { Chain } from './chain.js';
import { toHex, Wrong } from './bytes.js';
import { KEY, element } from './dom.js';
import { receiptId, receiptOf } from './receipt.js';
import { verify } from './verify.js';

/** @typedef {import('./verify.js').Check} Check */

const MARKS = new Map([
  [true, ['✓', 'good', 'holds']],
  [false, ['✗', 'bad', 'fails']],
  [null, ['–', 'quiet', 'not checked']],
]);

/**
 * Fill the section of a receipt's page with the form, and check when it is sent.
 * @param {HTMLElement} section
 */
export function start(section) {
  const id = decodeURIComponent(location.pathname.split('/').pop() ?? ''); // as the reader asked for it
  const rpc = input('url', 'https://…', 'URL of an RPC endpoint that you trust');
  const settlement = input('text', '0x…', 'Address of the Settlement contract that you trust');
  const button = element('button', { type: 'submit' }, 'Verify in this browser');
  const whole = /** @type {HTMLInputElement} */ (element('input', { type: 'checkbox' }));
  const state = element('p', { role: 'status' });
  const list = element('ol', { class: 'checks' });
  const form = element('form', { class: 'filter' },
    element('label', {}, 'RPC endpoint, of your choice', rpc), element('label', {}, 'Settlement contract', settlement),
    element('label', {}, 'Read the whole batch file', whole), button);
  form.addEventListener('submit', async (event) => {
    event.preventDefault();
    button.toggleAttribute('disabled', true);
    list.replaceChildren();
    section.dataset.result = 'checking';
    const named = { id, rpc: rpc.value.trim(), settlement: settlement.value.trim(), whole: whole.checked };
    section.dataset.result = await run(named, state, list);
    button.toggleAttribute('disabled', false);
  });
  section.append(form, state, list);
  section.hidden = false;
  prefill(settlement);
}

/**
 * What the reader named: a receipt, an endpoint ("" for none), a contract, and whether to read the whole file.
 * @typedef {{ id: string, rpc: string, settlement: string, whole: boolean }} Named
 */

/**
 * Check a receipt, and show each check.
 * @param {Named} named
 * @param {HTMLElement} state
 * @param {HTMLElement} list
 * @returns {Promise<string>} `holds`, `fails`, or `open` where some checks could not be made
 */
async function run({ id, rpc, settlement, whole }, state, list) {
  /** @type {Check[]} */
  const checks = [];
  try {
    state.textContent = 'Reading the receipt and its batch…';
    const evidence = await gather(id, whole);
    const one = receiptOf(evidence.shown.receipt);
    if (receiptId(one) !== id && toHex(one.callId) !== id) throw new Wrong(`the gateway shows receipt ${receiptId(one)}, not ${id}`);
    const chain = rpc ? new Chain(rpc, settlement) : null;
    const onProgress = (/** @type {number} */ done) => {
      state.textContent = `Hashing the batch: ${done} receipts…`;
    };
    for await (const check of verify({ ...evidence, chain, onProgress })) {
      checks.push(check);
      list.append(row(check));
    }
  } catch (error) {
    checks.push({ name: 'Evidence', ok: false, says: error instanceof Error ? error.message : String(error), inputs: [] });
    list.append(row(checks[checks.length - 1]));
  }
  const failed = checks.find((check) => check.ok === false);
  const unmade = checks.filter((check) => check.ok === null);
  if (failed) state.textContent = `Not verified: ${failed.name} fails.`;
  else if (unmade.length) state.textContent = `${checks.length - unmade.length} checks hold; not checked: ${unmade[0].name}.`;
  else state.textContent = `Verified: all ${checks.length} checks hold, if ${settlement} is the contract that you know.`;
  return failed ? 'fails' : unmade.length ? 'open' : 'holds';
}

/**
 * What the gateway shows of a receipt: the receipt, and its proof; or its batch and the batch's file, where the reader
 * wants it, and where the gateway kept no proofs of an old batch.
 * @param {string} id
 * @param {boolean} whole
 * @returns {Promise<{ shown: any, proof?: any, batch?: any, file?: Uint8Array }>}
 */
async function gather(id, whole) {
  const shown = await (await asked(`/v1/receipts/${encodeURIComponent(id)}`)).json();
  const number = shown?.batch?.number;
  if (!Number.isSafeInteger(number)) return { shown };
  if (!whole) {
    const proven = await asked(`/v1/proofs/receipt/${encodeURIComponent(id)}`, 404);
    if (proven.ok) return { shown, proof: await proven.json() };
  }
  const batch = await (await asked(`/v1/settlement/batches/${number}`)).json();
  const response = await asked(`/v1/settlement/batches/${number}/file`, 404);
  if (response.status === 404) return { shown };
  return { shown, batch, file: new Uint8Array(await response.arrayBuffer()) };
}

/**
 * An answer of this gateway, with the reader's key if there is one. Wrong when it refuses.
 * @param {string} path
 * @param {number} [taken] a status that is an answer too
 * @returns {Promise<Response>}
 */
async function asked(path, taken) {
  const key = sessionStorage.getItem(KEY);
  const response = await fetch(path, { headers: key ? { authorization: `Bearer ${key}` } : {} });
  if (response.ok || response.status === taken) return response;
  const said = await response.json().catch(() => null);
  throw new Wrong(`the gateway refuses ${path}: ${said?.error?.message ?? response.status}`);
}

/**
 * The contract that the gateway names. The reader can name another.
 * @param {HTMLInputElement} settlement
 */
async function prefill(settlement) {
  const lane = await asked('/v1/lane').then((response) => response.json()).catch(() => null);
  if (!settlement.value && lane?.domain?.verifyingContract) settlement.value = lane.domain.verifyingContract;
}

/**
 * @param {Check} check
 * @returns {HTMLElement}
 */
function row({ name, ok, says, inputs }) {
  const [mark, kind, word] = MARKS.get(ok) ?? [];
  const line = element('p', {},
    element('span', { class: `state ${kind}` }, `${mark} ${word}`), ' ', element('strong', {}, name), ` ${says}`);
  if (!inputs.length) return element('li', {}, line);
  const facts = inputs.flatMap(([input, value]) => [element('dt', {}, input), element('dd', { class: 'mono' }, value)]);
  const details = element('details', {}, element('summary', {}, `What ${name} was made from`),
    element('dl', { class: 'facts' }, ...facts));
  return element('li', {}, line, details);
}

/**
 * @param {string} type
 * @param {string} placeholder
 * @param {string} title
 * @returns {HTMLInputElement}
 */
function input(type, placeholder, title) {
  const made = element('input', { type, placeholder, title, size: '36', autocomplete: 'off', spellcheck: 'false' });
  return /** @type {HTMLInputElement} */ (made);
}
