// Runs a visit, a module whose default export takes a visitor and arguments. Standard input: {"visit", "folder", "url",
// "how", "given"}; standard output: {"result", "findings"}.
import { readFileSync } from 'node:fs';
import { pathToFileURL } from 'node:url';
import { start } from './chromium.mjs';
import { Visitor } from './visitor.mjs';

const { visit, folder, url, how, given } = JSON.parse(readFileSync(0, 'utf8'));
const { default: go } = await import(pathToFileURL(visit));
const browser = await start(folder);
try {
  const visitor = await Visitor.of(browser, url, how);
  const result = await go(visitor, given);
  console.log(JSON.stringify({ result: result ?? null, findings: visitor.findings }));
} finally {
  await browser.close();
}
