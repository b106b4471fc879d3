// Knows this browser: its anonymous visitor id and the two ids by which Meta knows it.

import { uuid } from './ids';
import type { Ids } from './public';
import { attempt } from './tools';
import { META_DAYS, cookie, keep, load } from './storage';

const VISITOR_DAYS = 390; // browsers cap cookies at 400
/// A visitor's id, or one of Meta's: index, time, what it is about, and since lately an appendix of Meta's.
const SHAPE = /^([\w-]{36}|fb(\.[^.]+){3,4})$/;

export let visitor: string | null = null;

/// Finds or makes all three, before the first event is built.
export const meetVisitor = (): void => {
  visitor = meet('_rm_vid', VISITOR_DAYS, uuid);
  meet('_fbp', META_DAYS, metaId(Math.random() * 1e9 | 0));
  meetClick();
};

/// A cookie that is there stays as it is: writing it again by script would shorten the life our server gave it.
const meet = (name: string, days: number, make: (index: number) => string): string => {
  const there = known(name);
  return there && cookie(name) == there ? there : keep(name, days, (index) => there || make(index));
};

/// The page's address may bring a click at any time, its referrer brought one before.
export const meetClick = (): void => {
  const click = clickId(location.href + ' ' + document.referrer);
  if (click && !('' + known('_fbc')).includes('.' + click)) keep('_fbc', META_DAYS, metaId(click));
};

const metaId = (last: string | number) => (index: number): string => `fb.${index}.${Date.now()}.${last}`;

/// The click id exactly as Meta wrote it. What is none of Meta's letters cannot live in the cookie's format.
export const clickId = (text: string): string | undefined => attempt(() => /[?&]fbclid=([\w-]{1,500})([&#\s]|$)/.exec(text)![1]);

/// Meta's script may have written the cookie after us.
const known = (name: string): string | null => [cookie(name), load(name)].find((value) => SHAPE.test(value)) || null;

export const ids = (): Ids => ({ visitor_id: visitor, fbc: known('_fbc'), fbp: known('_fbp') });

/// Zero days remove it.
export const forget = (name: string): void => {
  visitor = null;
  keep(name, 0, () => 0);
};
