// A reader runs a capsule: without motion, as visitors are, and once more with it, until the playback has ended.
export default async function visit(visitor, { capsule, text }) {
  const { page } = visitor;
  await visitor.go(`/capsules/${capsule}`);
  await page.locator('#ask').waitFor();
  await page.getByLabel('Your message').fill(text);
  await page.getByRole('button', { name: 'Run it' }).click();
  await page.locator('#cost').waitFor();
  const boxes = () => page.locator('#run [data-key] .graph-box').evaluateAll((found) =>
    Object.fromEntries(found.map((box) => [box.parentElement.dataset.key, box.getAttribute('class').split(' ').slice(1).filter(Boolean)])));
  const found = {
    said: await page.locator('#said').textContent(),
    together: await page.locator('#together').textContent(),
    trace: await page.locator('#trace tbody tr').evaluateAll((rows) => rows.map((row) => [...row.cells].map((cell) => cell.textContent))),
    still: await page.locator('#again').isHidden(),
    boxes: await boxes(),
    lines: await page.locator('#lines tbody tr').evaluateAll((rows) =>
      rows.map((row) => [...row.cells].map((cell) => cell.querySelector('[title]')?.title ?? cell.textContent))),
    checks: await page.locator('#checks li').allTextContents(),
  };
  await visitor.inspect();
  await visitor.shoot('capsule-run', '#run');

  await page.emulateMedia({ reducedMotion: 'no-preference' });
  await page.evaluate(() => {
    globalThis.moved = [];
    new MutationObserver((changes) => globalThis.moved.push(...changes.map(({ target }) => target.getAttribute('class'))))
      .observe(document.querySelector('#run .graph'), { attributes: true, subtree: true, attributeFilter: ['class'] });
  });
  await page.getByRole('button', { name: 'Run it' }).click();
  await page.locator('#cost').waitFor();
  await page.waitForFunction(() => [...document.querySelectorAll('#timeline rect.ok')].every((bar) =>
    Number(bar.getAttribute('width')) > 0 && bar.getAttribute('width') === bar.previousElementSibling.getAttribute('width')));
  found.moved = (await page.evaluate(() => globalThis.moved)).some((name) => name.includes('runs'));
  found.afterwards = await boxes();
  found.replay = await page.locator('#again').isVisible();
  await page.emulateMedia({ reducedMotion: 'reduce' });
  return found;
}
