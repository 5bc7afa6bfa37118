// @ts-check
/**
 * The reader's wallets, as browsers have them: EIP-6963 announcements, and `window.ethereum` (EIP-1193) of those that
 * announce nothing. Looking for them asks nobody anything; a wallet is asked only by a call of `request`.
 */

/** @typedef {{ request: (asked: { method: string, params?: unknown }) => Promise<unknown> }} Provider */
/** @typedef {{ name: string, provider: Provider }} Wallet */

const LONGEST = 60;
const MOST = 20;
const DECLINED = 4001;
const UNKNOWN_CHAIN = 4902;
const LOOKS = 60;

/**
 * Tell of each wallet that there is, once. What a wallet calls itself is a stranger's text, and is cut.
 * @param {(wallet: Wallet) => void} found
 */
export function discover(found) {
  /** @type {Set<unknown>} */
  const seen = new Set();
  const tell = (/** @type {unknown} */ name, /** @type {unknown} */ candidate) => {
    const provider = /** @type {Provider | undefined} */ (candidate);
    if (typeof provider?.request !== 'function' || seen.has(provider) || seen.size >= MOST) return;
    seen.add(provider);
    found({ name: String(name || 'A wallet').slice(0, LONGEST), provider });
  };
  addEventListener('eip6963:announceProvider', (event) => {
    const { info, provider } = /** @type {CustomEvent} */ (event).detail ?? {};
    tell(info?.name, provider);
  });
  dispatchEvent(new Event('eip6963:requestProvider'));
  tell('The wallet of this browser', /** @type {any} */ (globalThis).ethereum);
}

/** A wallet that its owner let this page see: one account of it. */
export class Connection {
  /**
   * @param {Provider} provider
   * @param {string} account in lower case
   */
  constructor(provider, account) {
    this.provider = provider;
    this.account = account;
  }

  /**
   * Ask the wallet's owner for an account. Throws an Error in words when there is none.
   * @param {Wallet} wallet
   * @returns {Promise<Connection>}
   */
  static async open({ provider }) {
    const accounts = await asked(provider, 'eth_requestAccounts');
    const first = Array.isArray(accounts) ? accounts[0] : undefined;
    if (!/^0x[0-9a-fA-F]{40}$/.test(String(first))) throw new Error('the wallet shows no account: unlock it, and connect again');
    return new Connection(provider, String(first).toLowerCase());
  }

  /** @returns {Promise<number>} the chain that the wallet is on */
  async chainId() {
    return Number(BigInt(String(await asked(this.provider, 'eth_chainId'))));
  }

  /**
   * Have the wallet go to a chain. Throws an Error with the remedy where it does not know that.
   * @param {number} chainId
   * @param {string} rpc
   */
  async switchTo(chainId, rpc) {
    try {
      await this.provider.request({ method: 'wallet_switchEthereumChain', params: [{ chainId: hexOf(chainId) }] });
    } catch (error) {
      if (codeOf(error) !== UNKNOWN_CHAIN) throw inWords(error);
      throw new Error(`the wallet does not know chain ${chainId}: add it there${rpc ? `, with the RPC endpoint ${rpc}` : ''}`);
    }
  }

  /**
   * The account's signature of typed data (EIP-712).
   * @param {unknown} typed
   * @returns {Promise<string>}
   */
  async sign(typed) {
    const signature = String(await asked(this.provider, 'eth_signTypedData_v4', [this.account, JSON.stringify(typed)]));
    if (!/^0x[0-9a-fA-F]{130}$/.test(signature)) throw new Error('the wallet gave no signature of 65 bytes');
    const last = parseInt(signature.slice(-2), 16); // some wallets count from 0
    return last < 27 ? signature.slice(0, -2) + (last + 27).toString(16) : signature;
  }

  /**
   * Send a transaction on a chain, which the wallet holds it to, and wait until it is in a block. Throws an Error when
   * the chain refuses it.
   * @param {number} chainId
   * @param {string} to
   * @param {string} data
   * @returns {Promise<string>} its hash
   */
  async send(chainId, to, data) {
    const transaction = { from: this.account, to, data, chainId: hexOf(chainId) };
    const hash = String(await asked(this.provider, 'eth_sendTransaction', [transaction]));
    for (let look = 0; look < LOOKS; look++) {
      const receipt = /** @type {any} */ (await asked(this.provider, 'eth_getTransactionReceipt', [hash]));
      if (receipt?.status) {
        if (BigInt(receipt.status) !== 1n) throw new Error(`the chain refused transaction ${hash}: nothing was done`);
        return hash;
      }
      await new Promise((resolve) => setTimeout(resolve, 1000));
    }
    throw new Error(`transaction ${hash} is in no block yet: look at it in the wallet`);
  }
}

/**
 * @param {Provider} provider
 * @param {string} method
 * @param {unknown[]} [params]
 * @returns {Promise<unknown>}
 */
async function asked(provider, method, params) {
  try {
    return await provider.request(params ? { method, params } : { method });
  } catch (error) {
    throw inWords(error);
  }
}

/**
 * @param {number} chainId
 * @returns {string} as wallets read it
 */
const hexOf = (chainId) => `0x${chainId.toString(16)}`;

/**
 * @param {unknown} error
 * @returns {Error}
 */
function inWords(error) {
  if (codeOf(error) === DECLINED) return new Error('you declined in the wallet: nothing was signed or sent');
  const said = /** @type {any} */ (error)?.message;
  return new Error(`the wallet refuses: ${String(said ?? error).slice(0, 300)}`);
}

/**
 * @param {unknown} error
 * @returns {unknown}
 */
function codeOf(error) {
  return /** @type {any} */ (error)?.code;
}
