// @ts-check
/**
 * All of it as one module: the page's button, and the library for whoever verifies elsewhere.
 */
export * as batchFile from './batch_file.js';
export * as bytes from './bytes.js';
export * as chain from './chain.js';
export * as header from './header.js';
export * as meters from './meters.js';
export * as price from './price.js';
export * as proof from './proof.js';
export * as receipt from './receipt.js';
export * as sumTree from './sum_tree.js';
export * as terms from './terms.js';
export * as typedData from './typed_data.js';
export * as verification from './verify.js';
import { start } from './page.js';

const section = typeof document === 'undefined' ? null : document.querySelector('#verify');
if (section) start(/** @type {HTMLElement} */ (section));
