// Bundles what the console's pages run into gateway/console/static, the same bytes for the same sources and lock file.
// `node build.mjs FOLDER` writes elsewhere, for the test that compares.
import { join } from 'node:path';
import { build } from 'esbuild';

const here = import.meta.dirname;
await build({
  absWorkingDir: here,
  entryPoints: { 'receipt-verifier': 'src/index.js', wallet: 'src/wallet.js' },
  outdir: process.argv[2] ?? join(here, '..', 'static'),
  bundle: true,
  format: 'esm',
  target: 'es2022',
  minify: true,
  charset: 'utf8',
  legalComments: 'eof',
});
