// Knows this browser: its anonymous visitor id and the two ids by which Meta knows it.

import { uuid } from './ids';
import type { Ids } from './public';
import { cookie, load, store, widestDomain, writeCookie } from './storage';
import { attempt } from './tools';

const VISITOR_DAYS = 390; // browsers cap cookies at 400
const META_DAYS = 90;
const VISITOR = /^[\w-]{8,64}$/;
const META = /^fb(\.[^.]+){3,4}$/; // index, time, what it is about, and since lately an appendix of Meta's

export let visitor: string | null = null;

/// Finds or makes all three, before the first event is built.
export const meetVisitor = (): void => {
  visitor = meet('_rm_vid', VISITOR, VISITOR_DAYS, uuid);
  meet('_fbp', META, META_DAYS, () => metaId(Math.random() * 2 ** 31 | 0));
  meetClick();
};

/// A cookie that is there stays as it is: writing it again by script would shorten the life our server gave it.
const meet = (name: string, shape: RegExp, days: number, make: () => string): string => {
  const value = known(name, shape) || make();
  if (cookie(name) != value) keep(name, value, days);
  return value;
};

/// The page's address may bring a click at any time, its referrer brought one before.
export const meetClick = (): void => {
  const click = clickId(location.href + ' ' + document.referrer);
  if (click && !('' + known('_fbc')).includes('.' + click)) keep('_fbc', metaId(click), META_DAYS);
};

const metaId = (last: string | number): string => `fb.${widestDomain().split('.').length - 1}.${Date.now()}.${last}`;

/// Storage is the visitor's second memory, and Meta's ids' only where cookies do not work.
const keep = (name: string, value: string, days: number): void => {
  writeCookie(name, value, days);
  if (days > META_DAYS || cookie(name) != value) store(name, value);
};

/// The click id exactly as Meta wrote it, decoded once. One with a dot cannot live in the cookie's format.
export const clickId = (text: string): string | undefined => attempt(() =>
  /^[^.;,\s]{1,500}$/.exec(decodeURIComponent(/[?&]fbclid=([^&#\s]*)/.exec(text)![1]))![0]); // none, or broken

/// Meta's script may have written the cookie after us.
const known = (name: string, shape = META): string | null => [cookie(name), load(name)].find((value) => value && shape.test(value)) || null;

export const ids = (): Ids => ({ visitor_id: visitor, fbp: known('_fbp'), fbc: known('_fbc') });

export const forget = (name: string): void => {
  visitor = null;
  writeCookie(name, 0, 0);
  store(name);
};
