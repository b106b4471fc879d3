// Brings events to the server: in order, one request at a time, again under the same ids until it has acknowledged.

import { emit } from './listeners';
import { finish, isOpen, items, prefix, save, type Item, type Said } from './queue';
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

let busy: boolean, planned: unknown, gone: boolean, fails = 0, silence = 0;

/// A policy that forbids our host, or only reports it: then we go on. What a forbidden beacon carries stays in the queue
/// like what any other does.
export const watchPolicy = (): void => {
  addEventListener('securitypolicyviolation', ({ blockedURI }) => {
    if (blockedURI && config.api.startsWith(blockedURI)) emit('error', { code: 'csp', message: blockedURI });
  });
};

/// The page goes, or comes back, or the network does.
export const turn = (type: string): void => {
  gone = type == 'pagehide' || gone && type != 'pageshow';
  away() ? leave() : wake();
};

const away = (): boolean => gone || document.hidden;

/// What is so marked is in a request or a beacon that outlives the page: leaving it sends none of that again.
const mark = (list: Item[], beacon: boolean): unknown => list.map((item) => item.beacon = beacon);

/// Nothing is sent before the page's turn is over, so its events travel together; only a page that goes away has no other
/// turn. A caller waits five seconds at most: then the event is safe here. One timer for all events of a turn, for a page
/// may make hundreds.
export const plan = (): void => {
  gone ? leave() : pump();
  planned = planned || setTimeout(() => {
    planned = 0;
    setTimeout(settle, ANSWER_MS_MAX, items.slice());
  });
};

const settle = (list: Item[]): void => {
  save(isOpen);
  list.forEach((item) => item.answer && finish(item, gone && item.beacon ? 'beacon' : 'queued'));
};

/// Tries again now what seemed hopeless; a pause the server asked for stays.
export const wake = (): void => {
  silence = 0;
  pump();
};

/// What left by beacon waits for its acknowledgement until somebody looks at the page again.
const ready = (): Item[] => items.filter((item) => isOpen && !(item.beacon && away()));

/// Tabs share the queue, so only one of them sends at a time, where the browser can see to that. A suspended tab may
/// hold the lock for long; a frame without an origin may not ask for it.
const pump = async (): Promise<void> => {
  if (gone || busy || silence >= SILENCE_MAX || !ready()[0]) return;
  busy = true;
  await sleep(await (async () => navigator.locks.request(prefix(), { signal: within(2 * TIMEOUT_MS) }, send))().catch(send).catch(pause));
  busy = false;
  pump();
};

/// Gives up when it has lasted that long. An older browser has its own limit for requests, and none for locks.
const within = (ms: number): AbortSignal | undefined => attempt(() => AbortSignal.timeout(ms));

/// What another tab has just written takes a moment to reach the storage of this one.
const send = async (): Promise<any> => {
  if (items[0] && items[0].shared) await sleep(PROPAGATION_MS);
  save();
  return gone || cut(ready(), post);
};

/// Hands `take` as many events from the front as make one request; in halves until it accepts. Returns its answer.
const cut = (list: Item[], take: (body: string, list: Item[]) => unknown): unknown => {
  let taken;
  for (let n = BATCH_EVENTS_MAX; n && list[0] && !taken; n >>= 1) {
    const part = list.slice(0, n), body = render(part);
    if (part.every((item) => item.p.url == part[0].p.url && item.who == part[0].who) && (n < 2 || bytes(body) <= BATCH_BYTES_MAX)) taken = take(body, part);
  }
  return taken;
};

/// Says how long to wait before the next request.
const post = async (body: string, list: Item[]): Promise<number> => {
  let results: Said[] = [], refused: Said | undefined, after: unknown;
  // Other scripts share the browser's keepalive budget; when it was refused, the next attempt goes without.
  const keepalive = !(fails & 1);
  mark(list, keepalive);
  try {
    // A plain string is text/plain: no preflight.
    const response = await fetch(config.api, { signal: within(TIMEOUT_MS), method: 'POST', keepalive, credentials: config.credentials, body });
    const text = await response.text(), { status } = response;
    silence = 0;
    after = response.headers.get('retry-after');
    if (status < 300) results = JSON.parse(text).results || [];
    else if (/^4(?!08|25|29)/.test(status as any)) refused = { status: 'invalid', error: { code: 'http_' + status, message: text } };
  } catch {
    silence++; // or an answer cut on its way: ask again
  }
  list.forEach((item, i) => {
    const said: Said = { ...refused, ...results[i] }; // nothing where there was no answer
    item.beacon = false;
    item.final = ({ ok: 'ok', invalid: 'rejected' } as const)[said.status as 'ok'];
    if (item.final) finish(item, item.final, said);
  });
  const ms = list.every((item) => item.final) ? fails = 0 : pause(after);
  save(fails);
  return ms;
};

const pause = (after?: unknown): number => {
  const ms = Math.min(RETRY_AFTER_MS_MAX, 1000 * (after as number)) || Math.min(BACKOFF_MS_MAX, 1000 * 2 ** fails) * Math.random();
  fails++;
  emit('error', { code: 'retry', message: '' + ms });
  return ms;
};

/// The page may not come back. Beacons are not acknowledged, so what they carry stays in the queue as well.
const leave = (): void => {
  save(isOpen);
  while (cut(ready(), beacon));
  if (gone) settle(items);
};

const beacon = (body: string, list: Item[]): unknown => attempt(() => navigator.sendBeacon(config.api, body)) && mark(list, true);

/// A purchase need not wait for the identify just before it: every batch of this page says who is there.
const render = (list: Item[]): string => JSON.stringify({
  sent_at: Date.now(),
  fid: config.fid,
  events: list.map((item) => item.e),
  page: list[0].p,
  v: 1,
  person: list[0].who,
  attribution: load('_rm_attr'),
  consent: load('_rm_consent'),
  ids: ids(),
});
