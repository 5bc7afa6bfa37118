// An account does with the browser's wallet what it does with a keystore: on a page without a wallet, which says so; then
// with one (EIP-1193, announced by EIP-6963) whose signatures and transactions are made by a real key, here in Node.
import { createWalletClient, http } from 'viem';
import { privateKeyToAccount } from 'viem/accounts';

const INJECTED = () => {
  const provider = {
    request: async (asked) => {
      const { result, error } = await globalThis.askWallet(asked);
      if (error) throw Object.assign(new Error(error.message), { code: error.code });
      return result;
    },
  };
  const announce = () => dispatchEvent(new CustomEvent('eip6963:announceProvider', {
    detail: Object.freeze({ info: { name: 'Ann', uuid: 'one', icon: '', rdns: 'test' }, provider }),
  }));
  addEventListener('eip6963:requestProvider', announce);
  globalThis.ethereum = provider; // announced, too: it is listed once
};

export default async function visit(visitor, { secret, rpc }) {
  const { page } = visitor;
  const account = privateKeyToAccount(secret);
  const client = createWalletClient({ account, transport: http(rpc) });
  const asked = [];
  let chain = 1;
  let declines = false;
  const wallet = {
    eth_requestAccounts: () => [account.address],
    eth_chainId: () => `0x${chain.toString(16)}`,
    wallet_switchEthereumChain: ([{ chainId }]) => ((chain = Number(chainId)), null),
    eth_signTypedData_v4: ([, typed]) => {
      if (declines) throw Object.assign(new Error('no'), { code: 4001 });
      const { EIP712Domain, ...types } = JSON.parse(typed).types;
      return account.signTypedData({ ...JSON.parse(typed), types });
    },
    eth_sendTransaction: ([{ to, data, chainId }]) => {
      if (Number(chainId) !== chain) throw new Error(`sent for chain ${chainId}`);
      return client.sendTransaction({ to, data, chain: null });
    },
    eth_getTransactionReceipt: ([hash]) => client.request({ method: 'eth_getTransactionReceipt', params: [hash] }),
  };
  await visitor.go('/wallet');
  const alone = await page.locator('#no-wallet').isVisible();
  await visitor.inspect();

  await page.exposeFunction('askWallet', async ({ method, params }) => {
    asked.push(method);
    try {
      return { result: await wallet[method](params) };
    } catch (error) {
      return { error: { message: error.message, code: error.code } };
    }
  });
  await page.addInitScript(INJECTED);
  await visitor.go('/wallet');
  const names = await page.locator('#wallets button').allTextContents();
  const before = [...asked];

  const said = (pattern) => page.locator('#said', { hasText: pattern }).waitFor().catch(async (error) => {
    throw new Error(`the page says ${await page.locator('#said').innerText()}, not ${pattern}`, { cause: error });
  });
  const press = (name) => page.getByRole('button', { name, exact: true }).click();
  const shown = () => page.locator('#confirm-facts').innerText();
  const goOn = async () => {
    await page.locator('#confirm').waitFor();
    const facts = await shown();
    await press('Go on in the wallet');
    return facts;
  };

  await press(names[0]);
  await said(/switch it first/);
  await press("Switch to this lane's chain");
  await said(/is on chain/);

  await page.getByLabel(/^Amount in/).fill('5');
  await press('Pay in');
  const deposit = await goOn();
  await said(/requested/);
  for (;;) { // its block must be final enough: a fact of the chain, which the account asks for by a signature each time
    await press('How is it?');
    await goOn();
    await said(/The deposit of 5 .* is /);
    if (/credited/.test(await page.locator('#said').innerText())) break;
    await new Promise((resolve) => setTimeout(resolve, 500));
  }

  await page.getByLabel('Label').fill('by a wallet');
  await page.getByLabel(/^Budget in/).fill('1');
  await page.getByLabel(/^Voucher/).fill('2');
  await press('Make it');
  await page.locator('#confirm').waitFor();
  await visitor.inspect('wallet');
  await press('Do nothing');
  await said(/nothing was signed/);
  await press('Make it');
  const voucher = await goOn();
  await said(/is made/);
  const key = await page.getByLabel('The new key').inputValue();

  const keys = async () => {
    await press('Show my keys');
    const facts = await goOn();
    await page.locator('#wallet-keys tbody tr').first().waitFor();
    return [facts, await page.locator('#wallet-keys tbody').innerText()];
  };
  const [request, listed] = await keys();
  await page.getByLabel('Calls a minute').fill('7');
  await press('Change by a wallet');
  await goOn();
  await goOn();
  await page.locator('#wallet-keys td', { hasText: /^7$/ }).waitFor();
  const changed = await page.locator('#wallet-keys tbody').innerText();
  await press('Replace by a wallet');
  await goOn();
  await goOn();
  await said(/is replaced/);
  const replaced = await page.getByLabel('The new key').inputValue();

  declines = true;
  await press('Show my balance');
  await goOn();
  await said(/you declined/);
  declines = false;
  await press('Show my balance');
  await goOn();
  await page.locator('#wallet-balance dd').first().waitFor();
  const balance = await page.locator('#wallet-balance').innerText();

  await press('Ask to leave the lane');
  await page.locator('#confirm').waitFor();
  const lane = chain;
  chain = 1; // switched while the page waits for a click
  await goOn();
  await said(/switch it first/);
  chain = lane;
  await press('Ask to leave the lane');
  const leaving = await goOn();
  await said(/^Done, in transaction/);
  await page.evaluate(() => dispatchEvent(new CustomEvent('eip6963:announceProvider', {
    detail: { info: { name: '<b>Eve</b>' }, provider: { request: () => { throw new Error('asked without a click'); } } },
  })));
  const stranger = await page.locator('#wallets button').last().textContent();
  await visitor.inspect();
  return { alone, names, stranger, before, deposit, voucher, key, request, listed, changed, replaced, balance, leaving };
}
