// @ts-check
/**
 * The wallet's page: an account does with the browser's wallet what the command line does with a keystore. Nothing is
 * asked of a wallet without a click, and what it will sign is shown before.
 */
import * as amounts from '../../static/amounts.js';
import * as commands from './commands.js';
import { toHex } from './bytes.js';
import { KEY, element } from './dom.js';
import { Connection, discover } from './provider.js';

export { commands };

/** @typedef {import('./commands.js').Lane} Lane */
/** @typedef {import('./provider.js').Wallet} Wallet */
/** @typedef {[string, string]} Fact */

const VALID_SECONDS = 3600;

/** @type {Connection | null} */
let connection = null;
/** @type {Lane | null} */
let lane = null;

/**
 * @param {string} id
 * @returns {any}
 */
const one = (id) => document.getElementById(id);

/**
 * @param {string} text
 * @param {string} [kind]
 */
function tell(text, kind = '') {
  one('said').className = `notice ${kind}`;
  one('said').textContent = text;
  one('said').hidden = !text;
}

/**
 * Do what a button asks for, one thing at a time; what goes wrong is told.
 * @param {HTMLElement} target
 * @param {string} event
 * @param {(happened: Event) => Promise<void>} act
 */
function on(target, event, act) {
  target.addEventListener(event, async (happened) => {
    happened.preventDefault();
    tell('');
    try {
      await act(happened);
    } catch (error) {
      tell(error instanceof Error ? error.message : String(error), 'bad');
    }
  });
}

/** @returns {{ wallet: Connection, of: Lane }} */
function ready() {
  if (!connection || !lane) throw new Error('connect a wallet first');
  return { wallet: connection, of: lane };
}

/**
 * Show what is about to be signed or sent, and wait for a click. Throws where the reader does not want it.
 * @param {string} title
 * @param {Fact[]} facts
 * @returns {Promise<void>}
 */
function confirmed(title, facts) {
  const [box, yes, no] = [one('confirm'), one('yes'), one('no')];
  one('confirm-title').textContent = title;
  one('confirm-facts').replaceChildren(
    ...facts.flatMap(([name, value]) => [element('dt', {}, name), element('dd', { class: 'mono' }, value)]));
  box.hidden = false;
  yes.focus();
  return new Promise((resolve, reject) => {
    const end = () => {
      box.hidden = true;
      [yes.onclick, no.onclick] = [null, null];
    };
    yes.onclick = () => [end(), resolve()];
    no.onclick = () => [end(), reject(new Error('nothing was signed or sent'))];
  });
}

/**
 * The wallet's signature of typed data that its owner has seen.
 * @param {string} title
 * @param {Fact[]} facts
 * @param {() => import('./commands.js').Typed} make made once it is confirmed, because it may name the time
 * @returns {Promise<{ signature: string, typed: import('./commands.js').Typed }>}
 */
async function signed(title, facts, make) {
  const { wallet, of } = ready();
  await checkChain(wallet, of);
  await confirmed(title, facts);
  const typed = make();
  return { signature: await wallet.sign(typed), typed };
}

/**
 * Send a transaction that its owner has seen.
 * @param {string} title
 * @param {Fact[]} facts
 * @param {{ to: string, data: string, signature: string }} call
 */
async function sent(title, facts, call) {
  const { wallet, of } = ready();
  await checkChain(wallet, of);
  await confirmed(title, [...facts, ['Contract', call.to], ['Function', call.signature], ['Chain', String(of.chain_id)]]);
  tell('Waiting for the chain…');
  const hash = await wallet.send(call.to, call.data);
  tell(`Done, in transaction ${hash}.`);
}

/**
 * @param {Connection} wallet
 * @param {Lane} of
 */
async function checkChain(wallet, of) {
  const chain = await wallet.chainId();
  one('chain').textContent = String(chain);
  one('switch').hidden = chain === of.chain_id;
  if (chain !== of.chain_id) throw new Error(`the wallet is on chain ${chain}, this lane on chain ${of.chain_id}: switch it first`);
}

/**
 * Ask a route of this gateway as the account, by its signature of this one request.
 * @param {string} method
 * @param {string} path
 * @param {unknown} [body]
 * @returns {Promise<any>}
 */
async function asAccount(method, path, body) {
  const { wallet, of } = ready();
  const text = body === undefined ? '' : JSON.stringify(body);
  /** @type {Fact[]} */
  const facts = [['Request', `${method} ${path}`], ['Body', text || 'none'], ['Account', wallet.account],
    ['Lane', of.lane], ['Chain', String(of.chain_id)], ['Good for', 'this request, once, within a minute']];
  let at = 0;
  const { signature } = await signed('Sign one request to this gateway', facts, () => {
    at = Date.now();
    return commands.request(of, wallet.account, { method, path, body: text, at });
  });
  const headers = { 'Tollway-Account': JSON.stringify({ account: wallet.account, at, signature }) };
  return answered(path, { method, headers, body: text });
}

/**
 * @param {string} path
 * @param {{ method?: string, headers?: Record<string, string>, body?: string }} [how]
 * @returns {Promise<any>}
 */
async function answered(path, { method = 'GET', headers = {}, body = '' } = {}) {
  const typed = body ? { ...headers, 'Content-Type': 'application/json' } : headers;
  const response = await fetch(path, { method, headers: typed, body: body || undefined, credentials: 'omit' });
  const said = await response.json().catch(() => ({}));
  if (!response.ok) throw new Error(said?.error?.message ?? `the gateway answered ${response.status}`);
  return said;
}

/** @param {string} atoms */
const amount = (atoms) => amounts.amount(atoms, one('wallet').dataset);

/**
 * Atoms of what a field says in whole tokens. Throws where that is no amount.
 * @param {string} id
 * @returns {string} "" for an empty field
 */
function atoms(id) {
  const text = one(id).value.trim();
  if (!text) return '';
  const found = amounts.atoms(text, one('wallet').dataset);
  if (found === null) throw new Error(`${text} is no amount such as 1.5`);
  return found;
}

/**
 * The limits that a form's fields name.
 * @param {string} prefix
 */
function limits(prefix) {
  /** @type {Record<string, unknown>} */
  const body = {};
  const [label, rate, models] = ['label', 'rate', 'models'].map((name) => one(`${prefix}-${name}`).value.trim());
  const budget = atoms(`${prefix}-budget`);
  if (rate && !/^[1-9]\d*$/.test(rate)) throw new Error('calls a minute are a whole number');
  if (label) body.label = label;
  if (budget) body.budget = budget;
  if (rate) body.rate = Number(rate);
  if (models) body.models = models.split(',').map((/** @type {string} */ name) => name.trim()).filter(Boolean);
  return body;
}

/** @param {Wallet} wallet */
async function connect(wallet) {
  connection = await Connection.open(wallet);
  lane = /** @type {Lane} */ (await answered('/v1/lane'));
  one('account').textContent = connection.account;
  one('lane-chain').textContent = lane.chain_id ? String(lane.chain_id) : 'none: this is a private grid';
  one('with-wallet').hidden = false;
  one('on-chain').hidden = !lane.chain_id;
  await checkChain(connection, lane);
  tell(`${wallet.name} is connected.`);
}

async function showKeys() {
  const { data } = await asAccount('GET', '/v1/keys');
  const rows = data.map((/** @type {any} */ key) => {
    const cells = [key.label || '–', key.id, key.budget === null ? 'no limit' : `${amount(key.left)} left of ${amount(key.budget)}`,
      key.rate === null ? 'no limit' : String(key.rate), key.rights.join(', ') || 'calls'];
    return element('tr', {}, ...cells.map((text) => element('td', {}, text)), element('td', {}, ...actions(key)));
  });
  const head = ['Label', 'Id', 'Budget', 'Calls a minute', 'Rights', ''].map((title) => element('th', { scope: 'col' }, title || 'Do'));
  if (!rows.length) rows.push(element('tr', {}, element('td', { colspan: String(head.length) }, 'There is no key.')));
  one('wallet-keys').replaceChildren(element('thead', {}, element('tr', {}, ...head)), element('tbody', {}, ...rows));
}

/**
 * @param {any} key
 * @returns {(Node | string)[]}
 */
function actions(key) {
  if (key.revoked_at) return ['revoked'];
  const path = `/v1/keys/${encodeURIComponent(key.id)}`;
  const named = key.label || key.id;
  const [change, replace, revoke] = ['Change', 'Replace', 'Revoke'].map((word) =>
    element('button', { type: 'button', 'aria-label': `${word} ${named}` }, word));
  on(change, 'click', async () => {
    const body = limits('make');
    if (!Object.keys(body).length) throw new Error('fill in what is to change in the form below, then press Change again');
    await asAccount('PATCH', path, body);
    await showKeys();
  });
  on(replace, 'click', async () => {
    const { label, budget, left, budgets, rate, models, expires_at, rights, realm } = key;
    const same = budgets.map((/** @type {any} */ row) => ({ amount: row.amount, period: row.period, model: row.model }));
    const made = await asAccount('POST', '/v1/keys',
      { label, budget: budget === null ? null : left, budgets: same, rate, models, expires_at, rights, realm });
    reveal(made.key);
    await asAccount('DELETE', path);
    tell(`${named} is replaced: it is refused from now on.`);
  });
  on(revoke, 'click', async () => {
    await asAccount('DELETE', path);
    tell(`${named} is revoked, and so are the keys that it made.`);
  });
  return [change, ' ', replace, ' ', revoke];
}

/** @param {string} secret */
function reveal(secret) {
  one('secret').value = secret;
  one('secret-said').hidden = false;
}

async function makeKey() {
  const { wallet, of } = ready();
  const body = { ...limits('make'), rights: one('make-manage').checked ? ['manage'] : [] };
  const most = atoms('make-most');
  let made;
  if (most) {
    /** @type {Fact[]} */
    const facts = [['Voucher', `the lane may debit ${amount(most)} in all, ever`], ['Account', wallet.account],
      ['Lane', of.lane], ['Chain', String(of.chain_id)], ['With it', `a key is made: ${JSON.stringify(body)}`]];
    const { signature } = await signed('Sign a voucher', facts, () => commands.voucher(of, wallet.account, most));
    const vouched = { lane: of.lane, account: wallet.account, cum_max: most, signature };
    made = await answered('/v1/keys', { method: 'POST', body: JSON.stringify({ ...body, voucher: vouched }) });
  } else {
    made = await asAccount('POST', '/v1/keys', body);
  }
  reveal(made.key);
  one('make').reset();
  tell(`Key ${made.id} is made.`);
}

async function depositSome() {
  const { wallet, of } = ready();
  const wanted = atoms('deposit-amount');
  if (!wanted || wanted === '0') throw new Error('say how much, such as 1.5');
  const salt = toHex(crypto.getRandomValues(new Uint8Array(32)));
  const validBefore = Math.floor(Date.parse((await answered('/v1/lane')).time) / 1000) + VALID_SECONDS;
  /** @type {Fact[]} */
  const facts = [['Deposit', amount(wanted)], ['From', wallet.account], ['Into lane', of.lane], ['Token', of.deployment.token],
    ['Chain', String(of.chain_id)], ['Good for', 'this deposit, within an hour; the gateway sends it and pays the gas']];
  const { signature } = await signed('Sign a deposit', facts,
    () => commands.deposit(of, wallet.account, { amount: wanted, salt, validBefore }));
  const body = { account: wallet.account, amount: wanted, valid_after: 0, valid_before: validBefore, salt, signature };
  const asked = await answered('/v1/deposits', { method: 'POST', body: JSON.stringify(body) });
  one('deposit-id').textContent = asked.id;
  one('deposit-asked').hidden = false;
  one('deposit').reset();
  tell(`The deposit of ${amount(wanted)} is ${asked.status}. It is credited once its block is final enough.`);
}

async function showDeposit() {
  const key = sessionStorage.getItem(KEY);
  const path = `/v1/deposits/${one('deposit-id').textContent}`;
  const found = key ? await answered(path, { headers: { Authorization: `Bearer ${key}` } }) : await asAccount('GET', path);
  tell(`The deposit of ${amount(found.amount)} is ${found.status}${found.reason ? `: ${found.reason}` : ''}.`);
}

async function showBalance() {
  const found = await asAccount('GET', '/v1/balance');
  const rows = [['Can be spent', found.spendable], ['Its voucher allows', found.voucher], ['Paid in', found.deposited],
    ['Being withdrawn', found.withdrawing]];
  one('wallet-balance').replaceChildren(...rows.map(([name, value]) =>
    element('div', {}, element('dt', {}, name), element('dd', {}, amount(value)))));
}

async function takeOut() {
  const { wallet, of } = ready();
  const proof = await answered(`/v1/proofs/debit/${wallet.account}`);
  const facts = /** @type {Fact[]} */ ([['Take out', 'what was paid in and not debited'], ['Debited', amount(proof.cumulative)]]);
  await sent('Send a transaction', facts, commands.withdraw(of, wallet.account, proof));
}

async function claimAll() {
  const { wallet, of } = ready();
  const proof = await answered(`/v1/proofs/payout/${wallet.account}`);
  const facts = /** @type {Fact[]} */ ([['Claim', `what is not claimed of ${amount(proof.cumulative)}`], ['By batch', String(proof.batch)]]);
  await sent('Send a transaction', facts, commands.claim(of, wallet.account, proof));
}

/** Fill the page, and wait for clicks. */
export function start() {
  const list = one('wallets');
  discover((wallet) => {
    const button = element('button', { type: 'button' }, `Connect ${wallet.name}`);
    on(button, 'click', () => connect(wallet));
    list.append(element('li', {}, button));
    one('no-wallet').hidden = true;
    list.hidden = false;
  });
  on(one('switch'), 'click', async () => {
    const { wallet, of } = ready();
    await wallet.switchTo(of.chain_id, of.rpc ?? '');
    await checkChain(wallet, of);
    tell(`The wallet is on chain ${of.chain_id}.`);
  });
  on(one('read-keys'), 'click', showKeys);
  on(one('make'), 'submit', makeKey);
  on(one('use-key'), 'click', async () => {
    sessionStorage.setItem(KEY, one('secret').value);
    tell('This tab uses the new key: Activity, Keys and Money show what it may see.');
  });
  on(one('read-balance'), 'click', showBalance);
  on(one('deposit'), 'submit', depositSome);
  on(one('look-deposit'), 'click', showDeposit);
  for (const [id, stay] of /** @type {[string, boolean][]} */ ([['leave', false], ['stay', true]])) {
    on(one(id), 'click', async () => {
      const { wallet, of } = ready();
      const facts = /** @type {Fact[]} */ ([[stay ? 'Stay in' : 'Leave', of.lane], ['Account', wallet.account]]);
      await sent('Send a transaction', facts, commands.leave(of, stay));
    });
  }
  on(one('take-out'), 'click', takeOut);
  on(one('claim'), 'click', claimAll);
}

if (typeof document !== 'undefined' && document.getElementById('wallet')) start();
