// Somebody who follows every link from the first page on to pages of these sections: two of each kind. Returns the paths
// that were looked at. Of the first page there is a screenshot, which documents show. `refused` are URLs that refuse this reader with 403,
// which Chromium notes as an error and a page says in words.
const MOST = 2;

export default async function visit(visitor, { begin = ['/'], sections = [''], refused = [] }) {
  const { page, url } = visitor;
  const waiting = [...begin];
  const seen = new Set(waiting);
  const kinds = new Map();
  const visited = [];
  for (let path; (path = waiting.shift()) !== undefined; ) {
    const kind = kindOf(path);
    const times = kinds.get(kind) ?? 0;
    if (times >= MOST) continue;
    kinds.set(kind, times + 1);
    await visitor.go(path);
    await visitor.settle();
    await visitor.inspect(kind === 'overview' && !times ? kind : '');
    visited.push(path);
    const links = await page.locator('a[href]').evaluateAll((found) => found.map((link) =>
      new URL(link.getAttribute('href'), document.baseURI).href));
    for (const link of links) {
      const { origin, pathname, search } = new URL(link);
      const next = pathname + search;
      const isPage = origin === new URL(url).origin && sections.includes(pathname.split('/')[1]);
      if (isPage && !seen.has(next)) {
        seen.add(next);
        waiting.push(next);
      }
    }
  }
  const expected = refused.map((one) => ` 403 (Forbidden) (${new URL(one, url).href})`);
  visitor.findings.splice(0, Infinity, ...visitor.findings.filter((one) => !expected.some((end) => one.endsWith(end))));
  return visited;
}

/** `/models/@acme/chat?x` is of the kind `models-one`: its first part, and whether more follows. */
function kindOf(path) {
  const [first, second, ...rest] = new URL(path, 'http://here').pathname.slice(1).split('/');
  if (!first) return 'overview';
  return [first, ...(second ? [rest.length && first === 'explorer' ? second : 'one'] : [])].join('-');
}
