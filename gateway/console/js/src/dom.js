// @ts-check
/**
 * What the pages that are made here share: an element, and where the tab keeps the reader's key.
 */

/** Where `static/account.js` keeps it, too. */
export const KEY = 'tollway.key';

/**
 * @param {string} name
 * @param {Record<string, string>} attributes
 * @param {...(Node | string)} children text or elements
 * @returns {HTMLElement}
 */
export function element(name, attributes, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}
