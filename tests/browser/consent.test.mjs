// Consent and privacy: nothing before it, everything after it, nothing again once it is withdrawn.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PIXELS, stage } from './stage.mjs';

const s = stage();
const signal = (name, value) => s.context.addInitScript(([n, v]) => Object.defineProperty(navigator, n, { value: v }), [name, value]);
const told = () => s.world.requests.filter((r) => r.method === 'POST' || r.url.includes('fbevents'));
const traces = () => s.page.evaluate(() => [document.cookie, localStorage.length, sessionStorage.length]);

test('pending: no request, no cookie, no storage; a grant sends everything in order, with the original times', async () => {
  await s.goto('<script>RapidMetrics.track("ViewContent", {}); RapidMetrics.identify("a@b.example")</script>', '',
    { snippet: 'v2', attributes: 'data-consent="pending"', query: '&fbclid=IwX&utm_source=news' });
  await s.loaded();
  await s.page.evaluate(() => {
    history.pushState({}, '', '/next');
    RapidMetrics.track('Purchase', { value: 1, currency: 'EUR', order_id: 'A1' });
  });
  await s.page.evaluate(() => new Promise((go) => setTimeout(go, 300))); // long enough for a request to have begun
  assert.deepEqual(told(), []);
  assert.deepEqual(await traces(), ['', 0, 0]);

  const granted = Date.now();
  await s.page.evaluate(() => RapidMetrics.consent('grant'));
  await s.arrived(5);
  assert.deepEqual(s.names(), ['PageView', 'ViewContent', 'identify', 'PageView', 'Purchase']);
  assert.ok(s.world.events.every((e) => e.at <= granted - 250), 'times of the calls, not of the grant');
  assert.ok(s.world.events.every((e) => e.visitor_id && e.visitor_id === s.world.events[0].visitor_id));
  const { body } = s.world.batches[0];
  assert.equal(body.consent, 'granted');
  assert.match(body.attribution.first.landing, /utm_source=news/, 'how the visitor came is not forgotten');
  const fired = await s.fired(8);
  assert.deepEqual([...new Set(fired.map((c) => c[4].eventID))], s.world.events.filter((e) => e.type === 'track').map((e) => e.event_id));
});

test('pending by the funnel\'s setting holds, and 200 events are the most it keeps', async () => {
  s.world.config.consent = 'pending';
  await s.goto();
  await s.loaded();
  const dropped = await s.page.evaluate(() => {
    let dropped = 0;
    for (let n = 0; n < 250; n++) RapidMetrics.track('Lead', { n }).then((r) => { if (r.status === 'dropped') dropped++ });
    return new Promise((done) => setTimeout(() => done(dropped)));
  });
  assert.equal(dropped, 51, 'with the page view');
  await s.page.evaluate(() => RapidMetrics.consent('grant'));
  await s.named('Lead', 199);
  assert.equal(s.world.events.length, 200);
});

test('a grant is remembered on the next page, and a grant in the queue speaks before everything else', async () => {
  s.world.config.consent = 'pending';
  await s.goto('<script>RapidMetrics.track("Lead", {}); RapidMetrics.consent("grant")</script>', '', { snippet: 'v2' });
  await s.named('Lead');
  assert.deepEqual(s.names(), ['PageView', 'Lead']);
  await s.goto();
  await s.named('PageView', 2);
});

test('revoke erases cookies and queue, tells the pixel, and answers later calls', async () => {
  await s.goto('', '', { query: '&fbclid=IwX&utm_source=news' });
  await s.arrived(1);
  await s.fired(2);
  await s.track('Purchase', { value: 1, currency: 'EUR', order_id: 'A1' });
  s.world.answers = Array(9).fill({ status: 503 });
  const results = await s.page.evaluate(async () => {
    const waiting = RapidMetrics.track('Lead', {});
    await new Promise((go) => setTimeout(go, 200));
    const states = [];
    RapidMetrics.on('consent', (state) => states.push(state));
    await RapidMetrics.consent('revoke');
    return [(await waiting).status, (await RapidMetrics.track('Contact', {})).status, (await RapidMetrics.identify('a@b.example')).status, states];
  });
  assert.deepEqual(results, ['consent', 'consent', 'consent', ['denied']]);
  assert.deepEqual((await s.context.cookies()).filter((c) => c.value), []);
  assert.equal(await s.page.evaluate(() => JSON.stringify([{ ...localStorage }, { ...sessionStorage }])), '[{"_rm_consent":"\\"denied\\""},{}]');
  assert.deepEqual(await s.pixel('consent'), [['consent', 'revoke']]);
  // The next page says nothing either.
  s.world.batches = [];
  await s.goto();
  await s.loaded();
  assert.equal((await s.track('Lead')).status, 'consent');
  assert.deepEqual(s.world.batches, []);
});

test('a privacy signal stops pixel and server alike, until the visitor says yes here', async () => {
  await signal('globalPrivacyControl', true);
  await s.goto('<script>RapidMetrics.track("Lead", {})</script>');
  await s.loaded();
  const result = await s.track('Lead', {});
  assert.deepEqual([result.ok, result.status, result.event_ids.length], [false, 'consent', 1]);
  assert.deepEqual([await traces(), told()], [['', 0, 0], []]);

  await s.page.evaluate(() => RapidMetrics.consent('grant'));
  assert.equal((await s.track('Contact', {})).status, 'ok');
  assert.deepEqual(s.names(), ['PageView', 'Contact']);
  assert.equal(s.world.batches[0].body.consent, 'granted', 'the server needs to know that it was explicit');
});

test('Do Not Track counts only where the funnel wants it', async () => {
  await signal('doNotTrack', '1');
  await s.goto();
  await s.arrived(1);
  s.world.config.dnt = true;
  await s.goto();
  await s.loaded();
  assert.equal((await s.track('Lead')).status, 'consent');
});

test('an address in the page\'s URL is in no request, neither as it stands nor encoded', async () => {
  await s.goto('<script>RapidMetrics.track("Lead", {})</script>', '', { snippet: 'v2', query: '&email=ann@b.example&m=bob%40b.example#to=eve@b.example' });
  await s.named('Lead');
  await s.page.evaluate(() => history.pushState({}, '', '/next?mail=joe@b.example'));
  await s.named('PageView', 2);
  const out = JSON.stringify([s.world.batches, s.world.requests.filter((r) => !r.host.startsWith('shop.'))]);
  assert.match(out, /mail=/);
  assert.doesNotMatch(out, /(ann|bob|eve|joe)(@|%40)/);
});

test('before_send sees each event, may change or drop it, for server and pixel alike', async () => {
  await s.goto();
  await s.loaded();
  const statuses = await s.page.evaluate(async () => {
    RapidMetrics.on('before_send', (e) => { e.props.secret = undefined; e.props.seen = e.name; return e });
    const off = RapidMetrics.on('before_send', (e) => e.name === 'Contact' ? null : e);
    RapidMetrics.on('before_send', (e) => e.name !== 'Search' && e);
    const results = [await RapidMetrics.track('Contact', {}), await RapidMetrics.track('Lead', { secret: 1, n: 1 })];
    off();
    return [...results, await RapidMetrics.track('Contact', { n: 2 }), await RapidMetrics.track('Search')].map((r) => r.status);
  });
  assert.deepEqual(statuses, ['dropped', 'ok', 'ok', 'dropped']);
  assert.deepEqual((await s.named('Lead')).props, { n: 1, seen: 'Lead' });
  assert.deepEqual((await s.fired(6)).filter((c) => c[2] === 'Lead').map((c) => c[3]), Array(2).fill({ n: 1, seen: 'Lead' }));
});

test('before_send cannot give a purchase to another order: page, pixel and webhook go by the same id', async () => {
  await s.goto();
  const told = await s.page.evaluate(async () => {
    const ways = { A1: (e) => ({ ...e, props: { ...e.props, order_id: 'B2' } }), A2: () => ({ props: { value: 2 } }), A3: (e) => { e.props.order_id = 'B2' }, A4: (e) => { delete e.props.order_id } };
    RapidMetrics.on('before_send', (e) => e.props.order_id && ways[e.props.order_id](e));
    return Promise.all(Object.keys(ways).map(async (order_id) => (await RapidMetrics.track('Purchase', { value: 1, order_id })).event_id));
  });
  const [a1, a2, a3, a4] = [1, 2, 3, 4].map((n) => [`F1:A${n}`, `A${n}`]);
  assert.deepEqual(told, [a1, a2, a3, a4].map(([id]) => id));
  assert.deepEqual((await s.named('Purchase', 4)).map((e) => [e.event_id, e.props.order_id]), [a1, a2, a3, a4]);
  assert.deepEqual((await s.fired(10)).filter((c) => c[2] === 'Purchase' && c[1] === PIXELS[0]).map((c) => [c[4].eventID, c[3].order_id]), [a1, a2, a3, a4]);
});
