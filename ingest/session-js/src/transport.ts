// Brings events to the server: in order, one request at a time, again under the same ids until it has acknowledged.

import { attribution } from './attribution';
import { emit } from './listeners';
import { finish, isOpen, items, save, type Item, type Said } from './queue';
import { config } from './settings';
import { load } from './storage';
import { attempt, bytes, sleep } from './tools';
import { ids } from './visitor';

const BATCH_EVENTS_MAX = 20;
const BATCH_BYTES_MAX = 30720; // half of what a browser lets leave with a page that goes away
const TIMEOUT_MS = 10000;
const ANSWER_MS_MAX = 5000;
const BACKOFF_MS_MAX = 60000;
const RETRY_AFTER_MS_MAX = 300000;
const PROPAGATION_MS = 100;
const SILENCE_MAX = 3; // that often no answer at all: somebody blocks us

let busy: boolean, planned: unknown, gone: boolean, blocked: boolean, fails = 0, silence = 0;

/// Nothing is sent before the queue is open.
export const openTransport = (): void => {
  ['pagehide', 'pageshow', 'online', 'visibilitychange'].forEach((type) => addEventListener(type, turn, true));
  // A policy that forbids our host, and does not only report: a beacon would say yes and carry nothing.
  addEventListener('securitypolicyviolation', ({ blockedURI, effectiveDirective, disposition }) => {
    if (disposition == 'report' || !blockedURI || !config.api.startsWith(blockedURI)) return;
    blocked = true;
    mark(items, false);
    complain('csp', effectiveDirective);
  }, true);
};

/// The page goes, or comes back, or the network does.
const turn = ({ type }: Event): void => {
  if (/page/.test(type)) gone = type == 'pagehide';
  if (!isOpen) return;
  gone || document.hidden ? leave() : wake();
};

const complain = (code: string, message: string): void => emit('error', { code, message });

const mark = (list: Item[], beacon: boolean): unknown => list.map((item) => item.beacon = beacon);

/// Events of one turn travel together, in a turn of their own: the page's is not made longer. A page that goes away
/// has no other turn.
export const plan = (): void => {
  if (gone && isOpen) leave();
  else planned = planned || (document.hidden ? Promise.resolve().then(begin) : setTimeout(begin));
};

const begin = (): void => {
  planned = 0;
  setTimeout(settle, ANSWER_MS_MAX, items.slice());
  if (isOpen) pump();
};

/// Their callers have waited long enough: the events are safe here.
const settle = (list: Item[]): void => {
  if (isOpen) save(true);
  list.forEach((item) => finish(item, 'queued'));
};

/// Tries again now what seemed hopeless; a pause the server asked for stays.
export const wake = (): void => {
  silence = 0;
  pump();
};

/// What left by beacon waits for its acknowledgement until somebody looks at the page again.
const ready = (): Item[] => items.filter((item) => !(item.beacon && document.hidden));

/// Tabs share the queue, so only one of them sends at a time, where the browser can see to that. A suspended tab may
/// hold the lock for ever; a frame without an origin may not ask for it.
const pump = async (): Promise<void> => {
  let begun: Promise<number> | undefined;
  const now = () => begun = begun || send();
  if (gone) return leave();
  if (busy || blocked || silence >= SILENCE_MAX || !ready()[0]) return;
  busy = true;
  await sleep(await Promise.race([
    sleep(2 * TIMEOUT_MS).then(now),
    (async () => navigator.locks.request('_rm_q_' + config.fid, now))().catch(now),
  ]).catch(pause));
  busy = false;
  pump();
};

/// What another tab has just written takes a moment to reach the storage of this one.
const send = async (): Promise<number> => {
  let going: Promise<number> | 0 = 0;
  if (items.some((item) => item.shared)) await sleep(PROPAGATION_MS);
  save();
  if (!gone) cut(ready(), (body, list) => going = post(body, list));
  return going;
};

/// Hands `take` as many events from the front as make one request; in halves until it accepts. Says how many went.
const cut = (list: Item[], take: (body: string, list: Item[]) => unknown): number => {
  let n = 0;
  while (n < BATCH_EVENTS_MAX && list[n] && list[n].p.url == list[0].p.url && list[n].who == list[0].who) n++;
  for (; n; n >>= 1) {
    const part = list.slice(0, n), body = render(part);
    if ((n < 2 || bytes(body) <= BATCH_BYTES_MAX) && take(body, part)) break;
  }
  return n;
};

/// Says how long to wait before the next request.
const post = async (body: string, list: Item[]): Promise<number> => {
  let results: Said[] = [], after: unknown;
  // Other scripts share the browser's keepalive budget; when it was refused, the next attempt goes without.
  const keepalive = !(fails & 1);
  mark(list, keepalive);
  try {
    // A plain string is text/plain: no preflight.
    const late = sleep(TIMEOUT_MS) as Promise<any>;
    const response: Response = await Promise.race([fetch(config.api, { method: 'POST', body, keepalive, credentials: config.credentials }), late]);
    const text: string = await Promise.race([response.text(), late]), { status } = response;
    silence = 0;
    after = response.headers.get('retry-after');
    if (status < 300) results = JSON.parse(text).results || [];
    else if (status < 500 && !/408|425|429/.test('' + status))
      results = list.map(() => ({ status: 'invalid', error: { code: 'http_' + status, message: text } }));
  } catch (e) {
    silence++; // or an answer cut on its way: ask again
  }
  list.forEach((item, i) => {
    const said = results[i] || {}; // nothing where there was no answer
    item.beacon = false;
    item.final = ({ ok: 'ok', invalid: 'rejected' } as const)[said.status as 'ok'];
    if (item.final) finish(item, item.final, said);
  });
  const ms = list.every((item) => item.final) ? fails = 0 : pause(after);
  save(fails);
  return ms;
};

const pause = (after?: unknown): number => {
  const ms = (after as number) > 0 ? Math.min(RETRY_AFTER_MS_MAX, 1000 * (after as number)) : Math.random() * Math.min(BACKOFF_MS_MAX, 1000 * 2 ** fails);
  fails++;
  complain('retry', ms + ' ms');
  return ms;
};

/// The page may not come back. Beacons are not acknowledged, so what they carry stays in the queue as well.
const leave = (): void => {
  let list, n;
  save(true);
  list = items.filter((item) => !item.beacon);
  while ((n = cut(list, beacon))) list = list.slice(n);
  if (gone) items.forEach((item) => finish(item, item.beacon ? 'beacon' : 'queued'));
};

const beacon = (body: string, list: Item[]): unknown => attempt(() => !blocked && navigator.sendBeacon(config.api, body)) && mark(list, true);

/// A purchase need not wait for the identify just before it: every batch of this page says who is there.
const render = (list: Item[]): string => JSON.stringify({
  v: 1,
  fid: config.fid,
  sent_at: Date.now(),
  page: list[0].p,
  ids: ids(),
  consent: load('_rm_consent'),
  person: list[0].who || {},
  attribution: attribution(),
  events: list.map((item) => item.e),
});
