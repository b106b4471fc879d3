// The committed files are the ones that are served and published: they must be what the source builds, small, and quiet
// where they cannot work.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { transform } from 'esbuild';
import { BROTLI_BYTES_MAX, GZIP_BYTES_MAX, TARGET, built, sizes } from '../build.mjs';

const room = new URL('..', import.meta.url).pathname;
const committed = (name) => readFileSync(join(room, 'dist', name), 'utf8');
const script = committed('session.js');

test('dist is built from this source', async () => {
  for (const [name, text] of Object.entries(await built())) assert.equal(committed(name), text, `${name}: run \`npm run build\``);
});

test('it stays within its budget', () => {
  const { brotli, gzip } = sizes(script);
  assert.ok(brotli <= BROTLI_BYTES_MAX, `${brotli} bytes brotli`);
  assert.ok(gzip <= GZIP_BYTES_MAX, `${gzip} bytes gzip`);
});

test('it evaluates no text, and has one place for the configuration', () => {
  for (const name of ['session.js', 'sdk.js']) {
    assert.doesNotMatch(committed(name), /\beval\(|new Function/, name);
    assert.equal(committed(name).split('__RM_CONFIG__').length, 2, name);
  }
});

test('its syntax is understood by every browser that could run it', async () => {
  for (const name of ['session.js', 'sdk.js', 'session.debug.js']) {
    const [lowered, kept] = await Promise.all([TARGET, 'esnext'].map((target) => transform(committed(name), { target })));
    assert.equal(lowered.code, kept.code, name);
  }
});

test('both newer snippets stub exactly the public methods, and stay small', () => {
  const face = readFileSync(join(room, 'src/public.ts'), 'utf8').split('export interface RapidMetrics {')[1].split('\n}')[0];
  const methods = new Set([...face.matchAll(/^  (\w+)\(/gm)].map((found) => found[1]));
  for (const name of ['snippet-v2.html', 'snippet-v2-trusted-types.html']) {
    const snippet = readFileSync(join(room, name), 'utf8');
    assert.deepEqual(new Set(/'([\w ]+)'\.split/.exec(snippet)[1].split(' ')), methods, name);
    assert.ok(sizes(snippet).brotli < 700, `${name}: ${sizes(snippet).brotli} bytes`);
  }
});

test('the package is imported in Node, and every call there resolves as failed', async () => {
  const before = Object.keys(globalThis);
  const { init } = await import('rapidmetrics-session-js');
  const rm = init({ fid: 'F1', api: 'https://m.example/v1/session' });
  assert.deepEqual(Object.keys(globalThis), before);
  const results = await Promise.all([rm.track('Lead'), rm.identify('a@b.example'), rm.page(), rm.consent('grant'), rm.reset(), rm.flush()]);
  assert.deepEqual(results.map((r) => [r.ok, r.status, r.event_ids.length]), Array(6).fill([false, 'failed', 0]));
  assert.equal(await rm.ready(), rm);
  assert.deepEqual(rm.ids(), { visitor_id: null, fbp: null, fbc: null });
  assert.equal(typeof rm.on('ready', () => {}), 'function');
  rm.debug();
  assert.equal(rm.instance('F2').loaded, false);
});

const CONSUMER = `
import { init, type RapidMetrics, type Result } from 'rapidmetrics-session-js';

const rm: RapidMetrics = init({ fid: 'F1', api: 'https://m.example/v1/session', storage: 'local', consent: 'pending' });
const result: Promise<Result> = window.RapidMetrics.track('Purchase', { value: 49.9, currency: 'EUR', order_id: 'A1' }, { timestamp: new Date() });
result.then((r) => { const id: string = r.event_id; return [id, r.warnings?.join(), r.error?.code] });
const off: () => void = rm.on('before_send', (event) => event.name === 'Lead' ? null : event);
rm.on('delivered', (r) => r.event_ids.length); off();
rm.identify('a@b.example', { first_name: 'Ann' }); rm.identify({ email: 'a@b.example' });
rm.ready((ready) => ready.version);
// @ts-expect-error: a name is text
rm.track(7);
// @ts-expect-error: there is no such storage
init({ fid: 'F1', api: '', storage: 'disk' });
// @ts-expect-error: it says where events go
init({ fid: 'F1' });
`;

test('a strict TypeScript page compiles against its types, also through window', () => {
  const folder = mkdtempSync(join(room, 'consumer-'));
  try {
    writeFileSync(join(folder, 'page.ts'), CONSUMER);
    const options = ['--noEmit', '--strict', '--target', 'es2020', '--lib', 'es2020,dom', '--module', 'esnext', '--moduleResolution', 'bundler'];
    execFileSync(process.execPath, [join(room, 'node_modules/typescript/bin/tsc'), ...options, join(folder, 'page.ts')], { stdio: 'pipe', encoding: 'utf8' });
  } catch (error) {
    assert.fail(error.stdout || error.message);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test('the sources type-check', () => {
  try {
    execFileSync(process.execPath, [join(room, 'node_modules/typescript/bin/tsc'), '-p', room], { stdio: 'pipe', encoding: 'utf8' });
  } catch (error) {
    assert.fail(error.stdout || error.message);
  }
});
