// The Meta pixel: told of each event under the server's own id, each pixel by name, and never touched where it is not ours.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PIXELS, stage, until } from './stage.mjs';

const s = stage();
/// What the server sends where the pixel may be told who the visitor is.
const TRAITS = { email: 'em', phone: 'ph', first_name: 'fn', customer_id: 'external_id', zip: 'zp' };
const purchase = (order_id, more = {}) => ({ value: 9, currency: 'EUR', order_id, ...more });
/// The page's own base code, as Meta gives it, with the calls a page makes.
const base = (...calls) => `<script>!function(f,b,e,v,n,t,s){if(f.fbq)return;n=f.fbq=function(){n.callMethod?n.callMethod.apply(n,arguments):n.queue.push(arguments)};
  if(!f._fbq)f._fbq=n;n.push=n;n.loaded=!0;n.version='2.0';n.queue=[];t=b.createElement(e);t.async=!0;t.src=v;s=b.getElementsByTagName(e)[0];s.parentNode.insertBefore(t,s)
  }(window,document,'script','${s.world.meta}/fbevents.js');${calls.map((call) => `fbq(${JSON.stringify(call).slice(1, -1)});`).join('')}</script>`;

test('each event reaches each pixel under the very id that the server stored', async () => {
  await s.goto(`<script>RapidMetrics.track('Purchase', {value: 9, currency: 'EUR'}); RapidMetrics.track('Quiz done', {n: 1}); RapidMetrics.track('Lead', {order_id: 7})</script>`);
  await s.arrived(4);
  const told = await s.fired(8);
  assert.equal(s.world.stored.length, 4);
  for (const event of s.world.stored) {
    assert.deepEqual(told.filter((c) => c[2] === event.name), PIXELS.map((id) =>
      [event.name === 'Quiz done' ? 'trackSingleCustom' : 'trackSingle', id, event.name, event.props, { eventID: event.event_id }]));
  }
  assert.deepEqual((await s.pixel('init')).map((c) => c[1]), PIXELS);
});

test('an event may be kept from the pixel', async () => {
  await s.goto();
  await s.loaded();
  await s.track('Lead', {}, { pixel: false });
  await s.track('Contact', {});
  assert.deepEqual(new Set((await s.fired(4)).map((c) => c[2])), new Set(['PageView', 'Contact']));
});

for (const [how, block] of [
  ['aborted', () => s.context.route('**/fbevents.js', (route) => route.abort())],
  ['forbidden by the page\'s policy', () => `script-src 'unsafe-inline' ${s.world.cdn.origin}`],
  ['at a name that nobody knows', () => void (s.world.config.pixel_script_url = 'https://nowhere.invalid:1/fbevents.js')],
]) {
  test(`a pixel script that is ${how} changes nothing for our events`, async () => {
    const csp = await block();
    await s.goto('', '', typeof csp === 'string' ? { csp } : {});
    await s.loaded();
    assert.equal((await s.track('Lead', {})).status, 'ok');
    assert.deepEqual(await s.pixel('track'), []);
  });
}

test('a pixel that is already there is used, not registered twice, and hears nothing of ours', async () => {
  await s.goto('<script>var theirs = fbq; RapidMetrics.track("Lead", {})</script>', base(['init', '999'], ['init', PIXELS[0]], ['track', 'PageView']));
  await s.arrived(2);
  await until('pixel calls', async () => (await s.pixel('trackSingle')).length >= 4);
  assert.equal(await s.page.evaluate(() => theirs === fbq), true);
  assert.deepEqual((await s.pixel('init')).map((c) => c[1]).sort(), [...PIXELS, '999'].sort());
  assert.deepEqual(new Set((await s.pixel('trackSingle')).map((c) => c[1])), new Set(PIXELS));
  assert.equal((await s.pixel('track')).filter((c) => c[0] === 'track').length, 1, 'only their own broadcast');
  assert.deepEqual(await s.pixel('set'), [], 'their settings stay theirs');
});

test('what the page\'s pixel does to the properties it is given stays with it', async () => {
  await s.goto('', `<script>window.fbq = function (method, id, name, props) { if (name === 'Lead') { props.email = 'a@b.example'; delete props.n } }; fbq.queue = []</script>`);
  await s.track('Lead', { n: 1 });
  assert.deepEqual((await s.named('Lead')).props, { n: 1 });
});

test('a pixel that waits for its script with a call that no text can say is not registered twice', async () => {
  await s.goto('', `<script>window.fbq = function () { fbq.queue.push(arguments) }; fbq.queue = [];
    var circle = {}; circle.self = circle; fbq('init', '${PIXELS[0]}'); fbq('track', 'PageView', circle)</script>`);
  await s.arrived(1);
  assert.deepEqual(await s.page.evaluate(() => fbq.queue.filter((c) => c[0] === 'init').map((c) => c[1])), PIXELS);
});

test('route changes of an app are one page view each, and none of the pixel\'s own counting', async () => {
  await s.goto();
  await s.fired(2);
  await s.page.evaluate(() => {
    history.pushState({}, '', '/a');
    history.pushState({}, '', '/b');
  });
  await s.named('PageView', 3);
  const views = await s.fired(6);
  assert.deepEqual(views.map((c) => c[0]), Array(6).fill('trackSingle'));
});

test('identify after the pixel is initialised reaches it, once, and repeats no event', async () => {
  s.world.config.advanced_matching = TRAITS;
  await s.goto();
  await s.fired(2);
  await s.page.evaluate(() => {
    RapidMetrics.identify({ email: 'a@b.example', first_name: 'Ann', customer_id: 7, colour: 'green' });
    RapidMetrics.track('Lead', {});
    RapidMetrics.identify({ phone: '+49 1' });
  });
  await s.fired(4);
  const users = await s.page.evaluate(() => fbq.getState().pixels);
  assert.deepEqual(users, PIXELS.map((id) => ({ id, userData: { em: 'a@b.example', fn: 'Ann', external_id: '7' } })));
  assert.equal((await s.pixel('track')).length, 4, 'two events, two pixels');
  assert.equal((await s.pixel('init')).length, 4);
});

test('identify before the pixel is initialised reaches it with everything the page knows', async () => {
  s.world.config = { advanced_matching: TRAITS, consent: 'pending' };
  await s.goto('<script>RapidMetrics.identify({email: "a@b.example"}); RapidMetrics.identify({zip: 89073})</script>');
  await s.loaded();
  await s.page.evaluate(() => RapidMetrics.consent('grant'));
  await s.fired(2);
  assert.deepEqual((await s.page.evaluate(() => fbq.getState().pixels)).map((p) => p.userData), Array(2).fill({ em: 'a@b.example', zp: '89073' }));
});

test('a pixel that others registered is not told who the visitor is, nor are ours unless the funnel allows it', async () => {
  s.world.config.advanced_matching = TRAITS;
  await s.goto('<script>RapidMetrics.identify("a@b.example")</script>', base(['init', PIXELS[0]]));
  await s.named('identify');
  await s.fired(2);
  const of = async () => (await s.page.evaluate(() => fbq.getState().pixels)).map((p) => p.userData?.em);
  assert.deepEqual(await of(), [undefined, 'a@b.example']);
  assert.equal((await s.pixel('init')).filter((c) => c[1] === PIXELS[0]).length, 1);
  s.world.config.advanced_matching = undefined;
  await s.goto('<script>RapidMetrics.identify("a@b.example")</script>');
  await s.named('identify', 2);
  await s.fired(2);
  assert.deepEqual(await of(), [undefined, undefined]);
});

test('a purchase with an order id carries the order\'s id, and knows the person', async () => {
  await s.goto('', '', { query: '&fbclid=IwAR2AbC-_x' });
  await s.loaded();
  const results = await s.page.evaluate(async () => {
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
  const batch = s.batchWith('Purchase').body;
  assert.deepEqual(batch.person, { email: 'a@b.example', first_name: 'Ann' });
  assert.equal(batch.events.find((e) => e.event_id === 'F1:ORD-7').props.order_id, ' ORD-7 ', 'as the page gave it');
  assert.match(batch.ids.fbp, /^fb\.1\.\d{13}\.\d+$/);
  assert.match(batch.ids.fbc, /^fb\.1\.\d{13}\.IwAR2AbC-_x$/);
});

test('a purchase and its webhook are one stored purchase under one Meta id', async () => {
  await s.goto();
  await s.loaded();
  await s.track('Purchase', purchase('ORD-9'));
  // The webhook's half of the rule: its id is made of funnel and order as well.
  const webhook = { name: 'Purchase', event_id: 'F1:ORD-9' };
  const stored = new Set([...s.world.events, webhook].filter((e) => e.name === 'Purchase').map((e) => `${e.name} ${e.event_id}`));
  assert.equal(stored.size, 1);
  assert.deepEqual(new Set((await s.fired(4)).filter((c) => c[2] === 'Purchase').map((c) => c[4].eventID)), new Set([webhook.event_id]));
});

test('a purchase without an order id says that it cannot join the webhook\'s', async () => {
  await s.goto();
  await s.loaded();
  const bare = await s.track('Purchase', { value: 1, currency: 'EUR' });
  assert.equal(bare.status, 'ok');
  assert.match(bare.warnings.join(), /^order_id missing: /);
  assert.equal((await s.track('Purchase', purchase('A'))).warnings, undefined);
  assert.equal((await s.track('Lead', {})).warnings, undefined);
});

test('the thank-you page opened again: the server hears of the order again, the pixel does not', async () => {
  const bought = async () => {
    await s.goto();
    await s.loaded();
    await s.track('Purchase', purchase('ORD-1'));
    await s.track('Purchase', purchase('ORD-2'));
    await s.track('Contact', {});
    await until('the last call', async () => (await s.pixel('track')).some((c) => c[2] === 'Contact'));
    return (await s.pixel('track')).filter((c) => c[2] === 'Purchase' && c[1] === PIXELS[0]).map((c) => c[4].eventID);
  };
  assert.deepEqual(await bought(), ['F1:ORD-1', 'F1:ORD-2']);
  assert.deepEqual(await bought(), []);
  assert.equal(s.world.events.filter((e) => e.event_id === 'F1:ORD-1').length, 2);
  await s.page.evaluate(() => { for (let n = 0; n < 80; n++) RapidMetrics.track('Purchase', { value: 1, currency: 'EUR', order_id: 'N'.repeat(100) + n }) });
  assert.equal(await s.page.evaluate(() => JSON.parse(localStorage._rm_o).length), 5000, 'what is remembered has a bound');
});
