// @ts-check
/**
 * What an account signs, as typed data for a wallet, and what it sends, as calls of the contracts. As in
 * `ledger/core/values/typed_data.py`, `roles/client/credentials.py` and `ledger/chain/calls.py`.
 */
import { utf8ToBytes } from '@noble/hashes/utils.js';
import { concat, fromHex, toHex, word } from './bytes.js';
import { hashOfText, keccak } from './typed_data.js';

/** @typedef {{ lane: string, domain: any, deployment: any, chain_id: number, rpc: string | null, exit_notice: number }} Lane */
/** @typedef {{ domain: any, types: any, primaryType: string, message: Record<string, string> }} Typed */

const DOMAIN_TYPE = [
  { name: 'name', type: 'string' }, { name: 'version', type: 'string' },
  { name: 'chainId', type: 'uint256' }, { name: 'verifyingContract', type: 'address' },
];
const TYPES = {
  Request: 'address lane,address account,bytes32 request,uint64 at',
  Voucher: 'address lane,address account,uint64 cumMax',
  ReceiveWithAuthorization:
    'address from,address to,uint256 value,uint256 validAfter,uint256 validBefore,bytes32 nonce',
};

/**
 * @param {any} domain
 * @param {keyof typeof TYPES} primaryType
 * @param {Record<string, string>} message
 * @returns {Typed}
 */
function typed(domain, primaryType, message) {
  const fields = TYPES[primaryType].split(',').map((field) => {
    const [type, name] = field.split(' ');
    return { name, type };
  });
  const { name, version, chainId, verifyingContract } = domain;
  const types = { EIP712Domain: DOMAIN_TYPE, [primaryType]: fields };
  return { domain: { name, version, chainId, verifyingContract }, types, primaryType, message };
}

/**
 * One request to the lane's gateway: it is good for a minute, once. The digest binds method, path and body.
 * @param {Lane} lane
 * @param {string} account
 * @param {{ method: string, path: string, body: string, at: number }} sent
 * @returns {Typed}
 */
export function request(lane, account, { method, path, body, at }) {
  const digest = toHex(keccak(utf8ToBytes(`${method} ${path}\n`), utf8ToBytes(body)));
  return typed(lane.domain, 'Request', { lane: lane.lane, account, request: digest, at: String(at) });
}

/**
 * The most that the lane may ever debit the account, in atoms.
 * @param {Lane} lane
 * @param {string} account
 * @param {string} cumMax
 * @returns {Typed}
 */
export function voucher(lane, account, cumMax) {
  return typed(lane.domain, 'Voucher', { lane: lane.lane, account, cumMax });
}

/**
 * A deposit that anybody may relay: the nonce binds lane and account.
 * @param {Lane} lane
 * @param {string} account
 * @param {{ amount: string, salt: string, validBefore: number }} asked
 * @returns {Typed}
 */
export function deposit(lane, account, { amount, salt, validBefore }) {
  const { token, token_name: name, token_version: version } = lane.deployment;
  const domain = { name, version, chainId: lane.chain_id, verifyingContract: token };
  const nonce = toHex(keccak(word(fromHex(lane.lane, 20)), word(fromHex(account, 20)), fromHex(salt, 32)));
  const window = { validAfter: '0', validBefore: String(validBefore) };
  return typed(domain, 'ReceiveWithAuthorization', { from: account, to: lane.lane, value: amount, ...window, nonce });
}

/**
 * Ask to leave a lane, or to stay after all.
 * @param {Lane} lane
 * @param {boolean} stay
 */
export function leave(lane, stay) {
  const name = stay ? 'cancelWithdraw' : 'requestWithdraw';
  return call(lane.deployment.consumers, `${name}(address)`, [fromHex(lane.lane, 20)]);
}

/**
 * Take out what a final batch leaves of the account.
 * @param {Lane} lane
 * @param {string} account
 * @param {{ cumulative: string, proof: string[] }} proof
 */
export function withdraw(lane, account, { cumulative, proof }) {
  const words = [fromHex(lane.lane, 20), fromHex(account, 20), BigInt(cumulative)];
  return call(lane.deployment.settlement, 'withdraw(address,address,uint64,bytes32[])', words, proof);
}

/**
 * Claim what final batches paid the account.
 * @param {Lane} lane
 * @param {string} account
 * @param {{ index: number, cumulative: string, proof: string[] }} proof
 */
export function claim(lane, account, { index, cumulative, proof }) {
  const words = [fromHex(lane.lane, 20), index, fromHex(account, 20), BigInt(cumulative)];
  return call(lane.deployment.settlement, 'claim(address,uint32,address,uint64,bytes32[])', words, proof);
}

/**
 * A call by its ABI signature: words, and at the end a list of 32-byte siblings, if there is one.
 * @param {string} to
 * @param {string} signature
 * @param {(Uint8Array | bigint | number)[]} words
 * @param {string[]} [siblings]
 * @returns {{ to: string, data: string, signature: string }}
 */
function call(to, signature, words, siblings) {
  const parts = [hashOfText(signature).subarray(0, 4), ...words.map(word)];
  if (siblings) {
    const list = siblings.map((one) => fromHex(one, 32));
    parts.push(word(32 * (words.length + 1)), word(list.length), ...list);
  }
  return { to, data: toHex(concat(...parts)), signature };
}
