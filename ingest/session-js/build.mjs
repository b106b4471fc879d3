// Builds what is committed: dist/session.js, one script with one place for the funnel's configuration; dist/sdk.js, the same
// for those who cannot have the configuration inside (a file checked by its hash, a bundle) and so ask for it;
// dist/session.debug.js, which both load for developers; and for npm dist/index.mjs and dist/index.d.ts.
// `node build.mjs` writes them; the tests compare.

import { build, transform } from 'esbuild';
import { minify } from 'terser';
import ts from 'typescript';
import { readFileSync, writeFileSync } from 'node:fs';
import { brotliCompressSync, gzipSync } from 'node:zlib';

const TOKEN = '__RM_CONFIG__';
/// Names of our own objects' properties that nobody outside sees.
const INTERNAL = /^(beacon|shared|remarks|answer|fire|final|kept|who|place)$/;
/// The newest syntax that all current browsers, and those of several years before them, understand: Safari 11.1,
/// Chrome 66, Firefox 78 and later.
export const TARGET = 'es2019';
export const BROTLI_BYTES_MAX = 4500;
export const GZIP_BYTES_MAX = 5324;
/// What the short names are made of, in the order in which they are given out. Any order is right; this one was found by
/// trying many on this very source, and saves some thirty bytes of Brotli's. After a larger change another may be better.
const LETTERS = 'enqopirsd_cltfTvgjQwAabHhUZWOxLNYMykJVRzSGPBuKFmDIE$XC';
const source = (name) => new URL(`src/${name}`, import.meta.url).pathname;

/// The script. esbuild joins the files, terser makes them small. `plugins` may change a source on its way, for tests
/// that break it on purpose. `asks`: it asks the server for the configuration that it was not given.
export async function script(plugins = [], asks = false) {
  const code = await small('session.ts', plugins, asks);
  if (code.split(TOKEN).length !== 2) throw new Error(`${TOKEN} must stand exactly once in the built file`);
  return code;
}

async function small(entry, plugins = [], asks = false) {
  const joined = await build({ entryPoints: [source(entry)], bundle: true, format: 'iife', target: TARGET, write: false, plugins, define: { ASKS: `${asks}` } });
  // One word for all declarations repeats more often, and so packs better; what may not change was checked by tsc.
  const { code } = await minify(joined.outputFiles[0].text.replace(/\bconst(?= )/g, 'let'), {
    ecma: 2019,
    module: true,
    compress: { passes: 5, pure_getters: true, unsafe: true, unsafe_arrows: true, keep_fargs: false, inline: 1, booleans: false },
    mangle: { properties: { regex: INTERNAL }, nth_identifier: { get: shortName } },
    format: { comments: false, quote_style: 1 },
  });
  return code + '\n';
}

/// The short name with that number: one letter, then two.
function shortName(number) {
  const rest = Math.floor(number / LETTERS.length);
  return LETTERS[number % LETTERS.length] + (rest ? shortName(rest - 1) : '');
}

/// The package: the script as a function of its configuration, and the few lines around it.
async function module(script) {
  const { code } = await transform(readFileSync(source('index.ts'), 'utf8'), { loader: 'ts', format: 'esm', target: TARGET });
  return `function evaluate(${TOKEN}) {\n${script}}\n${code}`;
}

/// The types are the public face, and what the package adds to it.
function types() {
  const { outputText } = ts.transpileDeclaration(readFileSync(source('index.ts'), 'utf8'), { compilerOptions: { isolatedDeclarations: true } });
  return readFileSync(source('public.ts'), 'utf8') + outputText.replace(/^import .*\n/gm, '\n').replace(/\nexport \{\};\n/, '');
}

export async function built() {
  const [session, sdk, debug] = await Promise.all([script(), script([], true), small('debug.ts')]);
  return { 'session.js': session, 'sdk.js': sdk, 'session.debug.js': debug, 'index.mjs': await module(sdk), 'index.d.ts': types() };
}

export function sizes(code) {
  return { raw: Buffer.byteLength(code), gzip: gzipSync(code, { level: 9 }).length, brotli: brotliCompressSync(code).length };
}

if (process.argv[1] === new URL(import.meta.url).pathname) {
  const files = await built();
  for (const [name, text] of Object.entries(files)) writeFileSync(new URL(`dist/${name}`, import.meta.url), text);
  console.log(sizes(files['session.js']));
}
