// Somebody who looks at pages of a gateway, and notes whatever a page must not do: errors in the console, violations of
// its Content-Security-Policy, requests to elsewhere, findings of axe in light and dark, a page wider than a telephone.
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import axe from 'axe-core';

const WIDE = { width: 1280, height: 900 };
const NARROW = { width: 360, height: 780 };
const SECONDS = 60;

export class Visitor {
  /**
   * @param browser
   * @param {string} url the gateway's
   * @param {{ images?: string, key?: string, elsewhere?: string[] }} how `images`: where screenshots go, none without;
   * `key`: the reader's API key; `elsewhere`: origins that pages may ask beside the gateway
   */
  static async of(browser, url, { images = '', key = '', elsewhere = [] } = {}) {
    const context = await browser.newContext({ viewport: WIDE, reducedMotion: 'reduce', serviceWorkers: 'block' });
    context.setDefaultTimeout(SECONDS * 1000);
    await context.addInitScript((stored) => {
      if (stored) sessionStorage.setItem('tollway.key', stored);
      addEventListener('securitypolicyviolation', ({ violatedDirective, blockedURI }) =>
        console.error(`policy: ${violatedDirective} forbids ${blockedURI}`));
    }, key);
    return new Visitor(context, await context.newPage(), url, images, [url, ...elsewhere].map((one) => new URL(one).origin));
  }

  constructor(context, page, url, images, origins) {
    Object.assign(this, { context, page, url, images, findings: [], waiting: new Set() });
    const note = (what) => this.findings.push(`${new URL(page.url()).pathname}: ${what}`);
    page.on('console', (message) => message.type() === 'error' && note(`console: ${message.text()} (${message.location().url})`));
    page.on('pageerror', (error) => note(`script: ${error.message}`));
    context.on('request', (request) => {
      const { protocol, origin } = new URL(request.url());
      if (request.resourceType() !== 'eventsource') this.waiting.add(request);
      if (protocol !== 'data:' && protocol !== 'blob:' && !origins.includes(origin)) note(`asks ${request.url()}`);
    });
    for (const end of ['requestfinished', 'requestfailed']) context.on(end, (request) => this.waiting.delete(request));
    this.note = note;
  }

  /** Open a page of the gateway. What is not answered with 200 is a finding. */
  async go(path) {
    const response = await this.page.goto(new URL(path, this.url).href, { waitUntil: 'load' });
    if (response.status() !== 200) this.note(`is answered with ${response.status()}`);
  }

  /** Wait until every request is answered, but those for events, which go on, and a page of one's own has filled itself. */
  async settle() {
    while (this.waiting.size) await new Promise((resolve) => setTimeout(resolve, 20));
    await this.page.waitForFunction(() => document.querySelector('#said')?.textContent !== 'Reading…');
  }

  /** Look at the page as it is now: axe in light and dark, its width on a telephone; and a screenshot by this name. */
  async inspect(name = '') {
    await this.page.evaluate(axe.source);
    for (const colorScheme of ['dark', 'light']) {
      await this.page.emulateMedia({ colorScheme });
      const { violations } = await this.page.evaluate(() => globalThis.axe.run(document, { resultTypes: ['violations'] }));
      for (const { id, nodes } of violations) this.note(`axe in ${colorScheme}: ${id} at ${nodes[0].html.slice(0, 200)}`);
    }
    await this.page.setViewportSize(NARROW);
    const wide = await this.page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
    if (wide > 0) this.note(`is ${wide} pixels wider than a telephone of ${NARROW.width}`);
    await this.page.setViewportSize(WIDE);
    await this.shoot(name);
  }

  /** A screenshot by this name, if any are wanted: of the whole page, or of an element. */
  async shoot(name, selector = '') {
    if (name && this.images) {
      mkdirSync(this.images, { recursive: true });
      const path = join(this.images, `${name}.png`);
      if (selector) await this.page.locator(selector).screenshot({ path });
      else await this.page.screenshot({ path, fullPage: true });
    }
  }
}
