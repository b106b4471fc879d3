// Builds dist/session.js: one ES5 script with one place for the funnel's configuration, within its size budget.
// `node build.mjs` writes it; `built()` is what the tests compare the committed file with.

import { build } from 'esbuild';
import { minify } from 'terser';
import { writeFileSync } from 'node:fs';
import { brotliCompressSync, gzipSync } from 'node:zlib';

const TOKEN = '__RM_CONFIG__';
export const BROTLI_BYTES_MAX = 4608;
export const GZIP_BYTES_MAX = 5324;

export async function built() {
  // esbuild joins the files and refuses syntax newer than ES5; terser makes it small.
  const joined = await build({
    entryPoints: [new URL('session.js', import.meta.url).pathname],
    bundle: true,
    format: 'iife',
    target: 'es5',
    write: false,
  });
  const { code } = await minify(joined.outputFiles[0].text, {
    ecma: 5,
    toplevel: true,
    compress: { passes: 3, unsafe_arrows: false, pure_getters: true },
    format: { comments: false },
  });
  if (code.split(TOKEN).length !== 2) throw new Error(`${TOKEN} must stand exactly once in the built file`);
  return code + '\n';
}

export function sizes(code) {
  return { raw: Buffer.byteLength(code), gzip: gzipSync(code, { level: 9 }).length, brotli: brotliCompressSync(code).length };
}

if (process.argv[1] === new URL(import.meta.url).pathname) {
  const code = await built();
  writeFileSync(new URL('dist/session.js', import.meta.url), code);
  console.log(sizes(code));
}
