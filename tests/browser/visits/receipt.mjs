// A reader presses the button on a receipt's page: with an endpoint that tells the truth, without one, with one that does
// not answer, with a contract that is not the receipt's, and at a gateway that shows another receipt than the one asked for.
export default async function visit(visitor, { receipt, rpc, dead, other, another }) {
  const { page } = visitor;
  await visitor.go(`/explorer/receipts/${receipt}`);
  const contract = page.getByLabel('Settlement contract');
  await page.waitForFunction(() => document.querySelector('#verify input[placeholder="0x…"]').value !== '');
  const named = await contract.inputValue();

  const pressed = async (endpoint, settlement) => {
    await page.getByLabel('RPC endpoint').fill(endpoint);
    await contract.fill(settlement);
    await page.getByRole('button', { name: 'Verify in this browser' }).click();
    await page.waitForSelector('#verify[data-result="holds"], #verify[data-result="fails"], #verify[data-result="open"]');
    const checks = await page.locator('#verify li').evaluateAll((rows) => rows.map((row) => [
      row.querySelector('strong').textContent, row.querySelector('.state').textContent, row.querySelector('p').textContent,
    ]));
    return { result: await page.locator('#verify').getAttribute('data-result'), checks };
  };

  const found = { named, truth: await pressed(rpc, named) };
  for (const details of await page.locator('#verify details').all()) await details.locator('summary').click();
  found.inputs = Object.fromEntries(await page.locator('#verify dt').evaluateAll((rows) =>
    rows.map((row) => [row.textContent, row.nextElementSibling.textContent])));
  await visitor.inspect();
  for (const details of await page.locator('#verify details').all()) await details.locator('summary').click();
  await visitor.shoot('receipt');
  await page.getByLabel('Read the whole batch file').check();
  found.whole = await pressed(rpc, named);
  await page.getByLabel('Read the whole batch file').uncheck();
  found.alone = await pressed('', named);
  found.elsewhere = await pressed(rpc, other);
  await page.route(`**/v1/receipts/${receipt}`, async (route) => {
    route.fulfill({ response: await route.fetch({ url: route.request().url().replace(receipt, another) }) });
  });
  found.another = await pressed(rpc, named);
  await page.unrouteAll();
  const before = visitor.findings.length;
  found.dead = await pressed(dead, named);
  // Chromium itself notes that nobody answered there: that is what was asked for.
  visitor.findings.splice(before, visitor.findings.length, ...visitor.findings.slice(before)
    .filter((finding) => !finding.includes('net::ERR_CONNECTION_REFUSED')));
  await visitor.inspect();
  return found;
}
