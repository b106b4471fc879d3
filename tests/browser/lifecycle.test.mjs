// The life of a page: prerendered, hidden, frozen, restored, or an app that never loads another one.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { openAlone } from './alone.mjs';
import { ARGS, stage, until } from './stage.mjs';

const s = stage({ ignoreDefaultArgs: ['--disable-back-forward-cache'] });
const views = () => s.world.events.filter((e) => e.name === 'PageView');
const viewed = () => s.world.batches.flatMap((b) => b.body.events.filter((e) => e.name === 'PageView').map(() => new URL(b.body.page.url).pathname + new URL(b.body.page.url).hash));
/// The page says that it is hidden or visible, as the browser does when tabs are switched.
const show = (state) => s.page.evaluate((to) => {
  Object.defineProperty(document, 'visibilityState', { value: to, configurable: true });
  Object.defineProperty(document, 'hidden', { value: to === 'hidden', configurable: true });
  document.dispatchEvent(new Event('visibilitychange', { bubbles: true }));
}, state);

for (const [what, then, expected] of [
  ['says nothing until it is looked at, and then one page view', '/next', ['/next']],
  ['and never looked at sends nothing', '/other', ['/other']],
]) {
  test(`a prerendered page ${what}`, async () => {
    const { after, release } = s.held();
    s.world.gate = after;
    const [next, to] = ['/next', then].map((path) => s.world.url('', '', { path }));
    const rules = `<script type="speculationrules">{"prerender": [{"source": "list", "urls": ["${next}"]}]}</script>`;
    const close = openAlone(s.world.url(`${rules}<script>fetch('/wait').then(function () { location.href = '${to}' })</script>`, '', { bare: 1 }), ARGS);
    try {
      await until('the script of the prerendered page', () => s.world.scripts === 1);
      await new Promise((go) => setTimeout(go, 500)); // time enough to say something
      assert.deepEqual(s.world.batches, []);
      release();
      await s.named('PageView');
      await new Promise((go) => setTimeout(go, 500)); // and to say it twice
      assert.deepEqual(viewed(), expected);
    } finally {
      await close();
    }
  });
}

test('a prerendered page asks for the visitor\'s decision when it is looked at', async () => {
  const { after, release } = s.held();
  s.world.gate = after;
  s.world.config.consent = 'pending';
  const next = s.world.url('', '', { path: '/next' });
  const rules = `<script type="speculationrules">{"prerender": [{"source": "list", "urls": ["${next}"]}]}</script>`;
  const close = openAlone(s.world.url(`${rules}<script>fetch('/wait').then(function () {
    localStorage._rm_consent = '"granted"'; location.href = '${next}' })</script>`, '', { bare: 1 }), ARGS);
  try {
    await until('the script of the prerendered page', () => s.world.scripts === 1);
    await new Promise((go) => setTimeout(go, 500)); // it has looked around before the visitor decides
    release();
    await s.named('PageView');
    assert.deepEqual(viewed(), ['/next']);
    assert.equal(s.world.scripts, 1, 'the prerendered page itself was shown');
  } finally {
    await close();
  }
});

test('a page opened in the background flags its page view as hidden', async () => {
  await s.context.addInitScript(() => Object.defineProperty(document, 'hidden', { value: true, configurable: true }));
  await s.goto();
  assert.equal((await s.named('PageView')).hidden, true);
});

test('a page that nobody sees sends its events together, hears of them, and says nothing twice when it is shown', async () => {
  await s.context.addInitScript(() => Object.defineProperty(document, 'hidden', { value: true, configurable: true }));
  await s.goto(`<script>for (var n = 0; n < 4; n++) RapidMetrics.track('Contact', {n: n})</script>`);
  await s.arrived(5);
  assert.equal(s.world.batches.length, 1);
  assert.equal((await s.track('Lead')).status, 'ok');
  const statuses = await s.page.evaluate(() => Promise.all([...Array(100).keys()].map((n) => RapidMetrics.track('Search', { n }).then((r) => r.status))));
  assert.deepEqual([...new Set(statuses)], ['ok']);
  assert.ok(s.world.batches.length <= 8, `${s.world.batches.length} requests`);
  await show('visible');
  await s.track('Schedule');
  assert.equal(s.world.events.length, 107);
});

test('with page views of visible pages only, one opened in the background waits until it is shown', async () => {
  s.world.config.pageview = 'visible';
  await s.context.addInitScript(() => {
    Object.defineProperty(document, 'hidden', { value: true, configurable: true });
    Object.defineProperty(document, 'visibilityState', { value: 'hidden', configurable: true });
  });
  await s.goto();
  await s.loaded();
  await s.track('Lead');
  assert.deepEqual(s.names(), ['Lead']);
  await show('visible');
  await s.named('PageView');
  assert.equal(views()[0].hidden, false);
  await show('hidden');
  await show('visible');
  await s.flush();
  assert.equal(views().length, 1);
});

test('flapping between hidden and visible, frozen and resumed, sends nothing twice', async () => {
  await s.goto();
  await s.arrived(1);
  await s.flush();
  const { after, release } = s.held();
  s.world.answers = [{ after }];
  await s.page.evaluate(() => void RapidMetrics.track('Lead', {}));
  await until('a request under way', () => s.world.batches.length === 2);
  for (let n = 0; n < 10; n++) {
    await show('hidden');
    await s.page.evaluate(() => document.dispatchEvent(new Event('freeze')));
    await s.page.evaluate(() => document.dispatchEvent(new Event('resume')));
    await show('visible');
  }
  release();
  await s.flush();
  assert.deepEqual(s.names(), ['PageView', 'Lead']);
});

test('a page restored from the back/forward cache counts as seen again, and works', async () => {
  await s.goto('', '', { path: '/first' });
  await s.arrived(1);
  await s.flush();
  await s.page.evaluate(() => addEventListener('pageshow', (e) => (window.persisted = e.persisted)));
  await s.goto('', '', { path: '/second' });
  await s.named('PageView', 2);
  await s.flush();
  await s.page.evaluate(() => history.back());
  await s.page.waitForFunction(() => window.persisted === true);
  assert.equal((await s.track('Lead')).status, 'ok');
  assert.deepEqual(viewed(), ['/first', '/second', '/first']);
});

/// Leaves the page for another one of the shop, does something there, and comes back to the very page.
const meanwhile = async (work) => {
  await s.page.evaluate(() => addEventListener('pageshow', (e) => (window.persisted = e.persisted)));
  await s.goto('', '', { path: '/second' });
  await s.loaded();
  await work();
  await s.page.evaluate(() => history.back());
  await s.page.waitForFunction(() => window.persisted === true);
};

for (const pageview of ['auto', 'off']) {
  test(`a page restored from the back/forward cache obeys that the visitor has revoked meanwhile, page views ${pageview}`, async () => {
    s.world.config.pageview = pageview;
    await s.goto('', '', { path: '/first' });
    await s.loaded();
    await s.track('Lead');
    // It leaves by beacon, and is not acknowledged here. On its way it would keep the page out of the cache.
    await s.page.evaluate(() => {
      RapidMetrics.track('Contact');
      Object.defineProperty(document, 'hidden', { value: true, configurable: true });
      document.dispatchEvent(new Event('visibilitychange', { bubbles: true }));
    });
    await s.page.waitForFunction(() => performance.getEntriesByType('resource').some((e) => e.initiatorType === 'beacon'));
    let before;
    await meanwhile(async () => {
      await s.delivered(); // the second page has found it on the disk
      await s.page.evaluate(() => RapidMetrics.consent('revoke'));
      before = s.world.batches.length;
    });
    await show('visible');
    assert.equal((await s.track('Search')).status, 'consent');
    await new Promise((go) => setTimeout(go, 500)); // time enough to send what was left
    assert.equal(s.world.batches.length, before);
  });
}

test('a page restored from the back/forward cache sends what waited for a grant that was given meanwhile', async () => {
  s.world.config.consent = 'pending';
  await s.goto('', '', { path: '/first' });
  await s.loaded();
  await s.page.evaluate(() => { RapidMetrics.track('Purchase', { value: 1, currency: 'EUR', order_id: 'A1' }) });
  await meanwhile(() => s.page.evaluate(() => RapidMetrics.consent('grant')));
  await s.named('Purchase');
});

/// `ms` is how long the script may take to notice where the page went.
const walk = async (ms) => {
  await s.goto('<a href="#there">there</a>', '', { path: '/start' });
  await s.arrived(1);
  await s.page.evaluate(async (ms) => {
    const settle = () => new Promise((go) => setTimeout(go, ms));
    history.pushState({}, '', '/one');
    await settle();
    history.replaceState({}, '', '/one'); // the same address is no new page
    await settle();
    history.replaceState({}, '', '/two');
    history.pushState({}, '', '/two#hash');
    location.hash = 'other';
    await settle();
    history.back();
    await settle();
    history.back();
    await settle();
    history.back();
    await settle();
    await RapidMetrics.flush();
  }, ms);
};

test('an app: push and replace count, the same address and hashes do not, going back does', async () => {
  await walk(50);
  await s.named('PageView', 4);
  await s.flush();
  assert.deepEqual(viewed().map((path) => path.split('#')[0]), ['/start', '/one', '/two', '/start']);
  assert.ok(await s.page.evaluate(() => /native code/.test(history.pushState)), 'the page\'s history is not touched');
});

test('without the Navigation API the same walk, a little slower, gives the same page views', async () => {
  await s.context.addInitScript(() => delete window.navigation);
  await walk(250);
  await s.named('PageView', 4);
  await s.flush();
  assert.deepEqual(viewed().map((path) => path.split('#')[0]), ['/start', '/one', '/two', '/start']);
  assert.ok(await s.page.evaluate(() => /native code/.test(history.pushState)), 'here neither');
});

test('a navigation that is taken over counts, one that is stopped does not, and a real one is a new page', async () => {
  await s.goto('', '', { path: '/start' });
  await s.arrived(1);
  await s.page.evaluate(async () => {
    navigation.addEventListener('navigate', (e) => {
      if (/taken/.test(e.destination.url)) e.intercept({ handler: async () => {} });
      if (/stopped/.test(e.destination.url)) e.preventDefault();
    });
    await navigation.navigate('/taken').finished;
    const stopped = navigation.navigate('/stopped');
    await Promise.allSettled([stopped.committed, stopped.finished]);
    await RapidMetrics.flush();
  });
  assert.deepEqual(viewed(), ['/start', '/taken']);
  await s.page.evaluate(() => location.replace('/real'));
  await s.named('PageView', 3);
  assert.deepEqual(viewed(), ['/start', '/taken', '/real']);
});

test('page views of routes can be switched off, by tag or funnel, and all automatic ones too', async () => {
  const leads = async () => {
    await s.loaded();
    await s.page.evaluate(() => history.pushState({}, '', '/next'));
    await s.track('Lead');
    await s.flush();
    return views().length;
  };
  await s.goto('', '', { snippet: 'v2', attributes: 'data-spa="off"' });
  assert.equal(await leads(), 1);
  s.world.config.spa = 'off';
  await s.goto();
  assert.equal(await leads(), 2);
  s.world.config = { pageview: 'off' };
  await s.goto();
  assert.equal(await leads(), 2);
});

test('with the second snippet, calls from before the load keep the address they were made at', async () => {
  const { after, release } = s.held();
  s.world.serving = { after };
  await s.page.goto(s.world.url('', '', { snippet: 'v2', path: '/start' }), { waitUntil: 'commit' });
  await s.page.waitForFunction(() => window.RapidMetrics);
  await s.page.evaluate(() => {
    RapidMetrics.track('Lead', {});
    history.pushState({}, '', '/later');
    RapidMetrics.track('Contact', {});
  });
  release();
  await s.named('Contact');
  const path = (name) => new URL(s.batchWith(name).body.page.url).pathname;
  assert.deepEqual([path('Lead'), path('Contact')], ['/start', '/later']);
});
