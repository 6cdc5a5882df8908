// Builds the page: `npm ci && node build.mjs [FOLDER]`, by default into dist/, which is committed, so that building the
// agent needs no Node. The same sources and lock file give the same bytes in every folder.

import { mkdir, readFile, readdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const HERE = path.dirname(fileURLToPath(import.meta.url));
const out = path.resolve(process.argv[2] ?? path.join(HERE, 'dist'));

const result = await build({
  absWorkingDir: HERE,
  entryPoints: ['app.mjs', 'app.css'],
  entryNames: '[name]',
  outdir: out,
  bundle: true,
  minify: true,
  write: false,
  format: 'esm',
  // The oldest browsers that have what the page needs: Chrome 108, Firefox 108, Safari 16 (dynamic viewport units).
  target: ['chrome108', 'firefox108', 'safari16'],
  charset: 'utf8',
  legalComments: 'none',
  logLevel: 'warning',
});

const files = new Map(result.outputFiles.map(({ path: file, contents }) => [path.basename(file), contents]));
for (const name of ['index.html', 'icon.svg']) files.set(name, await readFile(path.join(HERE, name)));
files.set('licenses.txt', Buffer.from(await licences()));

await mkdir(out, { recursive: true });
for (const [name, contents] of files) {
  await writeFile(path.join(out, name), contents);
  console.log(`${name} ${contents.length}`);
}

/**
 * The notices of everything that app.js may contain: MQTT.js comes bundled with its dependencies, so all that the lock
 * file has for production are listed, and what its authors' bundler added.
 */
async function licences() {
  const lock = JSON.parse(await readFile(path.join(HERE, 'package-lock.json'), 'utf8'));
  const places = Object.entries(lock.packages).filter(([place, { dev }]) => place && !dev && !place.includes('@types/'));
  const notices = [
    '@jspm/core: MIT\n  Copyright (c) Guy Bedford and contributors; it contains parts of Node.js, Copyright Node.js contributors',
  ];
  const texts = new Map();
  for (const [place, { version, license }] of places) {
    const folder = path.join(HERE, place);
    const file = (await readdir(folder)).sort().find((name) => /^licen[cs]e/i.test(name));
    const text = file ? await readFile(path.join(folder, file), 'utf8') : '';
    const holders = [...text.matchAll(/^\W*(copyright (?:\(c\)|©|\d).*?)\s*$/gim)].map(([, line]) => `\n  ${line}`);
    const name = place.replace(/^.*node_modules\//, '');
    notices.push(`${name} ${version}: ${license}${holders.join('') || `\n  ${await author(folder)}`}`);
    const body = terms(text);
    if (body && !texts.has(license)) texts.set(license, body);
  }
  for (const [, { license }] of places) if (!texts.has(license)) throw new Error(`no text of the licence ${license}`);
  const parts = [...texts].sort(([a], [b]) => (a < b ? -1 : 1)).map(([license, text]) => `---- ${license}\n\n${text}\n`);
  return `app.js contains these works, each under the licence named.\n\n${notices.sort().join('\n')}\n\n${parts.join('\n')}`;
}

/** A licence's text from where the permission begins: what comes before it names the work and its holders. */
function terms(text) {
  const start = text.search(/^(Permission (is hereby granted|to use, copy)|Redistribution and use)/m);
  return start < 0 ? '' : text.slice(start).replaceAll('\r', '').trim();
}

async function author(folder) {
  const { author: name, homepage = '' } = JSON.parse(await readFile(path.join(folder, 'package.json'), 'utf8'));
  return `Copyright ${typeof name === 'string' ? name : (name?.name ?? 'its contributors')} ${homepage}`.trim();
}
