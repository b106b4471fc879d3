// Tells the page what happens, and a developer who looks on. A listener that throws harms nobody else.

import { config, registry } from './settings';
import { store } from './storage';
import { loadScript } from './tools';

type Listener = (detail: any) => unknown;

let listeners: [string, Listener][] = [];

/// While a developer looks on, all that happens is noted, for the file that words it.
export let notes: unknown[] | false | undefined;
export const on = (...entry: [string, Listener]): (() => void) => {
  listeners.push(entry);
  return () => {
    listeners = listeners.filter((other) => other != entry);
  };
};

/// Each listener in turn. Returns the detail; `before_send` may put another in its place, and null stays null.
export const emit = (name: string, detail: any): any => {
  if (notes) notes.push([name, detail]);
  listeners.forEach(([its, callback]) => {
    const answer = its == name && detail ? guarded(callback, detail) : undefined;
    if (name == 'before_send' && answer !== undefined) detail = answer;
  });
  return detail;
};

export const guarded = (callback: Listener, detail: unknown): unknown => {
  try {
    return callback(detail);
  } catch (e) {
    console.error(e);
  }
};

export const debug = (state?: unknown): void => {
  notes = state !== false && registry[''];
  store('_rm_debug', !!notes);
  if (notes) loadScript(config.api + '.debug.js');
};
