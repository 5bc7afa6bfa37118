// A weaver picks models and a pattern, sees the price, downloads the file, and runs it. Returns the file and what the
// page says.
export default async function visit(visitor, { capsule, models, pattern, text }) {
  const { page } = visitor;
  await visitor.go('/capsules');
  await page.getByRole('link', { name: 'Compose one' }).click();
  await visitor.inspect();
  await page.getByRole('radio', { name: pattern }).check();
  for (const [at, model] of models.entries()) await page.getByLabel(`${at + 1}`, { exact: true }).fill(model);
  await page.getByLabel('Its name').fill(capsule);
  await page.getByRole('button', { name: 'Compose' }).click();
  await page.locator('#composed').waitFor();
  const found = {
    steps: await page.locator('#composed [data-key]').evaluateAll((boxes) => boxes.map((box) => box.dataset.key)),
    rows: await page.locator('#composed tbody tr').evaluateAll((rows) => rows.map((row) => [...row.cells].map((cell) => cell.textContent))),
  };
  const [download] = await Promise.all([page.waitForEvent('download'), page.getByRole('link', { name: 'Download' }).click()]);
  const parts = [];
  for await (const part of await download.createReadStream()) parts.push(part);
  found.file = Buffer.concat(parts).toString();
  await visitor.inspect('composer');
  await page.getByLabel('Your message').fill(text);
  await page.getByRole('button', { name: 'Run it' }).click();
  await page.locator('#cost').waitFor();
  found.said = await page.locator('#said').textContent();
  found.answer = await page.locator('#answer').textContent();
  found.together = await page.locator('#together').textContent();
  found.trace = await page.locator('#trace tbody tr').evaluateAll((rows) => rows.map((row) => [...row.cells].map((cell) => cell.textContent)));
  found.boxes = await page.locator('#composed [data-key] .graph-box').evaluateAll((boxes) =>
    boxes.map((box) => [box.parentElement.dataset.key, box.getAttribute('class').split(' ').includes('ok')]));
  found.lines = await page.locator('#lines tbody tr').evaluateAll((rows) => rows.map((row) => [...row.cells].map((cell) => cell.textContent)));
  found.checks = await page.locator('#checks li').allTextContents();
  found.receipts = await page.locator('#receipts p').allTextContents();
  await visitor.inspect();
  return found;
}
