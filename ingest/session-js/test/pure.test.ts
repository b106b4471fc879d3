// The parts of the script that need no browser, as tables.

import assert from 'node:assert/strict';
import { test, vi } from 'vitest';
import { eventId, orderId, uuid } from '../src/ids';
import { copy, impersonal, withoutEmails } from '../src/props';
import { bytes } from '../src/tools';
import { clickId } from '../src/visitor';

vi.mock('../src/settings', () => ({ config: { fid: 'F1' } }));

test('an id is a random uuid, and never comes twice', () => {
  const seen = new Set();
  for (let i = 0; i < 1000; i++) {
    const id = uuid();
    assert.match(id, /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
    seen.add(id);
  }
  assert.equal(seen.size, 1000);
});

const ORDERS = [
  // given, order id
  ['ORD-123', 'ORD-123'],
  [' \t\n\f\rORD-123 ', 'ORD-123'],
  ['Ord-É', 'Ord-É'],
  ['\u00a0A\ufeff', 'A'], // white space of any kind
  [123, '123'],
  [0, '0'],
  ['0', '0'],
  [undefined, ''],
  [null, ''],
  ['', ''],
  ['   ', ''],
  ['undefined', ''],
  [' null ', ''],
  ['NaN', ''],
  ['[object Object]', ''],
  ['{{order.id}}', ''],
  ['ORD-{{id}}', ''],
  ['Undefined', ''],
  ['a\u0000b', ''],
  ['a\nb', ''],
  ['nullable', 'nullable'],
  ['a{b}', 'a{b}'],
  [1.5, ''],
  [1e21, ''],
  [true, ''],
  [{}, ''],
  ['x'.repeat(128), 'x'.repeat(128)],
  ['x'.repeat(129), ''],
  ['é'.repeat(65), ''], // 130 bytes
];

test('an order id is a string or an integer, trimmed, short, and no left-over template', () => {
  for (const [given, expected] of ORDERS) assert.equal(orderId(given), expected, JSON.stringify(given));
});

const EVENT_IDS = [
  // order, options, id (null: a fresh one), warned
  ['', {}, null, false],
  ['A1', {}, 'F1:A1', false],
  ['A1', { event_id: 'mine' }, 'F1:A1', true],
  ['', { event_id: 'mine' }, 'mine', false],
  ['', { eventID: 'mine' }, 'mine', false],
  ['', { event_id: 7 }, '7', false],
  ['', { event_id: 'F1:A1' }, null, true],
  ['', { event_id: 'F1:' }, null, true],
  ['', { event_id: 'xF1:A1' }, 'xF1:A1', false],
];

test('the order decides the id, then the caller, then chance', () => {
  for (const [order, options, expected, warned] of EVENT_IDS) {
    const warnings = [], id = eventId(order, options.event_id || options.eventID, warnings);
    if (expected) assert.equal(id, expected);
    else assert.match(id, /^[0-9a-f-]{36}$/);
    assert.equal(warnings.length > 0, warned, JSON.stringify([order, options]));
  }
});

test('what JSON cannot say is left out, what repeats without a circle stays', () => {
  const circle = { name: 'a' }, shared = { x: 1 }, warnings = [];
  circle.self = circle;
  circle.deep = { up: circle };
  const made = copy({ circle, f() {}, big: 10n, s: Symbol('s'), one: shared, two: shared, list: [shared, shared], when: new Date(0) }, warnings);
  assert.deepEqual(made, {
    circle: { name: 'a', deep: {} }, one: { x: 1 }, two: { x: 1 }, list: [{ x: 1 }, { x: 1 }], when: '1970-01-01T00:00:00.000Z',
  });
  assert.equal(warnings.length, 5);
});

test('lengths are counted in UTF-8', () => {
  assert.deepEqual(['', 'x', 'é', '購', '😀'].map(bytes), [0, 1, 2, 3, 4]);
});

test('a click id is taken verbatim or not at all', () => {
  const at = (query) => clickId('https://shop.example/p?' + query) || '';
  assert.equal(at('fbclid=IwAR2AbC-_x&a=1'), 'IwAR2AbC-_x');
  assert.equal(at('a=1&fbclid=A-b_2#fbclid=no'), 'A-b_2');
  assert.equal(at('fbclid=A%2Bb'), '');
  assert.equal(at('fbclid=with.dot'), '');
  assert.equal(at('fbclid='), '');
  assert.equal(at('fbclid=%E0%A4%A'), '');
  assert.equal(at('xfbclid=A'), '');
  assert.equal(at('fbclid=' + 'x'.repeat(500)).length, 500);
  assert.equal(at('fbclid=' + 'x'.repeat(501)), '');
});

test('addresses leave neither in a URL nor onto disk', () => {
  assert.equal(withoutEmails('https://a.b/?email=x@y.z&k=1#m=q%40r.s'), 'https://a.b/?email=&k=1#m=');
  assert.equal(withoutEmails('https://a.b/@user?k=1'), 'https://a.b/@user?k=1');
  const stored = JSON.stringify({ name: 'Lead', props: { email: 'x@y.z', phone: 1, note: 'write to x@y.z', first_name: 'A', value: 5, content_name: 'Tea' } }, impersonal);
  assert.equal(stored, '{"name":"Lead","props":{"value":5,"content_name":"Tea"}}');
  assert.equal(impersonal('url', 'https://a.b/@user/page.html'), 'https://a.b/@user/page.html');
});
