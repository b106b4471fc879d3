// What session.js does to a real page in real Chromium, seen from the page, from the server and from the pixel.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, afterEach, before, beforeEach, test } from 'node:test';
import { launch } from './chromium.mjs';
import { PIXELS, World, until } from './world.mjs';

let browser, context, world, page, surprises;

before(async () => {
  browser = await launch();
});
after(() => browser.close());

beforeEach(async () => {
  world = await World.start();
  context = await browser.newContext();
  surprises = [];
  // A page's error tracker must never hear of us, in no test.
  await context.exposeFunction('surprised', (what) => surprises.push(what));
  await context.addInitScript(() => {
    addEventListener('error', (e) => e.message && surprised(e.message));
    addEventListener('unhandledrejection', (e) => surprised('unhandled: ' + e.reason));
  });
  page = await context.newPage();
  page.on('pageerror', (e) => surprises.push(e.message));
});

afterEach(async () => {
  await context.close();
  world.close();
  assert.deepEqual(surprises, []);
  assert.equal(world.preflights, 0, 'no request of ours asks for permission first');
});

const names = (events) => events.map((e) => e.name);
const loaded = () => page.waitForFunction(() => window.RapidMetrics?.loaded);
const arrived = (count) => until(`${count} events, so far ${names(world.events)}`, () => world.events.length >= count && world.events);
const track = (...args) => page.evaluate((a) => RapidMetrics.track(...a), args);
const unsent = () => page.evaluate(() => JSON.parse(localStorage._rm_q_F1 ?? '[]').map((item) => item.e.event_id));
const storage = () => page.evaluate(() => JSON.stringify([document.cookie, { ...localStorage }, { ...sessionStorage }]));
const calls = (method) => page.evaluate((m) => (window.pixelCalls ?? []).filter((c) => c[0].startsWith(m)), method);

test('the public snippet, byte for byte: early calls arrive once, in order, after the page view', async () => {
  await page.goto(world.url(`<script>
    window.returned = [RapidMetrics.track('ViewContent', {n: 1}), RapidMetrics.identify({email: 'a@b.example'}), RapidMetrics.track('Quiz', {n: 2})];
  </script>`));
  const events = await arrived(4);
  assert.deepEqual(names(events), ['PageView', 'ViewContent', 'identify', 'Quiz']);
  assert.deepEqual(events.map((e) => e.seq), [1, 2, 3, 4]);
  assert.equal(new Set(events.map((e) => e.event_id)).size, 4);
  assert.deepEqual(await page.evaluate(() => returned.map((r) => r === undefined)), [true, true, true]);
  assert.equal(world.batches.length, 1, 'one turn, one request');

  const [{ body, headers }] = world.batches;
  assert.match(headers['content-type'], /^text\/plain/);
  assert.deepEqual(Object.keys(body), ['v', 'fid', 'sent_at', 'page', 'ids', 'consent', 'person', 'events']);
  assert.deepEqual([body.v, body.fid, body.consent, body.page.title], [1, 'F1', 'granted', 'Shop']);
  assert.deepEqual(body.person, { email: 'a@b.example' });
  assert.deepEqual(events[2].props, { email: 'a@b.example' });
  assert.deepEqual(events.map((e) => e.type), ['track', 'track', 'identify', 'track']);
});

test('the shop page of the demo pastes that very snippet', () => {
  const snippet = readFileSync(new URL('snippet.html', import.meta.url), 'utf8').trim();
  const shop = readFileSync(new URL('../../src/command/demo/shop.html', import.meta.url), 'utf8');
  assert.ok(shop.includes(snippet.replace('https://HOST', '__PUBLIC__').replace('YOUR_FUNNEL_ID', '__FUNNEL_ID__')));
});

test('references taken before the script came go on working', async () => {
  await page.goto(world.url('<script>const t = RapidMetrics.track, rm = RapidMetrics; window.early = [t, rm]</script>'));
  await loaded();
  const result = await page.evaluate(async () => {
    early[0]('Lead', { from: 'function' });
    RapidMetrics._q.push(['track', ['Contact', {}]]);
    return [early[1] === RapidMetrics, (await early[1].track('Search', { from: 'object' })).event_ids.length];
  });
  assert.deepEqual(result, [true, 1]);
  assert.deepEqual(names(await arrived(4)), ['PageView', 'Lead', 'Contact', 'Search']);
});

test('an entry that brings time, address and a resolver is answered', async () => {
  const head = `<script>
    var q = []; window.answers = [];
    window.RapidMetrics = {_q: q};
    [['track', ['Lead', {}], {t: Date.now() - 60000, u: 'http://localhost/early?email=x@y.example&a=1'}], ['page', [], {}]].forEach(function (entry) {
      answers.push(new Promise(function (done) { q.push(entry.concat(done)) }));
    });
  </script><script async src="${world.cdn.origin}/v1/session.js?fid=F1"></script>`;
  await page.goto(world.url('', head, '&bare=1'));
  const [lead, other] = await page.evaluate(() => Promise.all(answers));
  assert.equal(lead.status, 'ok');
  assert.deepEqual([other.status, other.error.code], ['invalid', 'unknown_method']);
  const batch = world.batches.find((b) => names(b.body.events).includes('Lead'));
  assert.equal(batch.body.page.url, 'http://localhost/early?email=&a=1');
  assert.ok(batch.body.sent_at - batch.body.events[0].at >= 60000);
  assert.equal(batch.body.events[0].event_id, lead.event_id);
});

test('the snippet pasted again after load: one page view, one visitor, no call lost', async () => {
  await page.goto(world.url());
  await arrived(1);
  await page.evaluate((snippet) => {
    const code = document.createElement('script');
    code.text = snippet.replace(/<\/?script>/g, '');
    document.body.append(code);
    RapidMetrics.track('Lead', {});
  }, world.snippet());
  const events = await arrived(2);
  await loaded();
  await track('Contact');
  assert.deepEqual(names(world.events), ['PageView', 'Lead', 'Contact']);
  assert.equal(new Set(events.map((e) => e.visitor_id)).size, 1);
  assert.equal(world.scripts, 2);
});

test('every call resolves with event_ids and none ever rejects', async () => {
  await page.goto(world.url());
  await loaded();
  const results = await page.evaluate(() => {
    const circle = {};
    circle.self = circle;
    const thrower = { get boom() { throw new Error('boom') } };
    const t = RapidMetrics.track, i = RapidMetrics.identify;
    return Promise.all([
      t('Lead'), t('Lead', null), t('Lead', circle), t('Lead', { n: 10n, f() {} }), t('Lead', { value: '5' }), t('Lead', {}, null), t('Lead', {}, 7),
      t('Lead', { value: NaN }, { timestamp: 'x' }), i('a@b.example'), i('a@b.example', { phone: '1' }), i({ email: 'a@b.example', x: null }),
      t(), t(''), t({}), t('Lead', 'text'), t('Lead', []), t('Lead', () => 1), t('Lead', thrower), t('Lead', { x: 'y'.repeat(10241) }), t('x'.repeat(101)),
      t('Lead', {}, { event_id: Symbol('s') }), i(), i({}), i(7), i({ email: '' }),
    ].map((p) => p.then((r) => r, (e) => ({ rejected: '' + e }))));
  });
  for (const [n, result] of results.entries()) {
    assert.ok(!result.rejected && Array.isArray(result.event_ids), JSON.stringify(result));
    const valid = n < 11;
    assert.equal(result.status, valid ? 'ok' : 'invalid', `${n}: ${JSON.stringify(result)}`);
    assert.deepEqual(result.event_ids, valid ? [result.event_id] : []);
    if (!valid) assert.ok(result.error.code && result.error.message);
  }
  assert.equal(results[18].error.code, 'payload_too_large');
  assert.deepEqual(results[4].warnings.length, 2);
  assert.equal(world.events.find((e) => e.props.value === 5).props.currency, 'EUR');
});

test('the pixel is told under the very id, each pixel by name', async () => {
  await page.goto(world.url(`<script>RapidMetrics.track('Purchase', {value: 9, currency: 'EUR'}); RapidMetrics.track('Quiz done', {n: 1})</script>`));
  const events = await arrived(3);
  const told = await until('pixel calls', async () => (await calls('track')).length >= 6 && calls('track'));
  for (const event of events) {
    assert.deepEqual(told.filter((c) => c[2] === event.name), PIXELS.map((id) =>
      [event.name === 'Quiz done' ? 'trackSingleCustom' : 'trackSingle', id, event.name, event.props, { eventID: event.event_id }]));
  }
  assert.deepEqual((await calls('init')).map((c) => c[1]), PIXELS);
});

test('a pixel that is already there is used, not registered twice, and hears nothing of ours', async () => {
  // The page's own base code, with a pixel of its own and one of ours.
  const base = `<script>!function(f,b,e,v,n,t,s){if(f.fbq)return;n=f.fbq=function(){n.callMethod?n.callMethod.apply(n,arguments):n.queue.push(arguments)};
    if(!f._fbq)f._fbq=n;n.push=n;n.loaded=!0;n.version='2.0';n.queue=[];t=b.createElement(e);t.async=!0;t.src=v;s=b.getElementsByTagName(e)[0];s.parentNode.insertBefore(t,s)
    }(window,document,'script','${world.cdn.origin}/fbevents.js');
    fbq('init','999');fbq('init','${PIXELS[0]}');fbq('track','PageView');</script>`;
  await page.goto(world.url('<script>var theirs = fbq; RapidMetrics.track("Lead", {})</script>', base));
  await arrived(2);
  await until('pixel calls', async () => (await calls('trackSingle')).length >= 4);
  assert.equal(await page.evaluate(() => theirs === fbq), true);
  assert.deepEqual((await calls('init')).map((c) => c[1]).sort(), [...PIXELS, '999'].sort());
  assert.deepEqual(new Set((await calls('trackSingle')).map((c) => c[1])), new Set(PIXELS));
  assert.equal((await calls('track')).filter((c) => c[0] === 'track').length, 1, 'only their own broadcast');
  assert.deepEqual(await calls('set'), [], 'their settings stay theirs');
});

test('a blocked pixel script changes nothing for our events', async () => {
  await context.route('**/fbevents.js', (route) => route.abort());
  await page.goto(world.url());
  await loaded();
  const result = await track('Lead', {});
  assert.equal(result.status, 'ok');
});

test('a purchase with an order id carries the order\'s id, and knows the person', async () => {
  await page.goto(world.url('', '', '&fbclid=IwAR2AbC-_x'));
  await loaded();
  const results = await page.evaluate(async () => {
    RapidMetrics.identify({ email: 'a@b.example', first_name: 'Ann' });
    return Promise.all([
      RapidMetrics.track('Purchase', { value: 49.99, currency: 'EUR', order_id: ' ORD-7 ' }, { event_id: 'mine' }),
      RapidMetrics.track('Lead', { order_id: 7 }),
      RapidMetrics.track('Purchase', { value: 1, currency: 'EUR', order_id: '{{order}}' }),
      RapidMetrics.track('Contact', { order_id: 'ORD-7' }, { eventID: 'F1:ORD-7' }),
      RapidMetrics.track('Contact', {}, { event_id: 'mine' }),
    ]);
  });
  assert.deepEqual(results.map((r) => r.status), Array(5).fill('ok'));
  assert.deepEqual(results.slice(0, 2).map((r) => r.event_id), ['F1:ORD-7', 'F1:7']);
  assert.match(results[2].event_id, /^[0-9a-f-]{36}$/);
  assert.match(results[3].event_id, /^[0-9a-f-]{36}$/);
  assert.equal(results[4].event_id, 'mine');
  assert.deepEqual(results.map((r) => !!r.warnings), [true, false, true, true, false]);
  const batch = world.batches.find((b) => names(b.body.events).includes('Purchase')).body;
  assert.deepEqual(batch.person, { email: 'a@b.example', first_name: 'Ann' });
  assert.equal(batch.events.find((e) => e.event_id === 'F1:ORD-7').props.order_id, 'ORD-7');
  assert.match(batch.ids.fbp, /^fb\.0\.\d{13}\.\d+$/);
  assert.match(batch.ids.fbc, /^fb\.0\.\d{13}\.IwAR2AbC-_x$/);
});

test('the ids of a browser stay: visitor, _fbp and _fbc, with or without Meta\'s appendix', async () => {
  const fbc = 'fb.1.1700000000000.IwAR2AbC-_x.AQQCAQMC';
  await context.addCookies([['_fbc', fbc], ['_fbp', 'garbage']].map(([name, value]) => ({ name, value, url: world.site.origin })));
  const ids = async (query) => {
    await page.goto(world.url('', '', query));
    await loaded();
    return page.evaluate(() => RapidMetrics.ids());
  };
  const first = await ids('&fbclid=IwAR2AbC-_x');
  assert.equal(first.fbc, fbc, 'the same click is not rewritten');
  assert.match(first.fbp, /^fb\.0\./);
  assert.deepEqual(await ids(''), first);
  const clicked = await ids('&fbclid=IwNEW');
  assert.deepEqual([clicked.visitor_id, clicked.fbp], [first.visitor_id, first.fbp]);
  assert.match(clicked.fbc, /^fb\.0\.\d{13}\.IwNEW$/);
  await context.clearCookies({ name: '_rm_vid' });
  assert.equal((await ids('')).visitor_id, first.visitor_id, 'from localStorage');
});

const RETRIES = [
  { status: 503 }, { status: 500, body: '<html>' }, { status: 408 }, { status: 425 },
  { status: 429, headers: { 'retry-after': '1' }, ms: 1000 },
  { status: 200, body: '{"results":[{"status":"retry"}]}' },
  { status: 200, body: '{"results":[{"sta' },
  { status: 200, body: '{}' },
];

test('an unwelcome answer is asked again under the same id, and not before the server wants it', async () => {
  await page.goto(world.url());
  await arrived(1);
  for (const { ms = 0, ...answer } of RETRIES) {
    const from = world.batches.length;
    world.answers = [answer];
    const { event_id, status } = await track('Lead', { answer: answer.status });
    assert.equal(status, 'ok', JSON.stringify(answer));
    const tries = world.batches.slice(from);
    assert.deepEqual(tries.map((b) => b.body.events.map((e) => e.event_id)), [[event_id], [event_id]], JSON.stringify(answer));
    assert.ok(tries[1].at - tries[0].at >= ms - 20, JSON.stringify(answer));
  }
});

test('a refusal is final, and said', async () => {
  await page.goto(world.url());
  await arrived(1);
  world.answers = [{ status: 400, body: 'no' }];
  const whole = await track('Lead');
  assert.deepEqual([whole.ok, whole.status, whole.error, whole.event_ids.length], [false, 'rejected', { code: 'http_400', message: 'no' }, 1]);
  world.answers = [{ body: '{"results":[{"status":"ok","warnings":["odd"]},{"status":"invalid"}]}' }];
  const [good, bad] = await page.evaluate(() => Promise.all([RapidMetrics.track('Lead'), RapidMetrics.track('Contact')]));
  assert.deepEqual([good.status, good.warnings, bad.status], ['ok', ['odd'], 'rejected']);
  assert.deepEqual(await unsent(), []);
});

test('one request is under way at a time, and order survives a slow server', async () => {
  await page.goto(world.url());
  await arrived(1);
  let release;
  world.answers = [{ after: new Promise((go) => (release = go)) }];
  await page.evaluate(() => {
    window.done = [];
    RapidMetrics.track('Lead', { n: 0 });
  });
  await until('the slow request', () => world.batches.length === 2);
  await page.evaluate(() => { for (let n = 1; n < 46; n++) RapidMetrics.track('Lead', { n }).then(() => done.push(n)) });
  assert.equal(world.batches.length, 2);
  release();
  const events = await arrived(47);
  assert.deepEqual(events.slice(1).map((e) => e.props.n), [...Array(46).keys()]);
  assert.ok(world.batches.every((b) => b.body.events.length <= 20));
  await page.waitForFunction(() => done.length === 45);
});

test('500 large events in one turn stay within 20 events and 30 KB a request', async () => {
  await page.goto(world.url());
  await arrived(1);
  await page.evaluate(() => Promise.all([...Array(500).keys()].map((n) => RapidMetrics.track('Lead', { n, fill: 'x'.repeat(n % 50 ? 100 : 9000) }))));
  assert.deepEqual(world.events.slice(1).map((e) => e.props.n), [...Array(500).keys()]);
  assert.ok(world.batches.length <= 50, `${world.batches.length} requests`);
  assert.ok(world.batches.every((b) => b.headers['content-length'] <= 30720));
  assert.deepEqual(await unsent(), []);
});

test('an event just before leaving the page is delivered, also over a cold connection', async () => {
  await world.far(400);
  world.config.pageview = false;
  for (let n = 1; n <= 5; n++) {
    await page.goto(world.url());
    await loaded();
    await page.evaluate((to) => {
      RapidMetrics.track('Lead', {});
      location.href = to;
    }, world.site.origin + '/page?bare=1');
    await page.waitForURL(/bare=1/);
    await arrived(n);
    // What the page could not hear acknowledged is another test's matter.
    await page.evaluate(() => localStorage.clear());
    world.api.server.closeAllConnections();
  }
});

test('an event made while the page goes away is delivered', async () => {
  await page.goto(world.url());
  await arrived(1);
  await page.evaluate(() => addEventListener('pagehide', () => RapidMetrics.track('Contact', {})));
  await page.close({ runBeforeUnload: true });
  assert.deepEqual(names(await arrived(2)), ['PageView', 'Contact']);
});

test('what waits behind a slow request leaves by beacon, and is kept until acknowledged', async () => {
  await page.goto(world.url());
  await arrived(1);
  let release;
  world.answers = [{ after: new Promise((go) => (release = go)) }];
  await page.evaluate(() => void RapidMetrics.track('Lead', {}));
  await until('the slow request', () => world.batches.length === 2);
  await page.evaluate((url) => {
    RapidMetrics.track('Contact', {});
    location.href = url;
  }, world.site.origin + '/page?bare=1');
  await until('the beacon', () => names(world.events).includes('Contact'));
  assert.equal((await unsent()).length, 2);
  release();
  // The next page asks for the acknowledgement nobody was there to hear: the same ids, nothing new.
  await page.goto(world.url('', '', '&html=data-pageview%3Doff'));
  await until('an empty queue', async () => (await unsent()).length === 0);
  const ids = (name) => new Set(world.events.filter((e) => e.name === name).map((e) => e.event_id));
  assert.deepEqual([ids('Lead').size, ids('Contact').size], [1, 1]);
});

test('offline: queued within five seconds, delivered later under the same id', async () => {
  await page.goto(world.url());
  await arrived(1);
  await page.evaluate(() => {
    window.late = [];
    RapidMetrics.on('delivered', (r) => late.push(r.event_id));
  });
  await context.setOffline(true);
  const from = Date.now(), result = await track('Lead', { n: 1 });
  assert.ok(Date.now() - from < 6000);
  assert.deepEqual([result.ok, result.status], [true, 'queued']);
  assert.deepEqual(await unsent(), [result.event_id]);
  await context.setOffline(false);
  await page.waitForFunction((id) => late.includes(id), result.event_id);
  assert.deepEqual(world.events.slice(1).map((e) => e.event_id), [result.event_id]);
  assert.deepEqual(await unsent(), []);
});

test('offline and closed: the next page delivers it, with its own id, time, visitor and page', async () => {
  await page.goto(world.url('', '', '&first=1'));
  await arrived(1);
  world.answers = Array(50).fill({ status: 503 });
  const made = await page.evaluate(() => {
    RapidMetrics.track('Lead', { n: 1, email: 'a@b.example' });
    return { visitor: RapidMetrics.ids().visitor_id, at: Date.now() };
  });
  await until('a failed try', () => world.batches.length > 1);
  const [id] = await unsent();
  await page.close({ runBeforeUnload: true });
  await until('the page is gone', () => context.pages().length === 0);
  world.answers = [];

  page = await context.newPage();
  await page.goto(world.url('', '', '&second=1'));
  await until('the lead', () => names(world.events).includes('Lead'));
  await until('an empty queue', async () => (await unsent()).length === 0);
  // The last one: the closing page's beacon may have come through as well.
  const batch = world.batches.findLast((b) => b.status === 200 && b.body.events.some((e) => e.event_id === id)).body;
  assert.deepEqual(names(batch.events), ['Lead']);
  assert.equal(batch.events[0].visitor_id, made.visitor);
  assert.deepEqual(batch.events[0].props, { n: 1 }, 'the disk knows no addresses');
  assert.ok(batch.events[0].at <= made.at);
  assert.match(batch.page.url, /first=1/);
});

test('an unknown funnel answers every call, sends nothing, and says so once', async () => {
  const warnings = [], requests = [];
  page.on('console', (m) => m.type() === 'warning' && warnings.push(m.text()));
  page.on('request', (r) => r.method() === 'POST' && requests.push(r.url()));
  await page.goto(world.url('<script>RapidMetrics.track("Lead", {})</script>', '', '&fid=UNKNOWN'));
  await loaded();
  const results = await page.evaluate(() => Promise.all([RapidMetrics.track('Lead'), RapidMetrics.identify('a@b.example'), RapidMetrics.flush()]));
  assert.deepEqual(results.slice(0, 2).map((r) => [r.ok, r.status, r.event_ids.length]), Array(2).fill([false, 'unknown_funnel', 1]));
  assert.equal(warnings.length, 1);
  assert.deepEqual([requests, await context.cookies()], [[], []]);
});

test('nothing personal in any storage, delivered or not', async () => {
  const person = ['ann@shop.example', '+4915112345678', 'Annabella'];
  await page.goto(world.url());
  await arrived(1);
  const hashes = await page.evaluate((all) => Promise.all(all.map(async (text) => [...new Uint8Array(
    await crypto.subtle.digest('SHA-256', new TextEncoder().encode(text)))].map((b) => b.toString(16).padStart(2, '0')).join(''))), person);
  const identified = () => page.evaluate(([email, phone, first_name]) => {
    const props = { email, phone, first_name, note: 'mail ' + email };
    return Promise.all([RapidMetrics.identify({ email, phone, first_name }), RapidMetrics.track('Lead', props)]);
  }, person);

  await identified();
  const clean = await storage();
  for (const secret of [...person, ...hashes]) assert.ok(!clean.includes(secret), secret);

  // Undelivered: only an unsent identify, only in the tab's own storage.
  world.answers = Array(50).fill({ status: 503 });
  const waits = identified();
  await until('a failed try', () => world.batches.some((b) => b.status === 503));
  await until('a stored identify', () => page.evaluate(() => '_rm_i_F1' in sessionStorage));
  const lasting = await page.evaluate(() => JSON.stringify([document.cookie, { ...localStorage }]));
  assert.ok(lasting.includes('Lead'));
  for (const secret of [...person, ...hashes]) assert.ok(!lasting.includes(secret), secret);
  world.answers = [];
  await waits;
  await until('delivered', async () => (await unsent()).length === 0);
  for (const secret of [...person, ...hashes]) assert.ok(!(await storage()).includes(secret), secret);
});

test('a privacy signal stops pixel and server alike, until the visitor says yes here', async () => {
  await context.addInitScript(() => Object.defineProperty(navigator, 'globalPrivacyControl', { value: true }));
  const requests = [];
  page.on('request', (r) => requests.push(r.url()));
  await page.goto(world.url('<script>RapidMetrics.track("Lead", {})</script>'));
  await loaded();
  const result = await track('Lead', {});
  assert.deepEqual([result.ok, result.status, result.event_ids.length], [false, 'consent', 1]);
  assert.deepEqual(await context.cookies(), []);
  assert.equal(requests.some((url) => /fbevents|v1\/session$/.test(url)), false);

  await page.evaluate(() => RapidMetrics.consent('grant'));
  assert.equal((await track('Contact', {})).status, 'ok');
  assert.deepEqual(names(world.events), ['PageView', 'Contact']);
  await page.evaluate(() => RapidMetrics.consent('revoke'));
  assert.equal((await track('Lead', {})).status, 'consent');
  assert.deepEqual((await context.cookies()).filter((c) => c.value), []);
  assert.equal(await page.evaluate(() => JSON.stringify({ ...localStorage })), '{"_rm_consent":"denied"}');
});

test('the automatic page view can be switched off by the page and by the funnel', async () => {
  await page.goto(world.url('', '', '&html=data-pageview%3Doff'));
  await loaded();
  await track('Lead', {});
  world.config.pageview = false;
  await page.goto(world.url());
  await loaded();
  await track('Contact', {});
  assert.deepEqual(names(world.events), ['Lead', 'Contact']);
});

test('a page that patched fetch, and listeners that throw, harm nothing', async () => {
  await page.goto(world.url());
  await arrived(1);
  const heard = await page.evaluate(async () => {
    const heard = [], native = fetch;
    let broken = 1;
    window.fetch = (...args) => { if (broken-- > 0) throw new Error('patched'); return native(...args) };
    RapidMetrics.on('delivered', () => { throw new Error('listener') });
    const off = RapidMetrics.on('delivered', () => heard.push('off'));
    RapidMetrics.on('delivered', (r) => heard.push(r.event_id));
    off();
    const { status, event_id } = await RapidMetrics.track('Lead', {});
    const rm = await RapidMetrics.ready(() => { throw new Error('ready') });
    // The page view has arrived, but its answer may still be on its way to the page and be heard too.
    const ofLead = heard.filter((h) => h === 'off' || h === event_id).map((h) => h === event_id);
    return [status, ...ofLead, rm === RapidMetrics, (await rm.flush()).status, rm.version];
  });
  assert.deepEqual(heard, ['ok', true, true, 'ok', '1.0.0']);
});

test('window gains one name of ours, and what the page held stays native', async () => {
  await page.goto(world.url('', '<script>window.keys = Object.keys(window)</script>'));
  await loaded();
  const gained = await page.evaluate(() => Object.keys(window).filter((k) => !keys.includes(k)));
  assert.deepEqual(gained.filter((k) => !['keys', 'pixelCalls'].includes(k)).sort(), ['RapidMetrics', '_fbq', 'fbq']);
  assert.equal(await page.evaluate(() => [fetch, history.pushState, XMLHttpRequest.prototype.send].every((f) => /native code/.test(f))), true);
});
