// A reader tries a model: without a key, with a wrong one, with one that is not allowed to spend enough, and with a good
// one, whose answer streams, is stopped, and says what it cost. `poor` is a key with a budget below any call.
export default async function visit(visitor, { model, good, poor, foreign }) {
  const { page } = visitor;
  await visitor.go(`/models/${model}`);
  const found = { hidden: !(await page.locator('#ask').isVisible()) };

  const use = async (secret) => {
    await page.getByLabel('API key').fill(secret);
    await page.getByRole('button', { name: 'Use it in this tab' }).click();
    await page.locator('#ask').waitFor();
  };
  const ended = async () => {
    await page.waitForFunction(() => document.querySelector('#stop').disabled &&
      (!document.querySelector('#problem').hidden || /^(Done|Stopped|It failed)/.test(document.querySelector('#said').textContent)));
    return { said: await page.locator('#said').textContent(), answer: await page.locator('#answer').textContent() };
  };
  const problem = async () => {
    await page.waitForFunction(() => !document.querySelector('#problem').hidden);
    return page.locator('#problem').innerText();
  };

  // What the gateway refuses Chromium notes as an error of the console; the page says it in words.
  const refused = async (secret, act) => {
    const before = visitor.findings.length;
    await use(secret);
    await act();
    const said = await problem();
    const kept = visitor.findings.splice(before).filter((one) => !/status of 4\d\d .*\/v1\/chat\/completions/.test(one));
    visitor.findings.push(...kept);
    return said;
  };
  const send = () => page.getByRole('button', { name: 'Send' }).click();
  found.wrong = await refused('tw_none', send);
  found.poor = await refused(poor, send);
  await use(good);
  await page.getByLabel('It may cost at most').fill('0.000000001');
  found.dear = await refused(good, send);
  await visitor.inspect();
  await page.getByLabel('It may cost at most').fill('');

  await page.getByLabel('Your message').fill(foreign);
  await page.getByLabel('Your message').press('Control+Enter');
  found.answered = await ended();
  await page.locator('#cost').waitFor();
  found.lines = await page.locator('#lines tbody tr').evaluateAll((rows) =>
    rows.map((row) => [...row.cells].map((cell) => cell.querySelector('[title]')?.title ?? cell.textContent)));
  found.checks = await page.locator('#checks li').allTextContents();
  found.measured = await page.locator('#measured').innerText();
  found.receipt = (await page.locator('#receipts').textContent()).match(/0x[0-9a-f]{40}-\d+/)?.[0] ?? null;
  found.busy = await page.locator('#answer').getAttribute('aria-busy');
  found.cookies = (await visitor.context.cookies()).length;
  await visitor.inspect();
  await visitor.shoot('playground', '#playground');

  const network = await visitor.context.newCDPSession(page);
  const slowed = (downloadThroughput) => network.send('Network.emulateNetworkConditions', {
    offline: false, latency: 0, downloadThroughput, uploadThroughput: -1 });
  await network.send('Network.enable');
  await slowed(500); // bytes a second
  await send();
  await page.waitForFunction(() => document.querySelector('#answer').textContent.length > 5);
  await page.keyboard.press('Escape');
  await slowed(-1);
  found.stopped = await ended();
  await page.waitForFunction(() => !document.querySelector('#cost').hidden);
  return found;
}
