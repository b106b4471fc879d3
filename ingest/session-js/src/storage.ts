// One small store under names: cookies and storage where page and visitor allow it, and this page's memory where not.

import { impersonal } from './props';
import { config } from './settings';
import { attempt } from './tools';

/// What may be written: 0 nothing, 1 storage, 2 cookies too.
let level = 0, domain: string | undefined;

/// What this page load knows where nothing may be written. What is written is not here: other tabs change it.
const memory: Record<string, any> = {};

/// Nothing is written before the visitor lets us. The funnel may keep all in memory.
export const permit = (yes?: unknown): void => {
  level = yes ? ['local', 'cookie'].indexOf(config.storage!) + 1 : 0;
};

export const cookie = (name: string): string | undefined =>
  attempt(() => document.cookie.match(`(^|; )${name}=([^;]+)`)![2]); // a sandboxed frame has none

const put = (name: string, value: string | number, days: number, host: string): void => {
  attempt(() => {
    if (level > 1) document.cookie = `${name}=${value};path=/;max-age=${days * 86400};samesite=lax` +
      (host && ';domain=' + host) + (location.protocol == 'https:' ? ';secure' : '');
  });
};

/// The widest domain on which the browser lets us write; '' means this host only (localhost).
/// One dot less than its labels is also the index Meta wants in `_fbp`.
export const widestDomain = (): string => {
  if (domain == null) {
    const labels = location.hostname.split('.');
    let host = labels.pop()!;
    domain = config.cookieDomain || config.cookie_domain || '';
    while (labels[0] && !domain) {
      host = labels.pop() + '.' + host;
      put('_rm_t', 1, 1, host);
      if (cookie('_rm_t')) domain = host;
      put('_rm_t', 0, 0, host);
    }
  }
  return domain;
};

/// Zero days removes it.
export const writeCookie = (name: string, value: string | number, days: number): void => put(name, value, days, widestDomain());

/// The tab's own storage, or the site's. Either may throw on mere access.
const area = (tab?: unknown): Storage => tab ? sessionStorage : localStorage;

/// A word as it stands is from before this script: who said no stays out.
export const load = (key: string, tab?: unknown): any => {
  const text = attempt(() => area(tab)[key]);
  return attempt(() => JSON.parse(text!)) || text || memory[key];
};

/// Nothing removes the key. On the site's own disk there is no person.
export const store = (key: string, value?: unknown, tab?: unknown): void => {
  memory[key] = attempt(() => level && (value ? area(tab)[key] = JSON.stringify(value, tab ? undefined : impersonal) : delete area(tab)[key])) ? 0 : value;
};

/// All that stands under keys with this beginning, in the tab and on the site. What nobody can read is passed over.
export const eachKey = (prefix: string, visit: (key: string, tab: boolean) => void): void => {
  [true, false].forEach((tab) => attempt(() => Object.keys(area(tab))
    .forEach((key) => key.startsWith(prefix) && attempt(() => visit(key, tab)))));
};
