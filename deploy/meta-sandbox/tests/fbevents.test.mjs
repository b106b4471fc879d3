// The pixel's stand-in in a page that is not there: run with `node --test`.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import vm from 'node:vm';

const SCRIPT = readFileSync(new URL('../assets/fbevents.js', import.meta.url), 'utf8');
const DIGEST = '62a14e44f765419d10fea99367361a727c12365e2520f32218d505ed9aa0f62f';

/** A page at `url` whose loader stub has queued `calls`; says what was reported, warned and stored. */
function page({ url = 'https://www.shop.example/', calls = [], cookies = '', beacon = true, current = true, stub = true } = {}) {
  const seen = { sent: [], warnings: [], jar: new Map(cookies.split('; ').filter(Boolean).map((pair) => pair.split('='))) };
  const script = { src: 'https://box.example:8090/fbevents.js' };
  const location = new URL(url);
  const take = (way) => (to, form) => {
    seen.sent.push({ way, to, ...Object.fromEntries(form) });
    return true;
  };
  const document = {
    currentScript: current ? script : null,
    referrer: '',
    getElementsByTagName: () => [{ src: 'https://cdn.example/other.js' }, script],
    get cookie() {
      return [...seen.jar].map(([name, value]) => `${name}=${value}`).join('; ');
    },
    set cookie(text) {
      const [pair, ...attributes] = text.split(';');
      const domain = attributes.find((attribute) => attribute.startsWith('domain='));
      if (domain !== 'domain=.example') seen.jar.set(...pair.split('=')); // browsers refuse public suffixes
    },
  };
  const window = {
    console: { warn: (_, what) => seen.warnings.push(String(what)) },
    fetch: async (to, { body, keepalive }) => take(keepalive ? 'keepalive' : 'plain')(to, body),
  };
  if (stub) {
    const fbq = function () {
      if (fbq.callMethod) fbq.callMethod.apply(fbq, arguments);
      else fbq.queue.push(arguments);
    };
    Object.assign(fbq, { queue: [] });
    window.fbq = fbq;
    calls.forEach((call) => fbq(...call));
  }
  const navigator = { sendBeacon: (to, form) => beacon && take('beacon')(to, form) };
  vm.runInNewContext(SCRIPT, { window, document, location, navigator, console: window.console, URL, URLSearchParams });
  return { ...seen, fbq: window.fbq };
}

const names = ({ sent }) => sent.map(({ id, ev }) => `${id} ${ev}`);

test('queued calls are replayed in order and later ones follow', () => {
  const { fbq, ...seen } = page({
    calls: [['init', '1'], ['track', 'PageView'], ['init', 2], ['track', 'Purchase', { value: 9.5, contents: [{ id: 'a' }] }, { eventID: 'f:o' }]],
  });
  fbq('trackSingleCustom', '2', 'Mine', {}, { eventID: 'c' });
  fbq('trackSingle', 1, 'Lead');
  assert.deepEqual(names(seen), ['1 PageView', '1 Purchase', '2 Purchase', '2 Mine', '1 Lead']);
  const { way, to, eid, dl, ...purchase } = seen.sent[1];
  assert.deepEqual([way, to, eid, dl], ['beacon', 'https://box.example:8090/tr', 'f:o', 'https://www.shop.example/']);
  assert.deepEqual([purchase['cd[value]'], purchase['cd[contents]']], ['9.5', '[{"id":"a"}]']);
  assert.equal(fbq.queue.length, 0);
});

test('events need an initialised pixel and a known method', () => {
  const seen = page({ calls: [['track', 'Early'], ['init', '1'], ['init', '1'], ['trackSingle', '9', 'Lead'], ['track'], ['nonsense']] });
  assert.deepEqual(names(seen), []);
  assert.equal(seen.warnings.length, 5);
});

test('events and cookies wait for consent', () => {
  const seen = page({ calls: [['consent', 'revoke'], ['init', '1'], ['track', 'PageView'], ['track', 'Lead', {}, { eventID: 'l' }]] });
  assert.deepEqual([names(seen), seen.jar.size], [[], 0]);
  seen.fbq('consent', 'grant');
  assert.deepEqual([names(seen), seen.jar.size], [['1 PageView', '1 Lead'], 1]);
  assert.equal(seen.sent[0].fbp, seen.jar.get('_fbp'));
});

test('cookies name the widest domain and keep what is known', () => {
  for (const [url, cookies, fbp, fbc] of [
    ['https://www.shop.example/?fbclid=IwAR2-_x', '', /^fb\.1\.\d{13}\.\d+$/, /^fb\.1\.\d{13}\.IwAR2-_x$/],
    ['http://localhost:3000/?fbclid=IwAR2', '', /^fb\.0\.\d{13}\.\d+$/, /^fb\.0\.\d{13}\.IwAR2$/],
    ['http://127.0.0.1/', '', /^fb\.0\.\d{13}\.\d+$/, /^undefined$/],
    ['https://shop.example/?fbclid=Iw', '_fbp=fb.1.5.7; _fbc=fb.1.5.Iw.AQQCAQMC', /^fb\.1\.5\.7$/, /^fb\.1\.5\.Iw\.AQQCAQMC$/],
    ['https://shop.example/?fbclid=IW', '_fbp=fb.1.5.7; _fbc=fb.1.5.Iw', /^fb\.1\.5\.7$/, /^fb\.1\.\d{13}\.IW$/],
    ['https://shop.example/?fbclid=a.b', '', /^fb\.1\./, /^undefined$/],
  ]) {
    const { jar } = page({ url, cookies, calls: [['init', '1']] });
    assert.match(String(jar.get('_fbp')), fbp, url);
    assert.match(String(jar.get('_fbc')), fbc, url);
  }
});

test('clear text of a person stays in the page', () => {
  const calls = [['init', '1', { em: 'jane@example.com', external_id: DIGEST }], ['track', 'Lead']];
  const [lead] = page({ calls }).sent;
  assert.deepEqual([lead['ud[em]'], lead['ud[external_id]']], [undefined, DIGEST]);
});

test('data processing options travel with every event', () => {
  const [lead] = page({ calls: [['dataProcessingOptions', ['LDU'], 1, 1000], ['init', '1'], ['track', 'Lead']] }).sent;
  assert.deepEqual([lead.dpo, lead.dpoco, lead.dpost], ['LDU', '1', '1000']);
});

test('without a beacon the request is kept alive', () => {
  const [lead] = page({ beacon: false, calls: [['init', '1'], ['track', 'Lead']] }).sent;
  assert.equal(lead.way, 'keepalive');
});

test('the box is found without currentScript, and fbq made where there is no stub', () => {
  const seen = page({ current: false, stub: false });
  seen.fbq('init', '1');
  seen.fbq('track', 'Lead');
  assert.deepEqual([names(seen), seen.sent[0].to], [['1 Lead'], 'https://box.example:8090/tr']);
});
