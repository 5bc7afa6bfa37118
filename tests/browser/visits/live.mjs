// A reader leaves the overview open while a call is made and settled: the page changes by itself, but not under the
// reader's hands. Returns the batches that it showed before and after.
export default async function visit(visitor, { model, secret }) {
  const { page } = visitor;
  await visitor.go('/');
  await page.waitForFunction(() => document.querySelector('#live-state').textContent.includes('by itself'));
  const batches = () => page.locator('#live tbody th[scope="row"] a').allTextContents();
  const version = () => page.locator('#live').getAttribute('data-version');
  const found = { before: await batches() };
  const [first, seen] = [found.before[0] ?? '', await version()];
  const table = page.locator('#live details summary');
  if (await table.count()) await table.first().click(); // and it keeps the focus
  await page.evaluate(([name, bearer]) => fetch('/v1/chat/completions', {
    method: 'POST',
    headers: { Authorization: `Bearer ${bearer}`, 'Content-Type': 'application/json' },
    body: JSON.stringify({ model: name, messages: [{ role: 'user', content: 'Hello' }], max_tokens: 8 }),
  }), [model, secret]);
  if (await table.count()) {
    found.kept = await page.evaluate(() => document.querySelector('#live').contains(document.activeElement));
    await page.locator('main').focus();
  }
  await page.waitForFunction(([number, old]) => document.querySelector('#live').dataset.version !== old &&
    document.querySelector('#live tbody th[scope="row"] a')?.textContent !== number, [first, seen], { timeout: 180_000 });
  found.after = await batches();
  found.unfolded = await page.locator('#live details').first().evaluate((details) => details.open).catch(() => null);
  await visitor.inspect();
  return found;
}
