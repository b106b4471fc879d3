// Listeners, without a page.

import assert from 'node:assert/strict';
import { test, vi } from 'vitest';
import { emit, on } from '../src/listeners';

test('each listener hears in turn, may change the detail, and null is final', () => {
  const heard: unknown[] = [];
  const off = on('before_send', (e) => ({ ...e, first: 1 }));
  on('before_send', (e) => void heard.push(e));
  assert.deepEqual(emit('before_send', { name: 'Lead' }), { name: 'Lead', first: 1 });
  assert.deepEqual(heard, [{ name: 'Lead', first: 1 }]);
  off();
  off();
  on('before_send', () => null);
  on('before_send', () => assert.fail('it was dropped'));
  assert.equal(emit('before_send', { name: 'Lead' }), null);
  assert.equal(heard.length, 2);
});

test('a listener that throws is reported and harms nobody; any name is only a name', () => {
  const error = vi.spyOn(console, 'error').mockImplementation(() => {});
  let heard = 0;
  for (const name of ['constructor', '__proto__', 'toString']) {
    on(name, () => { throw new Error('listener') });
    on(name, () => void heard++);
    emit(name, 1);
  }
  assert.deepEqual([heard, error.mock.calls.length], [3, 3]);
  error.mockRestore();
});
