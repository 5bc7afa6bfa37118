// @ts-check
/**
 * What the chain says of a batch and of a gateway's key, read by JSON-RPC from an endpoint that the reader names. The
 * functions' names are Settlement's and Keys': an ABI word is a result's field, so no library decodes them.
 */
import { Wrong, fromHex, number, toHex, word } from './bytes.js';
import { hashOfText, keccak } from './typed_data.js';

/** @typedef {{ id: string, until: bigint, next: bigint, finalized: bigint, latest: bigint }} Posted */
/** @typedef {{ number: bigint, addedAt: bigint, revokedAt: bigint }} KeyTimes */

/** Settlement keeps this many batches; of an older one the event remains. */
const RING = 256n;
const COMMITTED = toHex(hashOfText(
  'Committed(address,uint64,(bytes24,uint32,uint40,uint48,bytes32,bytes32,bytes32,bytes32,bytes32,bytes32),uint40)',
));
const SECONDS = 20;

/** An RPC endpoint, and one Settlement contract behind it. */
export class Chain {
  /**
   * @param {string} url https, or http of this machine
   * @param {string} settlement
   * @param {typeof fetch} [ask]
   */
  constructor(url, settlement, ask = (...sent) => fetch(...sent)) {
    const { protocol, hostname } = parsed(url);
    const here = hostname === '127.0.0.1' || hostname === 'localhost';
    if (protocol !== 'https:' && !(protocol === 'http:' && here)) {
      throw new Wrong(`${url} is neither https nor on this machine: name an RPC endpoint such as https://…`);
    }
    fromHex(settlement, 20);
    this.url = url;
    this.settlement = settlement;
    this.ask = ask;
  }

  /** @returns {Promise<bigint>} */
  async chainId() {
    return quantity(await this.rpc('eth_chainId'));
  }

  /**
   * A batch as Settlement has it, all of one block. Wrong when it has none with this number now.
   * @param {Uint8Array} lane
   * @param {bigint} id
   * @returns {Promise<Posted>}
   */
  async posted(lane, id) {
    const latest = quantity(await this.rpc('eth_blockNumber'));
    const block = `0x${latest.toString(16)}`;
    const head = await this.view(this.settlement, 'heads(address)', [word(lane)], block);
    const [, next, finalized] = head.map(number);
    if (id >= next || id < 1n) throw new Wrong(`the chain has no batch ${id} of this lane: its next one is ${next}`);
    if (next - id > RING) return { ...(await this.logged(lane, id)), next, finalized, latest };
    const [hash, until] = await this.view(this.settlement, 'batches(address,uint64)', [word(lane), word(id)], block);
    return { id: toHex(hash.subarray(0, 24)), until: number(until), next, finalized, latest };
  }

  /**
   * A gateway's key in its lane; zeros if it never was one.
   * @param {Uint8Array} lane
   * @param {Uint8Array} key
   * @returns {Promise<KeyTimes>}
   */
  async gatewayKey(lane, key) {
    const [keys] = await this.view(this.settlement, 'keys()', []);
    const contract = toHex(keys.subarray(12));
    const [of, addedAt, revokedAt] = (
      await this.view(contract, 'gateways(address,address)', [word(lane), word(key)])
    ).map(number);
    return { number: of, addedAt, revokedAt };
  }

  /**
   * Whether a gateway's key signs for its lane at a time.
   * @param {Uint8Array} lane
   * @param {Uint8Array} key
   * @param {bigint} seconds
   * @returns {Promise<boolean>}
   */
  async signsFor(lane, key, seconds) {
    const [keys] = await this.view(this.settlement, 'keys()', []);
    const asked = [word(lane), word(key), word(seconds)];
    const [signs] = await this.view(toHex(keys.subarray(12)), 'signsFor(address,address,uint256)', asked);
    return number(signs) === 1n;
  }

  /**
   * An old batch, from the last event of its commit.
   * @param {Uint8Array} lane
   * @param {bigint} id
   * @returns {Promise<{ id: string, until: bigint }>}
   */
  async logged(lane, id) {
    const topics = [COMMITTED, toHex(word(lane)), toHex(word(id))];
    const logs = await this.rpc('eth_getLogs', { address: this.settlement, fromBlock: '0x0', toBlock: 'latest', topics });
    if (!Array.isArray(logs) || !logs.length) throw new Wrong(`the endpoint has no event of batch ${id}`);
    const data = fromHex(String(logs[logs.length - 1].data), 32 * 11);
    return { id: toHex(keccak(data.subarray(0, 320)).subarray(0, 24)), until: number(data.subarray(320)) };
  }

  /**
   * The words that a view function returns.
   * @param {string} contract
   * @param {string} signature
   * @param {Uint8Array[]} words
   * @param {string} [block]
   * @returns {Promise<Uint8Array[]>}
   */
  async view(contract, signature, words, block = 'latest') {
    const selector = toHex(hashOfText(signature).subarray(0, 4));
    const data = selector + words.map((one) => toHex(one).slice(2)).join('');
    const result = fromHex(String(await this.rpc('eth_call', { to: contract, data }, block)));
    const name = signature.split('(')[0];
    if (!result.length) throw new Wrong(`there is no contract with ${name} at ${contract} on this chain`);
    const found = [];
    for (let at = 0; at + 32 <= result.length; at += 32) found.push(result.subarray(at, at + 32));
    if (found.length < (FIELDS[name] ?? 1)) throw new Wrong(`${name} of ${contract} returns ${result.length} bytes`);
    return found;
  }

  /**
   * @param {string} method
   * @param {...unknown} params
   * @returns {Promise<unknown>}
   */
  async rpc(method, ...params) {
    let said;
    try {
      const response = await this.ask(this.url, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ jsonrpc: '2.0', id: 1, method, params }),
        credentials: 'omit',
        referrerPolicy: 'no-referrer',
        signal: AbortSignal.timeout(SECONDS * 1000),
      });
      said = await response.json();
    } catch (error) {
      throw new Wrong(`${this.url} does not answer ${method} (${error instanceof Error ? error.message : error}): ` +
        'is it an RPC endpoint that browsers may ask?');
    }
    if (said?.error || said?.result === undefined || said?.result === null) {
      throw new Wrong(`${this.url} answers ${method} with ${said?.error?.message ?? 'nothing'}`);
    }
    return said.result;
  }
}

/** How many words of each view function are read. @type {Record<string, number>} */
const FIELDS = { heads: 8, batches: 3, gateways: 3, keys: 1 };

/**
 * @param {string} url
 * @returns {URL}
 */
function parsed(url) {
  try {
    return new URL(url);
  } catch {
    throw new Wrong(`${url} is no URL: name an RPC endpoint such as https://…`);
  }
}

/**
 * @param {unknown} result
 * @returns {bigint}
 */
function quantity(result) {
  if (typeof result !== 'string' || !/^0x[0-9a-fA-F]{1,64}$/.test(result)) throw new Wrong(`${result} is no quantity`);
  return BigInt(result);
}
