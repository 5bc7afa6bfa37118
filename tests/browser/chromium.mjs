// A Chromium to test with: the system's when there is one, else the one of npm, unpacked once into a folder. Neither
// needs root.
import { spawnSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { brotliDecompressSync } from 'node:zlib';
import { chromium as playwright } from 'playwright-core';

const SYSTEMS = ['chromium', 'chromium-browser', 'google-chrome'];
const FONTS = (folder) => `<?xml version="1.0"?>
<!DOCTYPE fontconfig SYSTEM "fonts.dtd">
<fontconfig><dir>${folder}/fonts</dir><dir>/usr/share/fonts</dir><cachedir>${folder}/fonts-cache</cachedir></fontconfig>
`;

/** A browser. Only pages of the test's own gateway are opened in it, so it runs without a sandbox, which root has not. */
export async function start(folder) {
  process.env.TMPDIR = folder; // where all of it is unpacked, and profiles are
  const [executablePath, env] = systems() ?? (await unpacked(folder));
  return playwright.launch({
    executablePath,
    env: { ...process.env, ...env },
    args: ['--no-sandbox', '--disable-dev-shm-usage', '--font-render-hinting=none', '--disable-gpu'],
  });
}

function systems() {
  for (const name of SYSTEMS) {
    const found = spawnSync('sh', ['-c', `command -v ${name}`], { encoding: 'utf8' }).stdout.trim();
    if (found && spawnSync(found, ['--version']).status === 0) return [found, {}];
  }
  return null;
}

async function unpacked(folder) {
  const { default: chromium } = await import('@sparticuz/chromium');
  const path = await chromium.executablePath();
  writeFileSync(join(folder, 'fonts', 'fonts.conf'), FONTS(folder));
  const env = { FONTCONFIG_PATH: join(folder, 'fonts') };
  if (spawnSync('ldd', [path], { encoding: 'utf8' }).stdout.includes('not found')) {
    const beside = join(dirname(createRequire(import.meta.url).resolve('@sparticuz/chromium')), '..', '..', 'bin');
    const libraries = brotliDecompressSync(readFileSync(join(beside, 'al2023.tar.br')));
    spawnSync('tar', ['-x', '-C', folder], { input: libraries });
    env.LD_LIBRARY_PATH = join(folder, 'lib');
  }
  return [path, env];
}
