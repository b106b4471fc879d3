// Keeps every event until the server has acknowledged it, across page loads, and never a person on the site's disk.

import { emit } from './listeners';
import type { Result, Status } from './public';
import { result } from './result';
import { config } from './settings';
import { eachKey, load, store } from './storage';

/// An event as it is sent.
export interface WireEvent {
  event_id: string;
  visitor_id?: string | null;
  type: 'track' | 'identify';
  name: string;
  props: Record<string, unknown>;
  at: number;
  seq: number;
  server?: false;
  debug?: true;
  bot?: true;
  hidden?: true;
  test_event_code?: string;
}

/// What the server says about one event.
export interface Said {
  status?: string;
  warnings?: string[];
  error?: { code: string; message: string };
}

export interface Item {
  e: WireEvent;
  /// The page it happened on.
  p: { url: string; referrer: string; title: string };
  /// Who is there: events of one person share the object. Absent on what an earlier page left.
  who?: Record<string, unknown>;
  /// What the script itself remarks.
  remarks?: string[];
  /// Tells the caller, who waits for it.
  answer?: ((told: Result) => void) | 0;
  /// Tells the pixel, once the visitor has agreed.
  fire?: () => void;
  /// It was found on the disk: another tab may deliver it first.
  shared?: boolean;
  /// It is on the disk.
  kept?: boolean;
  /// It is on its way with something that outlives the page, and not acknowledged.
  beacon?: boolean;
  /// The server has said its last word.
  final?: 'ok' | 'rejected';
}

const EVENT_MS_MAX = 7 * 864e5; // the server knows an id for at least as long
const PERSON_MS_MAX = 18e5;

/// What waits, oldest first. Closed until the visitor agrees, it is kept in memory only.
export let items: Item[] = [], isOpen: boolean;

/// Takes up what earlier pages could not deliver.
export const openQueue = (): void => {
  const left: Item[] = [];
  isOpen = true;
  eachKey(prefix(), (key, tab) => {
    const item = load(key, tab);
    if (Date.now() - item.e.at < (tab ? PERSON_MS_MAX : EVENT_MS_MAX)) left.push(Object.assign(item, { shared: true }));
    else store(key, 0, tab);
  });
  items = left.sort((a, b) => a.e.at - b.e.at || a.e.seq - b.e.seq).concat(items);
};

export const closeQueue = (): void => {
  isOpen = false;
  items.forEach((item) => finish(item, 'consent'));
  items = [];
};

/// Each event has a key of its own, so that tabs never overwrite each other's. Only what was acknowledged leaves; what we
/// took over but is gone was delivered by another tab. What this page may not be able to deliver is written down,
/// an unsent identify only for the tab, and for thirty minutes.
export const save = (inDoubt?: unknown): void => {
  items = items.filter((item) => {
    // A Lead and a Purchase of one order share an id.
    const { e, p } = item, key = prefix() + e.name + e.event_id, tab = e.type != 'track';
    if (item.final) store(key, 0, tab);
    else if (inDoubt && !item.kept) {
      item.kept = true;
      if (!item.shared) store(key, { e, p }, tab);
      if (tab) setTimeout(store, e.at + PERSON_MS_MAX - Date.now(), key, 0, tab);
    }
    return !item.final && (!item.shared || load(key, tab));
  });
};

const prefix = (): string => `_rm_q_${config.fid}:`;

/// Answers the caller once, with the first thing known: acknowledged, left with the page, or safely waiting.
export const finish = (item: Item, status: Status, said: Said = {}): void => {
  const { answer } = item, told = result(status, item.e.event_id, (item.remarks || []).concat(said.warnings || []), said.error);
  if (!answer && status == 'queued') return;
  if (answer) answer(told);
  item.answer = 0;
  if (status != 'consent') emit(status == 'ok' ? 'delivered' : status, told);
};
