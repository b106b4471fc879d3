// One small store under names: cookies and storage where page and visitor allow it, and this page's memory where not.

import { impersonal } from './props';
import { config } from './settings';
import { attempt } from './tools';

export const META_DAYS = 90;

/// What may be written: nothing, storage (1), cookies too (2).
let level: number | undefined;

/// What this page load knows where nothing may be written. What is written is not here: other tabs change it.
const memory: Record<string, any> = {};

/// Nothing is written before the visitor lets us; then what was noted until now is. The funnel may keep all in memory.
export const permit = (yes?: unknown): void => {
  level = yes && ({ local: 1, cookie: 2 } as any)[config.storage!];
  Object.keys(memory).forEach((key) => memory[key] && store(key, memory[key]));
};

/// An identify, or whether a developer looks on, is for this tab only. What follows further on is somebody's id.
const isTab = (key: string): boolean => /^_rm_(d|[^:]*:i)/.test(key);

/// The tab's own storage, or the site's. Either may throw on mere access.
const area = (key: string): Storage => isTab(key) ? sessionStorage : localStorage;

export const load = (key: string): any => attempt(() => JSON.parse(area(key)[key])) || memory[key];

/// Nothing removes the key. On the site's own disk there is no person, also not in an id.
export const store = (key: string, value?: unknown): void => {
  memory[key] = attempt(() => level && impersonal('', key) && (value ? area(key)[key] = JSON.stringify(value, (!isTab(key) && impersonal) as typeof impersonal) : delete area(key)[key])) ? 0 : value;
};

/// All keys with this beginning, in the tab and on the site. What nobody can read is passed over.
export const eachKey = (prefix: string, visit: (key: string) => void): void => {
  attempt(() => Object.keys({ ...sessionStorage, ...localStorage }).forEach((key) => key.startsWith(prefix) && attempt(() => visit(key))));
};

export const cookie = (name: string): string | undefined =>
  attempt(() => document.cookie.match(`\\b${name}=([^;]+)`)![1]); // a sandboxed frame has none

/// Keeps an id in a cookie, on the widest domain that the browser accepts, and says what it is; zero days remove it.
/// `make` is told the index that Meta wants in its ids: how many dots the domain has. Storage is the visitor's second
/// memory, and Meta's ids' only where cookies do not work. What is removed is found on no domain, so all are gone through,
/// and the storage is emptied too.
export const keep = <T>(name: string, days: number, make: (dots: number) => T): T => {
  const labels = location.hostname.split('.');
  let value: T;
  if (!labels.some((_, n) => {
    const domain = config.cookieDomain || labels.slice(-2 - n).join('.');
    value = make(domain.split('.').length - 1);
    attempt(() => {
      if (level! > 1) document.cookie = `${name}=${value};path=/;max-age=${days * 86400};samesite=lax;domain=${domain}${location.protocol == 'https:' ? ';secure' : ''}`;
    });
    return cookie(name) == value as any;
  }) || days > META_DAYS) store(name, value!);
  return value!;
};
