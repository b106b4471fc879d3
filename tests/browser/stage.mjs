// What every browser test begins and ends with: a browser, a world, a page, and the promise that the page's error
// tracker never hears of us and that no request of ours asks for permission first.

import assert from 'node:assert/strict';
import { after, afterEach, before, beforeEach } from 'node:test';
import { launch } from './chromium.mjs';
import { World, until } from './world.mjs';

export { PIXELS, until } from './world.mjs';

/// Every name leads here, and our throw-away certificate is good enough.
export const ARGS = ['--host-resolver-rules=MAP * 127.0.0.1', '--ignore-certificate-errors'];

const TEST_MS_MAX = 45000;

/// The hooks, and an object that always holds the current `browser`, `world`, `context` and `page`. `options` are launch
/// options; what a page is allowed to complain about by itself may be named in `stage.expected`.
export function stage({ args = [], ...options } = {}) {
  const s = {};
  before(async () => {
    s.browser = await launch(undefined, { args: [...ARGS, ...args], ...options });
  });
  after(() => s.browser.close());

  beforeEach(async () => {
    s.world = await World.start();
    s.surprises = [];
    s.expected = undefined;
    s.context = await newContext(s);
    s.page = await s.context.newPage();
    // A promise of the page that is never answered must fail its test, not hang it.
    s.alarm = setTimeout(() => s.context.close(), TEST_MS_MAX);
  });
  afterEach(async () => {
    clearTimeout(s.alarm);
    await s.context.close();
    s.world.close();
    assert.deepEqual(s.surprises.filter((surprise) => !s.expected?.test(surprise)), [], 'the page heard an error of ours');
    assert.equal(s.world.preflights, 0, 'no request of ours asks for permission first');
  });

  s.names = (events = s.world.events) => events.map((event) => event.name);
  s.goto = (...args) => s.page.goto(s.world.url(...args));
  s.loaded = (page = s.page) => page.waitForFunction(() => window.RapidMetrics?.loaded);
  s.arrived = (count) => until(() => `${count} events, so far ${s.names()}`, () => s.world.events.length >= count && s.world.events);
  /// Waits for the event of that name; `count` of them.
  s.named = (name, count = 1) => until(() => `${count} ${name}, so far ${s.names()}`, () => {
    const found = s.world.events.filter((event) => event.name === name);
    return found.length >= count && (count === 1 ? found[0] : found);
  });
  s.track = (...args) => s.page.evaluate((a) => RapidMetrics.track(...a), args);
  s.flush = () => s.page.evaluate(() => RapidMetrics.flush());
  /// The ids of the events on the disk, oldest first.
  s.unsent = () => s.page.evaluate(() => Object.keys(localStorage).filter((key) => key.startsWith('_rm_q_F1:')).map((key) => JSON.parse(localStorage[key]).e)
    .sort((a, b) => a.at - b.at || a.seq - b.seq).map((e) => e.event_id));
  s.delivered = () => until('an empty queue', async () => (await s.unsent()).length === 0);
  s.storage = () => s.page.evaluate(() => JSON.stringify([document.cookie, { ...localStorage }, { ...sessionStorage }]));
  s.pixel = (method) => s.page.evaluate((m) => (window.pixelCalls ?? []).filter((call) => call[0].startsWith(m)), method);
  s.fired = (count) => until(`${count} pixel calls`, async () => {
    const fired = await s.pixel('track');
    return fired.length >= count && fired;
  });
  s.batchWith = (name) => s.world.batches.find((batch) => s.names(batch.body.events).includes(name));
  /// What the browser noted of the page's threads meanwhile.
  s.traced = async (categories, work) => {
    await s.browser.startTracing(s.page, { categories });
    await work();
    return JSON.parse(await s.browser.stopTracing()).traceEvents;
  };
  /// A promise and the function that ends it.
  s.held = () => {
    let release;
    const after = new Promise((go) => (release = go));
    return { after, release };
  };
  return s;
}

export async function newContext(s, options = {}) {
  const context = await s.browser.newContext({ ignoreHTTPSErrors: true, ...options });
  context.setDefaultTimeout(15000);
  await context.exposeBinding('surprised', (_, what) => void s.surprises.push(what));
  // A hundred listeners, as the error trackers of a well-watched shop.
  await context.addInitScript(() => {
    for (let i = 0; i < 50; i++) {
      addEventListener('error', (e) => e.message && surprised(e.message));
      addEventListener('unhandledrejection', (e) => surprised('unhandled: ' + e.reason));
    }
  });
  context.on('page', (page) => page.on('pageerror', (e) => s.surprises.push(e.message)));
  return context;
}
