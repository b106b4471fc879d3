// The parts of the script that need no browser, as tables.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { eventId, orderId, uuid7 } from '../src/ids.js';
import { checkMoney, checkName, toText, tooLarge, withoutEmails } from '../src/props.js';
import { impersonal } from '../src/queue.js';
import { clickId } from '../src/visitor.js';

test('an id is a version 7 uuid of its millisecond, and never comes twice', () => {
  const seen = new Set();
  for (let i = 0; i < 1000; i++) {
    const id = uuid7(0x0192a3b4c5d6);
    assert.match(id, /^0192a3b4-c5d6-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
    seen.add(id);
  }
  assert.equal(seen.size, 1000);
});

const ORDERS = [
  // given, order id, warned
  ['ORD-123', 'ORD-123', false],
  [' \t\n\f\rORD-123 ', 'ORD-123', false],
  ['Ord-É', 'Ord-É', false],
  ['\u00a0A', '\u00a0A', false], // not ASCII white space
  [123, '123', false],
  [0, '0', false],
  ['0', '0', false],
  [undefined, '', false],
  [null, '', false],
  ['', '', false],
  ['   ', '', false],
  ['undefined', '', true],
  [' null ', '', true],
  ['NaN', '', true],
  ['[object Object]', '', true],
  ['{{order.id}}', '', true],
  ['ORD-{{id}}', '', true],
  ['Undefined', '', true],
  ['a\u0000b', '', true],
  ['a\nb', '', true],
  ['nullable', 'nullable', false],
  ['a{b}', 'a{b}', false],
  [1.5, '', true],
  [1e21, '', true],
  [true, '', true],
  [{}, '', true],
  ['x'.repeat(128), 'x'.repeat(128), false],
  ['x'.repeat(129), '', true],
  ['é'.repeat(65), '', true], // 130 bytes
];

test('an order id is a string or an integer, trimmed, short, and no left-over template', () => {
  for (const [given, expected, warned] of ORDERS) {
    const warnings = [];
    assert.equal(orderId(given, warnings), expected, JSON.stringify(given));
    assert.equal(warnings.length > 0, warned, JSON.stringify(given));
  }
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
  ['', { event_id: 'x'.repeat(256) }, null, true],
];

test('the order decides the id, then the caller, then chance', () => {
  for (const [order, options, expected, warned] of EVENT_IDS) {
    const warnings = [], id = eventId('F1', order, options, Date.now(), warnings);
    if (expected) assert.equal(id, expected);
    else assert.match(id, /^[0-9a-f-]{36}$/);
    assert.equal(warnings.length > 0, warned, JSON.stringify([order, options]));
  }
});

const MONEY = [
  // given, sent, number of warnings
  [{}, {}, 0],
  [{ value: null }, { value: null }, 0],
  [{ value: 49.99, currency: 'EUR' }, { value: 49.99, currency: 'EUR' }, 0],
  [{ value: 0 }, { value: 0, currency: 'USD' }, 1],
  [{ value: '49.99', currency: 'EUR' }, { value: 49.99, currency: 'EUR' }, 1],
  [{ value: ' 5 ' }, { value: 5, currency: 'USD' }, 2],
  [{ value: '49,99', currency: 'EUR' }, { value: '49,99', currency: 'EUR' }, 1],
  [{ value: '$5', currency: '' }, { value: '$5', currency: 'USD' }, 2],
];

test('numeric strings become numbers and a missing currency is the funnel\'s', () => {
  for (const [given, sent, count] of MONEY) {
    const warnings = [], props = { ...given };
    checkMoney(props, 'USD', warnings);
    assert.deepEqual(props, sent);
    assert.equal(warnings.length, count, JSON.stringify(given));
  }
});

test('a near miss of a standard name is remarked upon', () => {
  const hints = (name) => { const w = []; checkName(name, w); return w.join(); };
  for (const name of ['purchase', 'PURCHASE', 'Add to cart', 'add_to_cart', 'page view']) assert.match(hints(name), /did you mean/);
  for (const name of ['Purchase', 'AddToCart', 'Quiz finished', 'Purchased', '購入']) assert.equal(hints(name), '');
});

test('what JSON cannot say is left out, what repeats without a circle stays', () => {
  const circle = { name: 'a' }, shared = { x: 1 }, warnings = [];
  circle.self = circle;
  circle.deep = { up: circle };
  const text = toText({ circle, f() {}, big: 10n, s: Symbol('s'), one: shared, two: shared, list: [shared, shared], when: new Date(0) }, warnings);
  assert.deepEqual(JSON.parse(text), {
    circle: { name: 'a', deep: {} }, one: { x: 1 }, two: { x: 1 }, list: [{ x: 1 }, { x: 1 }], when: '1970-01-01T00:00:00.000Z',
  });
  assert.equal(warnings.length, 5);
});

test('10 KB is the most, counted in bytes', () => {
  assert.equal(tooLarge('x'.repeat(10240)), false);
  assert.equal(tooLarge('x'.repeat(10241)), true);
  assert.equal(tooLarge('é'.repeat(5121)), true);
});

test('a click id is taken verbatim, decoded once, or not at all', () => {
  const at = (query) => clickId('https://shop.example/p?' + query) || '';
  assert.equal(at('fbclid=IwAR2AbC-_x&a=1'), 'IwAR2AbC-_x');
  assert.equal(at('a=1&fbclid=A%2Bb%252F#fbclid=no'), 'A+b%2F');
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
});
