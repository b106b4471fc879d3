// Loading and queue: however the script comes to a page, early calls are delivered once and in order.

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { stage, until } from './stage.mjs';

const s = stage();
const visitors = () => new Set(s.world.events.map((event) => event.visitor_id)).size;
/// Runs the snippet in the page once more, as a tag manager does.
const paste = (snippet) => s.page.evaluate((text) => {
  const code = document.createElement('script');
  code.text = text.replace(/<\/?script[^>]*>/g, '');
  document.body.append(code);
}, snippet);
const append = (attributes) => s.page.evaluate((all) => {
  const script = document.createElement('script');
  for (const [name, value] of Object.entries(all)) script.setAttribute(name, value);
  document.body.append(script);
}, attributes);

test('the public snippet, byte for byte: early calls arrive once, in order, after the page view', async () => {
  await s.goto(`<script>
    RapidMetrics.track('ViewContent', {n: 1}); RapidMetrics.identify({email: 'a@b.example'}); RapidMetrics.track('Quiz', {n: 2});
  </script>`);
  const events = await s.arrived(4);
  assert.deepEqual(s.names(), ['PageView', 'ViewContent', 'identify', 'Quiz']);
  assert.deepEqual(events.map((e) => e.seq), [1, 2, 3, 4]);
  assert.equal(new Set(events.map((e) => e.event_id)).size, 4);
  assert.equal(s.world.batches.length, 1, 'one turn, one request');

  const [{ body, headers }] = s.world.batches;
  assert.match(headers['content-type'], /^text\/plain/);
  assert.deepEqual(Object.keys(body).sort(), ['attribution', 'events', 'fid', 'ids', 'page', 'person', 'sent_at', 'v']);
  assert.deepEqual([body.v, body.fid, body.page.title], [1, 'F1', 'Shop']);
  assert.deepEqual(body.person, { email: 'a@b.example' });
  assert.deepEqual(events[2].props, { email: 'a@b.example' });
  assert.deepEqual(events.map((e) => e.type), ['track', 'track', 'identify', 'track']);
  assert.deepEqual(events.map((e) => e.bot), [true, true, true, true], 'a driven browser says so');
});

test('the public snippet returns undefined before the script is there, and a page that ignores it goes on', async () => {
  await s.goto(`<script>
    window.returned = [RapidMetrics.track('Lead', {}), RapidMetrics.identify({email: 'a@b.example'})]; window.went = 'on';
  </script>`);
  assert.deepEqual(await s.page.evaluate(() => [returned.every((r) => r === undefined), went]), [true, 'on']);
  await s.named('Lead');
});

test('the shop page of the demo pastes that very snippet', () => {
  const snippet = readFileSync(new URL('snippet.html', import.meta.url), 'utf8').trim();
  const shop = readFileSync(new URL('../../src/command/demo/shop.html', import.meta.url), 'utf8');
  assert.ok(shop.includes(snippet.replace('https://HOST', '__PUBLIC__').replace('YOUR_FUNNEL_ID', '__FUNNEL_ID__')));
});

test('with the second snippet, a promise from before the load resolves after it, with event_ids', async () => {
  await s.goto(`<script>
    window.early = Promise.all([RapidMetrics.track('Lead', {}), RapidMetrics.ready(), RapidMetrics.page({n: 1}), RapidMetrics.ids()]);
  </script>`, '', { snippet: 'v2' });
  const [lead, ready, page, ids] = await s.page.evaluate(async () => {
    const [lead, ready, page, ids] = await early;
    return [lead, ready === RapidMetrics, page, ids];
  });
  assert.deepEqual([lead.status, lead.event_ids, ready, page.status], ['ok', [lead.event_id], true, 'ok']);
  assert.equal(ids.visitor_id, s.world.events[0].visitor_id);
  assert.deepEqual(s.names(), ['PageView', 'Lead', 'PageView']);
});

test('with the second snippet, the time that an early call gives counts, and not the time of the call', async () => {
  const at = Date.now() - 3600000;
  await s.goto(`<script>RapidMetrics.track('Lead', {}, { timestamp: ${at} })</script>`, '', { snippet: 'v2' });
  assert.equal((await s.named('Lead')).at, at);
});

test('an entry that brings time, address and a resolver is answered', async () => {
  await s.goto('', `<script>
    var q = []; window.answers = [];
    window.RapidMetrics = {_q: q};
    [['track', ['Lead', {}], {t: Date.now() - 60000, u: 'http://localhost/early?email=x@y.example&a=1'}], ['teleport', [], {}]].forEach(function (entry) {
      answers.push(new Promise(function (done) { q.push(entry.concat(done)) }));
    });
  </script><script async src="${s.world.scriptUrl()}"></script>`, { bare: 1 });
  const [lead, other] = await s.page.evaluate(() => Promise.all(answers));
  assert.equal(lead.status, 'ok');
  assert.deepEqual([other.status, other.error.code], ['invalid', 'unknown_method']);
  const { body } = s.batchWith('Lead');
  assert.equal(body.page.url, 'http://localhost/early?email=&a=1');
  const event = body.events.find((e) => e.name === 'Lead');
  assert.ok(body.sent_at - event.at >= 60000);
  assert.equal(event.event_id, lead.event_id);
});

test('references taken before the script came go on working', async () => {
  await s.goto('<script>const t = RapidMetrics.track, rm = RapidMetrics; window.early = [t, rm]</script>');
  await s.loaded();
  const result = await s.page.evaluate(async () => {
    early[0]('Lead', { from: 'function' });
    RapidMetrics._q.push(['track', ['Contact', {}]]);
    return [early[1] === RapidMetrics, (await early[1].track('Search', { from: 'object' })).event_ids.length];
  });
  assert.deepEqual(result, [true, 1]);
  await s.arrived(4);
  assert.deepEqual(s.names(), ['PageView', 'Lead', 'Contact', 'Search']);
});

for (const kind of ['seed', 'v2']) {
  test(`the ${kind} snippet pasted twice in a row: one page view, one visitor, no call lost`, async () => {
    const between = '<script>RapidMetrics.track("Lead", {})</script>';
    await s.goto('<script>RapidMetrics.track("Contact", {})</script>', s.world.snippet('F1', kind) + (kind === 'v2' ? between : ''), { snippet: kind });
    await s.named('Contact');
    await s.page.waitForLoadState('load'); // both copies ran
    await s.track('Search');
    // The public snippet throws its own first queue away; nothing was in it.
    assert.deepEqual(s.names(), kind === 'v2' ? ['PageView', 'Lead', 'Contact', 'Search'] : ['PageView', 'Contact', 'Search']);
    assert.equal(visitors(), 1);
  });
}

test('the snippet pasted again after load: a late stub is taken over, with its calls, and the state is kept', async () => {
  await s.goto();
  await s.arrived(1);
  await s.page.evaluate(() => RapidMetrics.identify('a@b.example'));
  await paste(s.world.snippet());
  await s.page.evaluate(() => void RapidMetrics.track('Lead', {}));
  await s.named('Lead');
  await s.loaded();
  await s.track('Contact');
  assert.deepEqual(s.names(), ['PageView', 'identify', 'Lead', 'Contact']);
  assert.deepEqual(s.batchWith('Lead').body.person, { email: 'a@b.example' });
  assert.deepEqual(s.world.events.map((e) => e.seq), [1, 2, 3, 4]);
  assert.equal(visitors(), 1);
  assert.equal(s.world.scripts, 2);
});

test('the script loaded twice by itself starts once', async () => {
  await s.goto('', `<script src="${s.world.scriptUrl()}"></script><script src="${s.world.scriptUrl()}"></script>`, { bare: 1 });
  await s.track('Lead');
  assert.deepEqual(s.names(), ['PageView', 'Lead']);
});

const FAILURES = [
  ['is not there', { status: 404 }],
  ['answers an error', { status: 500 }],
  ['is cut off', { destroy: true }],
];
for (const [what, serving] of FAILURES) {
  test(`a script that ${what} leaves the page, its handlers and the queue alone`, async () => {
    s.world.serving = serving;
    await s.goto(`<button>Buy</button><script>
      document.querySelector('button').onclick = function () { RapidMetrics.track('Lead', {}); window.clicked = true };
    </script>`);
    await until('the attempt', () => s.world.scripts === 1);
    await s.page.click('button');
    assert.deepEqual(await s.page.evaluate(() => [clicked, RapidMetrics._q.length, RapidMetrics.loaded]), [true, 1, undefined]);
  });
}

test('a script that a blocker stops leaves the page, its handlers and the queue alone', async () => {
  await s.context.route('**/v1/session.js*', (route) => route.abort('blockedbyclient'));
  await s.goto('<button onclick="RapidMetrics.track(\'Lead\', {}); window.clicked = true">Buy</button>');
  await s.page.click('button');
  assert.deepEqual(await s.page.evaluate(() => [clicked, RapidMetrics._q.length]), [true, 1]);
});

test('a script that takes three seconds delays no paint and loses no call', async () => {
  const { after, release } = s.held();
  s.world.serving = { after };
  setTimeout(release, 3000);
  await s.page.goto(s.world.url('<h1>Fresh tea</h1><script>RapidMetrics.track("Lead", {})</script>'), { waitUntil: 'commit' });
  const painted = await s.page.evaluate(() => new Promise((done) => new PerformanceObserver((list) => done(list.getEntries().at(-1).startTime))
    .observe({ type: 'largest-contentful-paint', buffered: true })));
  assert.ok(painted < 1500, `painted after ${painted} ms`);
  assert.equal(s.world.batches.length, 0, 'long before the script');
  await s.named('Lead');
});

test('evaluated as text, without a current script, it still knows its funnel and its settings', async () => {
  // As optimisers do that load all scripts later: the tag stays, its text runs elsewhere.
  const tag = (fid, rest) => `<script type="text/later" src="${s.world.scriptUrl(fid)}" ${rest}></script>`;
  await s.goto('', tag('F10', 'data-namespace="Other"') + tag('F1', 'data-pageview="off"'), { bare: 1 });
  await s.page.evaluate(async (src) => {
    const text = await (await fetch(src)).text();
    await new Promise((go) => setTimeout(go));
    (0, eval)(text);
  }, s.world.scriptUrl());
  await s.track('Lead');
  assert.deepEqual(s.names(), ['Lead']);
});

test('inserted after load, deferred or in the body, it initialises once', async () => {
  for (const way of ['later', 'defer', 'body']) {
    const tag = `<script ${way === 'defer' ? 'defer' : ''} src="${s.world.scriptUrl()}"></script>`;
    s.world.batches = [];
    await s.page.goto(s.world.url(way === 'body' ? tag : '', way === 'defer' ? tag : '', { bare: 1 }));
    if (way === 'later') await append({ src: s.world.scriptUrl() });
    await s.loaded();
    assert.equal((await s.track('Lead')).status, 'ok', way);
    assert.deepEqual(s.names(), ['PageView', 'Lead'], way);
  }
});

test('the npm module initialises once, asks the server for what it was not given, and takes calls at once', async () => {
  await s.goto(`<script type="module">
    import { init } from '${s.world.cdn.origin}/npm/index.mjs';
    const given = { fid: 'F1', api: '${s.world.cdn.origin}/v1/session' };
    window.rm = init(given);
    window.again = init(given);
    window.first = rm.track('Lead', {});
  </script>`, '', { bare: 1 });
  await until('the module', () => s.page.evaluate(() => !!window.first));
  const [same, global, loaded] = await s.page.evaluate(async () => {
    await rm.ready();
    return [rm === again, rm === RapidMetrics, rm.loaded];
  });
  assert.deepEqual([same, global, loaded], [true, true, true]);
  // What the page gave goes before what the server says: its events went to the address it named.
  await until('events at the given address', () => s.world.requests.some((r) => r.method === 'POST' && r.host.startsWith('cdn.')));
});

test('the immutable script of its own tag, checked by its hash, asks for its configuration and starts', async () => {
  const url = `${s.world.cdn.origin}/v1/sdk/1.0.0/session.js`;
  await s.goto();
  const text = await s.page.evaluate(async (from) => (await fetch(from)).text(), url);
  const hash = createHash('sha384').update(text).digest('base64');
  s.world.batches = [];
  await s.goto('', `<script src="${url}" data-fid="F1" integrity="sha384-${hash}" crossorigin="anonymous"></script>
    <script>window.early = RapidMetrics.track('Lead', {})</script>`, { bare: 1 });
  assert.equal(await s.page.evaluate(async () => (await early).status), 'ok');
  assert.deepEqual(s.names(), ['PageView', 'Lead']);
  assert.ok(s.world.requests.some((r) => r.url === '/v1/session/F1.json'));
  assert.equal((await s.fired(4)).length, 4, 'its pixels came with the configuration');
});

test('without its configuration the immutable script still delivers, to the address beside it or the one it is given', async () => {
  await s.context.route('**/v1/session/F1.json', (route) => route.abort());
  await s.goto('', `<script src="${s.world.cdn.origin}/v1/sdk/1.0.0/session.js" data-fid="F1" data-api="${s.world.api.origin}/v1/session"></script>`, { bare: 1 });
  assert.equal(await s.page.evaluate(async () => (await RapidMetrics.track('Lead', {})).status), 'ok');
  assert.deepEqual(s.names(), ['PageView', 'Lead']);
});

test('attributes of the tag go before the server\'s settings, and those before the defaults', async () => {
  s.world.config = { pageview: 'off', pixel: 'off' };
  await s.goto('', '', { snippet: 'v2', attributes: 'data-pageview="auto" data-namespace="Shop"' });
  await s.page.waitForFunction(() => window.Shop?.loaded);
  assert.equal(await s.page.evaluate(async () => (await Shop.track('Lead', {})).status), 'ok');
  assert.deepEqual(s.names(), ['PageView', 'Lead']);
  assert.equal(await s.page.evaluate(() => 'fbq' in window), false, 'the server said so');

  await s.goto('', '', { snippet: 'v2', attributes: 'data-pageview="off"' });
  await s.loaded();
  await s.track('Contact');
  assert.deepEqual(s.names(), ['PageView', 'Lead', 'Contact']);
});

test('another funnel on the same page is an instance of its own', async () => {
  await s.goto();
  await s.loaded();
  const [same, other] = await s.page.evaluate(async () => {
    const second = RapidMetrics.instance('F2');
    const result = await second.track('Lead', {});
    return [second === RapidMetrics.instance('F2') && second !== RapidMetrics && RapidMetrics.instance('F1') === RapidMetrics, result.status];
  }).catch((error) => [error.message]);
  assert.deepEqual([same, other], [true, 'ok']);
  const of = (fid) => s.world.batches.filter((b) => b.body.fid === fid).flatMap((b) => s.names(b.body.events));
  assert.deepEqual([of('F1'), of('F2')], [['PageView'], ['PageView', 'Lead']]);
});

test('an unknown funnel answers every call, sends nothing, and says so once', async () => {
  const warnings = [];
  s.page.on('console', (m) => m.type() === 'warning' && warnings.push(m.text()));
  await s.goto('<script>RapidMetrics.track("Lead", {})</script>', '', { fid: 'UNKNOWN' });
  await s.loaded();
  const results = await s.page.evaluate(() => Promise.all([RapidMetrics.track('Lead'), RapidMetrics.identify('a@b.example'), RapidMetrics.flush()]));
  assert.deepEqual(results.slice(0, 2).map((r) => [r.ok, r.status, r.event_ids.length]), Array(2).fill([false, 'unknown_funnel', 1]));
  assert.equal(warnings.length, 1);
  assert.deepEqual([s.world.batches, await s.context.cookies()], [[], []]);
});

test('a browser without fetch hears failed, and the page is unaffected', async () => {
  await s.context.addInitScript(() => delete window.fetch);
  await s.goto('<script>window.early = RapidMetrics.track("Lead", {})</script>', '', { snippet: 'v2' });
  const result = await s.page.evaluate(() => early);
  assert.deepEqual([result.ok, result.status], [false, 'failed']);
  assert.deepEqual(await s.context.cookies(), []);
});
