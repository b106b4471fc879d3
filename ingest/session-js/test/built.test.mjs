// The committed file is the one that is served: it must be what the source builds, small, and quiet where it cannot work.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import vm from 'node:vm';
import { BROTLI_BYTES_MAX, GZIP_BYTES_MAX, built, sizes } from '../build.mjs';

const committed = readFileSync(new URL('../dist/session.js', import.meta.url), 'utf8');

test('dist is built from this source', async () => {
  assert.equal(committed, await built(), 'run `npm run build`');
});

test('it stays within its budget', () => {
  const { brotli, gzip } = sizes(committed);
  assert.ok(brotli <= BROTLI_BYTES_MAX, `${brotli} bytes brotli`);
  assert.ok(gzip <= GZIP_BYTES_MAX, `${gzip} bytes gzip`);
});

test('it evaluates no text, and has one place for the configuration', () => {
  assert.doesNotMatch(committed, /\beval\(|new Function/);
  assert.equal(committed.split('__RM_CONFIG__').length, 2);
});

test('without fetch the page and its stub stay as they were', () => {
  const stub = { _q: [['track', ['Lead']]] };
  const page = { RapidMetrics: stub };
  page.window = page;
  vm.runInNewContext(committed.replace('__RM_CONFIG__', '{"fid":"F1"}'), page);
  assert.equal(page.RapidMetrics, stub);
  assert.equal(stub._q.length, 1);
  assert.equal(stub.loaded, undefined);
});
