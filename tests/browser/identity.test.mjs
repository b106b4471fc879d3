// Identity, cookies and attribution: who this browser is, how it came, and what must never be written down.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { stage, until } from './stage.mjs';

const s = stage({ args: ['--test-third-party-cookie-phaseout'] });
const ids = async (given) => {
  await s.goto('', '', given);
  await s.loaded();
  return s.page.evaluate(() => RapidMetrics.ids());
};
/// A touch as the server reads it: the landing address says what named the source.
const read = (touch) => ({ ...Object.fromEntries(new URL(touch.landing).searchParams), ...touch });
const attributed = async (given, head = '') => {
  s.world.batches = [];
  await s.goto('', head, given);
  await s.arrived(1);
  await s.loaded();
  const { first, last } = s.world.batches.at(-1).body.attribution;
  return { first: read(first), last: read(last) };
};

const DOMAINS = [
  // host, the domain of its cookies
  ['shop.example', '.shop.example'],
  ['www.shop.example', '.shop.example'],
  ['a.deep.www.shop.example', '.shop.example'],
  ['www.tea.co.uk', '.tea.co.uk'],
  ['foo.github.io', '.foo.github.io'],
  ['myshop.myshopify.com', '.myshopify.com'],
  ['localhost', 'localhost'],
  ['127.0.0.1', '127.0.0.1'],
];

test('cookies go to the widest domain the browser accepts', async () => {
  for (const [host, expected] of DOMAINS) {
    await s.context.clearCookies();
    await s.goto('', '', { host });
    await s.loaded();
    const cookies = await s.context.cookies();
    const own = cookies.filter((c) => c.name === '_rm_vid');
    if (host === 'myshop.myshopify.com') assert.match(own[0].domain, /^\.(myshop\.)?myshopify\.com$/); // a matter of the browser's list
    else assert.deepEqual(own.map((c) => c.domain), [expected], host);
    assert.ok(own[0].secure && own[0].sameSite === 'Lax' && own[0].expires * 1000 - Date.now() > 380 * 864e5, host);
    assert.deepEqual(cookies.map((c) => c.name).sort(), ['_fbp', '_rm_vid'], 'the probe leaves nothing');
  }
});

test('a second subdomain sees the same visitor', async () => {
  const first = await ids({ host: 'www.shop.example' });
  assert.deepEqual(await ids({ host: 'checkout.shop.example' }), first);
});

test('the domain of the cookies may be given', async () => {
  s.world.config.cookieDomain = 'www.shop.example';
  await ids({ host: 'a.www.shop.example' });
  assert.deepEqual((await s.context.cookies()).map((c) => c.domain), Array(2).fill('.www.shop.example'));
});

test('the very first event carries fbp and fbc', async () => {
  await s.goto('', '', { query: '&fbclid=IwAR2AbC-_x' });
  await s.arrived(1);
  const { ids } = s.world.batches[0].body;
  assert.match(ids.fbp, /^fb\.1\.\d{13}\.\d+$/);
  assert.match(ids.fbc, /^fb\.1\.\d{13}\.IwAR2AbC-_x$/);
});

test('the ids of a browser stay: visitor, _fbp and _fbc, with or without Meta\'s appendix', async () => {
  const fbc = 'fb.1.1700000000000.IwAR2AbC-_x.AQQCAQMC';
  await s.context.addCookies([['_fbc', fbc], ['_fbp', 'garbage']].map(([name, value]) => ({ name, value, domain: '.shop.example', path: '/' })));
  const first = await ids({ query: '&fbclid=IwAR2AbC-_x' });
  assert.equal(first.fbc, fbc, 'the same click is not rewritten');
  assert.match(first.fbp, /^fb\.1\./);
  assert.deepEqual(await ids(), first);
  const clicked = await ids({ query: '&fbclid=IwNEW' });
  assert.deepEqual([clicked.visitor_id, clicked.fbp], [first.visitor_id, first.fbp]);
  assert.match(clicked.fbc, /^fb\.1\.\d{13}\.IwNEW$/);
  await s.context.clearCookies({ name: '_rm_vid' });
  assert.equal((await ids()).visitor_id, first.visitor_id, 'from localStorage');
});

test('after reset a new visitor begins, and nobody knows the old one\'s name', async () => {
  const first = await ids();
  const [second] = await s.page.evaluate(async () => {
    RapidMetrics.identify('a@b.example');
    RapidMetrics.track('Lead', { of: 'first' });
    RapidMetrics.reset();
    RapidMetrics.identify('c@d.example');
    await RapidMetrics.track('Lead', { of: 'second' });
    return [RapidMetrics.ids()];
  });
  const leads = await s.named('Lead', 2);
  assert.deepEqual(leads.map((e) => e.visitor_id), [first.visitor_id, second.visitor_id]);
  assert.notEqual(first.visitor_id, second.visitor_id);
  assert.equal(first.fbp, second.fbp, 'the browser is still the same');
  const person = (of) => s.world.batches.find((b) => b.body.events.some((e) => e.props.of === of)).body.person;
  assert.deepEqual([person('first'), person('second')], [{ email: 'a@b.example' }, { email: 'c@d.example' }]);
});

test('identify merges, erases nothing by an empty value, and a purchase just before it knows the person too', async () => {
  await s.goto();
  await s.loaded();
  await s.page.evaluate(() => {
    RapidMetrics.track('Purchase', { value: 1, currency: 'EUR', order_id: 'A' });
    RapidMetrics.identify('a@b.example', { city: 'Ulm', colour: 'green' });
    RapidMetrics.identify({ email: '', phone: '+49 1', city: null });
  });
  await s.named('Purchase');
  await s.flush();
  assert.deepEqual(s.batchWith('Purchase').body.person, { email: 'a@b.example', city: 'Ulm', colour: 'green', phone: '+49 1' });
});

test('first and last touch: kept over three visits, the last one changed by each visit that names a source', async () => {
  const first = await attributed({ query: '&utm_source=news&utm_campaign=spring&gclid=G1&email=a@b.example' });
  assert.deepEqual([first.first.utm_source, first.first.utm_campaign, first.first.gclid], ['news', 'spring', 'G1']);
  assert.ok(first.first.at > 0 && first.first.landing.includes('utm_source=news') && !first.first.landing.includes('a@b'));
  const second = await attributed();
  assert.deepEqual(second, first, 'a direct visit changes nothing');
  const third = await attributed({ query: '&utm_source=ads&wbraid=W1&fbclid=IwX' });
  assert.deepEqual(third.first, first.first);
  assert.deepEqual([third.last.utm_source, third.last.wbraid, third.last.fbclid, third.last.gclid], ['ads', 'W1', 'IwX', undefined]);
});

test('an app\'s route with a new source is a touch, and one without is none', async () => {
  const landed = await attributed();
  assert.equal(landed.first.utm_source, undefined);
  await s.page.evaluate(() => history.pushState({}, '', '/sale?utm_source=banner'));
  await s.named('PageView', 2);
  await s.page.evaluate(() => history.pushState({}, '', '/cart'));
  await s.named('PageView', 3);
  const { first, last } = s.world.batches.at(-1).body.attribution;
  assert.deepEqual([read(first), read(last).utm_source], [landed.first, 'banner']);
});

test('a referrer of another site is a touch, one of our own is none', async () => {
  const link = (to) => `<a href="${to}">on</a>`;
  for (const [visits, query] of ['', '&utm_source=blog'].entries()) {
    await s.goto(link(s.world.url('', '', { query })), '<meta name="referrer" content="unsafe-url">', { host: 'blog.example', bare: 1 });
    await s.page.click('a');
    await s.arrived(visits + 1);
    const { last } = s.world.batches.at(-1).body.attribution;
    assert.match(last.referrer, /^https:\/\/blog\.example/);
    assert.ok(last.landing.endsWith('?' + query));
  }
});

test('a frame of a third party, without cookies for third parties, delivers', async () => {
  await s.goto(`<iframe src="${s.world.url('', '', { host: 'widget.example' })}"></iframe>`, '', { bare: 1 });
  const view = await s.named('PageView');
  assert.match(s.world.batches[0].body.page.url, /widget\.example/);
  assert.ok(view.visitor_id);
});

test('a sandboxed frame without an origin delivers, though cookies and storage throw', async () => {
  await s.goto(`<iframe sandbox="allow-scripts" src="${s.world.url('<script>RapidMetrics.track("Lead", {})</script>')}"></iframe>`, '', { bare: 1 });
  const lead = await s.named('Lead');
  assert.ok(lead.visitor_id);
  assert.equal(s.world.batches[0].headers.origin, 'null');
});

for (const storage of ['none', 'memory']) {
  test(`with storage ${storage} a full journey leaves nothing behind`, async () => {
    s.world.config = { storage, pixel: 'on' };
    await s.goto('', '', { query: '&utm_source=news&fbclid=IwX&rm_debug=1' });
    await s.loaded();
    s.world.answers = [{ status: 503 }];
    await s.page.evaluate(async () => {
      RapidMetrics.identify('a@b.example');
      RapidMetrics.consent('grant');
      RapidMetrics.track('Purchase', { value: 1, currency: 'EUR', order_id: 'A1' });
      history.pushState({}, '', '/next');
      await RapidMetrics.flush();
    });
    await s.named('Purchase');
    const left = await s.page.evaluate(async () => [document.cookie, localStorage.length, sessionStorage.length, (await indexedDB.databases()).length]);
    assert.deepEqual(left, ['', 0, 0, 0]);
    assert.match(s.world.batches[0].body.ids.fbp, /^fb\./, 'the page itself still knows');
  });
}

test('with storage local there are no cookies, and the visitor is the same on the next page', async () => {
  s.world.config.storage = 'local';
  const first = await ids({ query: '&fbclid=IwX' });
  assert.deepEqual(await ids(), first);
  assert.ok(first.fbc && first.fbp);
  assert.deepEqual(await s.context.cookies(), []);
});

test('nothing personal in any storage, delivered or not', async () => {
  const person = ['ann@shop.example', '+4915112345678', 'Annabella'];
  await s.goto();
  await s.arrived(1);
  const hashes = await s.page.evaluate((all) => Promise.all(all.map(async (text) => [...new Uint8Array(
    await crypto.subtle.digest('SHA-256', new TextEncoder().encode(text)))].map((b) => b.toString(16).padStart(2, '0')).join(''))), person);
  const identified = () => s.page.evaluate(([email, phone, first_name]) => {
    const props = { email, phone, first_name, note: 'mail ' + email };
    return Promise.all([RapidMetrics.identify({ email, phone, first_name }), RapidMetrics.track('Lead', props)]);
  }, person);

  await identified();
  const clean = await s.storage();
  for (const secret of [...person, ...hashes]) assert.ok(!clean.includes(secret), secret);

  // Undelivered: only an unsent identify, only in the tab's own storage.
  s.world.answers = Array(50).fill({ status: 503 });
  const waits = identified();
  await until('a failed try', () => s.world.batches.some((b) => b.status === 503));
  await until('a stored identify', () => s.page.evaluate(() => Object.keys(sessionStorage).some((key) => key.startsWith('_rm_q_F1:'))));
  const lasting = await s.page.evaluate(() => JSON.stringify([document.cookie, { ...localStorage }]));
  assert.ok(lasting.includes('Lead'));
  for (const secret of [...person, ...hashes]) assert.ok(!lasting.includes(secret), secret);
  s.world.answers = [];
  await waits;
  await s.delivered();
  for (const secret of [...person, ...hashes]) assert.ok(!(await s.storage()).includes(secret), secret);
});

test('requests carry cookies on a host of the site\'s own, and nowhere else', async () => {
  // A strict default would keep third-party cookies back anyway: the question is put on one site.
  const api = () => `https://in.shop.example:${s.world.api.port}/v1/session`;
  for (const credentials of ['include', undefined]) {
    s.world.batches = [];
    s.world.config = { api: api(), credentials };
    await s.goto();
    await s.arrived(1);
    await s.track('Lead');
    assert.equal('cookie' in s.world.batches.at(-1).headers, credentials === 'include', `${credentials}`);
  }
});
