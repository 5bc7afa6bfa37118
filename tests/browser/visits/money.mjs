// Somebody looks at a payee, whom the list leads to, and at what one spent: plots, each with the same numbers as a table.
export default async function visit(visitor, { payee }) {
  const { page } = visitor;
  await visitor.go('/payees');
  await visitor.inspect();
  await page.getByLabel('Address of a payee').fill(payee);
  await page.getByRole('button', { name: 'Show' }).click();
  await page.waitForURL(`**/payees/${payee}`);
  const bars = await page.locator('svg.plot rect').count();
  const lines = await page.locator('svg.plot polyline').count();
  await visitor.inspect('payee');
  for (const details of await page.locator('details').all()) await details.locator('summary').click();
  await visitor.inspect();
  const epochs = await page.locator('[aria-label="Earned by epoch, as a table"] tbody tr').count();
  const rows = await page.locator('[aria-label="What if, as a table"] tbody tr').count();
  const tiles = await page.locator('.tiles').innerText();

  // What nobody on this network counts: tokens of sound, which are tokens all the same.
  await page.route('**/v1/receipts?*', async (route) => {
    const response = await route.fetch();
    const shown = await response.json();
    shown.data[0].units = { input_token: 1, input_audio_token: 7, output_audio_token: 5 };
    route.fulfill({ response, json: shown });
  });
  await visitor.go('/activity');
  await visitor.settle();
  const sound = await page.locator('#calls tbody tr').first().locator('td').evaluateAll((cells) =>
    cells.slice(2, 4).map((cell) => cell.textContent));
  const plots = await page.locator('#plots svg.plot').evaluateAll((found) => found.map((one) =>
    [one.getAttribute('aria-label').split(';')[0], one.querySelectorAll('rect').length]));
  for (const details of await page.locator('#plots details').all()) await details.locator('summary').click();
  const tables = await page.locator('#plots table').evaluateAll((found) => found.map((one) => one.querySelectorAll('tbody tr').length));
  await visitor.inspect();
  const download = page.waitForEvent('download');
  await page.getByRole('button', { name: 'Download CSV' }).click();
  return { bars, epochs, lines, rows, tiles, sound, plots, tables, csv: (await download).suggestedFilename() };
}
