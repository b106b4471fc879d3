// Hostile pages: strict policies, throwing callbacks, patched globals. And the gates of the product itself.

import assert from 'node:assert/strict';
import { availableParallelism, loadavg } from 'node:os';
import { test } from 'node:test';
import { stage, until } from './stage.mjs';

const s = stage();
const open = () => `connect-src *; img-src *`;
const works = async () => {
  await s.loaded();
  assert.equal((await s.track('Lead')).status, 'ok');
};

test('a policy of nonces only: the second snippet hands its nonce on, to the script and to the pixel', async () => {
  await s.goto('', '', { csp: `script-src 'nonce-n1'; ${open()}`, snippet: 'v2', attributes: 'nonce="n1"' });
  await s.page.waitForFunction(() => window.pixelCalls); // without eval, which the policy forbids too
  await s.named('PageView');
});

test('a policy of nonces only stops the script of the public snippet, and nothing else', async () => {
  const seed = s.world.snippet('F1', 'seed', 'nonce="n1"');
  await s.goto('<script nonce="n1">document.title = "went on"; RapidMetrics.track("Lead", {})</script>', seed, { bare: 1, csp: `script-src 'nonce-n1'` });
  await until('the page', async () => (await s.page.title()) === 'went on');
  assert.equal(s.world.scripts, 0);
});

test('under strict-dynamic both snippets work', async () => {
  for (const snippet of ['seed', 'v2']) {
    s.world.batches = [];
    const tag = s.world.snippet('F1', snippet, 'nonce="n1"');
    await s.goto('', tag, { bare: 1, csp: `script-src 'nonce-n1' 'strict-dynamic'; ${open()}` });
    await s.named('PageView');
    await s.fired(2);
  }
});

test('under Trusted Types the variant of the second snippet works', async () => {
  const csp = `require-trusted-types-for 'script'; trusted-types rapidmetrics`;
  await s.goto('', s.world.snippet('F1', 'trusted') + s.world.snippet('F1', 'trusted'), { bare: 1, csp });
  await works();
  assert.deepEqual(s.names(), ['PageView', 'Lead']);
});

test('under Trusted Types the public snippet fails without breaking scripts in other tags', async () => {
  s.expected = /TrustedScriptURL/; // the snippet's own, in the page's own words
  const csp = `require-trusted-types-for 'script'`;
  await s.goto('<script>RapidMetrics.track("Lead", {}); window.went = "on"</script>', '', { csp });
  assert.equal(await s.page.evaluate(() => went), 'on');
  assert.equal(s.world.scripts, 0);
});

test('callbacks that throw are isolated: the others run, and the event goes on', async () => {
  s.expected = /from then/; // the page's own promise, which is not ours to catch
  await s.goto();
  await s.arrived(1);
  const heard = await s.page.evaluate(async () => {
    const heard = [];
    RapidMetrics.on('delivered', () => { throw new Error('listener') });
    const off = RapidMetrics.on('delivered', () => heard.push('off'));
    RapidMetrics.on('delivered', (r) => heard.push(r.event_id));
    RapidMetrics.on('before_send', () => { throw new Error('before_send') });
    off();
    off();
    RapidMetrics.track('Contact', {}).then(() => { throw new Error('from then') });
    const { status, event_id } = await RapidMetrics.track('Lead', {});
    const rm = await RapidMetrics.ready(() => { throw new Error('ready') });
    return [status, heard.includes('off'), heard.includes(event_id), rm === RapidMetrics, (await rm.flush()).status, rm.version];
  });
  assert.deepEqual(heard, ['ok', false, true, true, 'ok', '1.0.0']);
  assert.deepEqual(s.names(), ['PageView', 'Contact', 'Lead']);
});

test('a page that patched fetch so that it throws hears no error, and the event arrives', async () => {
  await s.goto();
  await s.arrived(1);
  const status = await s.page.evaluate(async () => {
    const native = fetch;
    let broken = 1;
    window.fetch = (...args) => { if (broken-- > 0) throw new Error('patched'); return native(...args) };
    return (await RapidMetrics.track('Lead', {})).status;
  });
  assert.equal(status, 'ok');
});

test('an old library that patches JSON and arrays harms nothing', async () => {
  await s.goto('', `<script>
    Array.prototype.toJSON = function () { return '[' + this.map(function (x) { return JSON.stringify(x) }).join(', ') + ']' };
    Array.prototype.extra = 1;
    Object.prototype.more = function () {};
  </script>`);
  await s.loaded();
  await s.page.evaluate(() => void RapidMetrics.track('Lead', { n: [1] }));
  await s.named('Lead');
});

test('a page that broke JSON hears no error of ours', async () => {
  await s.goto();
  await s.loaded();
  await s.flush();
  await s.page.evaluate(() => {
    const native = JSON.stringify;
    RapidMetrics.track('Lead', {});
    JSON.stringify = () => { throw new Error('broken') };
    RapidMetrics.track('Contact', {});
    return new Promise((go) => setTimeout(() => { JSON.stringify = native; go() }, 200));
  });
});

test('window gains one name of ours, and what the page held stays native', async () => {
  await s.goto('', '<script>window.keys = Object.keys(window)</script>');
  await s.loaded();
  await s.page.waitForFunction(() => window.pixelCalls);
  const gained = await s.page.evaluate(() => Object.keys(window).filter((k) => !keys.includes(k)));
  assert.deepEqual(gained.filter((k) => !['keys', 'pixelCalls'].includes(k)).sort(), ['RapidMetrics', '_fbq', 'fbq']);
  assert.equal(await s.page.evaluate(() => [fetch, history.pushState, history.replaceState, XMLHttpRequest.prototype.send].every((f) => /native code/.test(f))), true);
});

test('with ?rm_debug=1 the console tells what was called, what the pixel was told and what the server answered, for this tab', async () => {
  const lines = [];
  s.page.on('console', (m) => m.text().startsWith('[RapidMetrics]') && lines.push(m.text()));
  await s.goto('<script>RapidMetrics.track("Purchase", {value: 9})</script>', '', { query: '&rm_debug=1' });
  const event = await s.named('Purchase');
  assert.equal(event.debug, true);
  const said = (text) => until(() => `${text} in\n${lines.join('\n')}`, () => lines.some((line) => line.includes(text)));
  await said(`Purchase ${event.event_id}`);
  await said(`pixel 111 trackSingle Purchase ${event.event_id}`);
  await said(`Purchase ${event.event_id}: server says ok`);
  await said('order_id missing');
  await said('currency missing');
  s.world.answers = [{ status: 503 }];
  await s.track('Lead');
  await said('retry: ');
  await s.page.evaluate(() => RapidMetrics.track(7));
  await said('invalid: invalid_name, a name is text');
  if (process.env.RAPIDMETRICS_SHOW) console.log(lines.join('\n'));
  lines.length = 0;
  await s.goto();
  await s.named('PageView', 2);
  await until('lines of the next page: kept for the tab', () => lines.length);
  await s.page.evaluate(() => RapidMetrics.debug(false));
  lines.length = 0;
  s.world.batches = [];
  await s.goto();
  assert.equal((await s.named('PageView')).debug, false);
  assert.deepEqual(lines, []);
});

test('the script evaluates in less than 10 ms on a machine four times slower', async (t) => {
  await s.goto('', '', { bare: 1 });
  const cdp = await s.context.newCDPSession(s.page);
  await cdp.send('Emulation.setCPUThrottlingRate', { rate: 4 });
  // The thread's own time, not that of the machine's other programs. Those cost it something all the same (caches, a
  // shared core): the best median of up to ten rounds counts, and where more wants to run than can, twice the time is allowed.
  const crowded = loadavg()[0] > availableParallelism() + 1, limit = crowded ? 20 : 10;
  const medians = [];
  let views = 0;
  while (medians.length < 10 && !(Math.min(...medians) < limit)) {
    const times = [];
    for (let n = 0; n < 7; n++) {
      const trace = await s.traced(['devtools.timeline'], async () => {
        await s.goto();
        await s.named('PageView', ++views);
      });
      times.push(trace.find((e) => e.name === 'EvaluateScript' && e.tdur && e.args.data.url.includes('session.js')).tdur / 1000);
    }
    medians.push(times.sort((a, b) => a - b)[3]);
  }
  t.diagnostic(`medians ${medians} ms${crowded ? ', on a crowded machine' : ''}`);
  assert.ok(Math.min(...medians) < limit, `medians ${medians} ms`);
});
