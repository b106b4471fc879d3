// A shop that runs session.js against the real house, behind a road that fails on purpose; prints what its pages were
// told, one JSON object. The house and Meta in a box belong to whoever calls, who asks them what came of it.
//
//   node site.mjs '{"port":18443,"house":"http://127.0.0.1:…","fid":"fn_…"}'
//
// On `port` answer, over TLS, the shop (https://shop.example) and the house's public host (https://in.rapid.example).

import { createServer } from 'node:https';
import { request as ask } from 'node:http';
import { readFileSync } from 'node:fs';
import { certificate } from './certificate.mjs';
import { launch } from './chromium.mjs';
import { ARGS } from './stage.mjs';

const LATE_MS = 12000; // later than the script waits for an answer
const { port, house, fid, chromium } = JSON.parse(process.argv[2]);
const shop = `https://shop.example:${port}`;
const snippet = readFileSync(new URL('snippet.html', import.meta.url), 'utf8').replaceAll('https://HOST', `https://in.rapid.example:${port}`).replace('YOUR_FUNNEL_ID', fid);

/// How the road treats batches: `{status}` in place of the house's answer, `{late}` holds that back. `once` ends with the first.
let fault;
const server = createServer(certificate(), (from, to) => {
  if (from.headers.host.startsWith('shop.')) return page(from, to);
  const treated = from.method === 'POST' ? fault : undefined;
  if (treated?.once) fault = undefined;
  if (treated?.status) return from.resume().on('end', () => to.writeHead(treated.status, { 'access-control-allow-origin': '*' }).end());
  const on = ask(house + from.url, { method: from.method, headers: from.headers }, (answer) => {
    setTimeout(() => to.writeHead(answer.statusCode, answer.headers) && answer.pipe(to), treated?.late ?? 0);
  });
  on.on('error', () => to.destroy());
  from.pipe(on);
});

function page(from, to) {
  const { searchParams } = new URL(from.url, shop);
  to.writeHead(200, { 'content-type': 'text/html' }).end(`<!doctype html><title>Shop</title>${searchParams.get('head') ?? ''}${snippet}`);
}

const browser = await launch(chromium, { args: ARGS });
const errors = [];
/// A new visitor on a page of the shop, when the script is there.
async function visit(query = {}) {
  const context = await browser.newContext({ ignoreHTTPSErrors: true });
  context.setDefaultTimeout(30000);
  const page = await context.newPage();
  page.on('pageerror', (error) => errors.push(error.message));
  const lines = [];
  page.on('console', (line) => lines.push(line.text()));
  await page.goto(`${shop}/?${new URLSearchParams(query)}`);
  await page.waitForFunction(() => window.RapidMetrics?.loaded);
  return { page, lines };
}
const track = (page, ...args) => page.evaluate((words) => RapidMetrics.track(...words), args);
const flush = (page) => page.evaluate(() => RapidMetrics.flush(15000));

const scenes = {
  async every_event() {
    const { page } = await visit();
    const told = [];
    for (const [name, props] of [['AddToCart', { value: 5, currency: 'EUR' }], ['Sized', { size: 'M' }], ['Lead', { order_id: 'L-1' }], ['Purchase', { value: 49.9, currency: 'EUR', order_id: 'O-1' }]]) {
      told.push([name, await track(page, name, props)]);
    }
    await flush(page);
    return told;
  },
  async unavailable_at_unload() {
    const { page } = await visit();
    await flush(page);
    fault = { status: 503 };
    await page.evaluate(() => {
      RapidMetrics.track('AddToCart', { value: 7, currency: 'EUR' }, { event_id: 'unload-1' });
      location.href = '/?next';
    });
    await page.waitForURL('**/?next');
    fault = undefined;
    await page.waitForFunction(() => window.RapidMetrics?.loaded);
    return flush(page);
  },
  async answered_too_late() {
    const { page } = await visit();
    await flush(page);
    fault = { late: LATE_MS, once: true };
    const delivered = page.evaluate(() => new Promise((told) => RapidMetrics.on('delivered', told)));
    const first = await track(page, 'AddToCart', { value: 8, currency: 'EUR' }, { event_id: 'late-1' });
    return { first, then: await delivered };
  },
  async old_prototype_js() {
    const { page } = await visit({ head: `<script>
      Array.prototype.toJSON = function () { return '[' + this.map(function (it) { return JSON.stringify(it) }).join(', ') + ']' }
    </script>` });
    return track(page, 'AddToCart', { value: 9, currency: 'EUR', content_ids: ['a', 'b'], contents: [{ id: 'a', quantity: 2 }] }, { event_id: 'prototype-1' });
  },
  async test_event() {
    const { page } = await visit();
    return track(page, 'AddToCart', { value: 10, currency: 'EUR' }, { event_id: 'test-1', test_event_code: 'TEST77' });
  },
  async debugged() {
    const { page, lines } = await visit({ rm_debug: 1 });
    await track(page, 'Purchase', { value: '49.90' });
    await track(page, '');
    await flush(page);
    await page.waitForFunction(() => document.querySelector('script[src*="debug"]'));
    for (const end = Date.now() + 15000; !lines.some((line) => line.includes('invalid_name')) && Date.now() < end;) await page.waitForTimeout(20);
    return lines;
  },
};

try {
  await new Promise((ready) => server.listen(port, '127.0.0.1', ready));
  const said = {};
  for (const [name, scene] of Object.entries(scenes)) said[name] = await scene();
  console.log(JSON.stringify({ ...said, errors }));
} catch (error) {
  console.error([error.stack, ...errors].join('\n'));
  process.exitCode = 1;
} finally {
  await browser.close();
  server.closeAllConnections();
  server.close();
}
