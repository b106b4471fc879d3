// Keeps every event until the server has acknowledged it, across page loads, and never a person on the site's disk.

import { ownPrefix } from './ids';
import { emit } from './listeners';
import type { Result, Status } from './public';
import { result } from './result';
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
  server?: boolean;
  debug?: boolean;
  bot?: boolean;
  hidden?: boolean;
  test_event_code?: string;
}

/// What the server says about one event.
export interface Said {
  status?: string;
  warnings?: string[];
  error?: { code: string; message: string };
}

export interface Item {
  /// Where it is written down, if it is.
  place: string;
  e: WireEvent;
  /// The page it happened on.
  p: { url: string; referrer: string; title: string };
  /// Who is there: events of one person share the object. Absent on what an earlier page left.
  who?: Record<string, unknown>;
  /// What the script itself remarks.
  remarks?: string[];
  /// Tells the caller, who waits for it.
  answer?: ((told: Result) => void) | 0;
  /// The pixel is to be told, once the visitor has agreed.
  fire?: boolean;
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
  eachKey(prefix(), (key) => {
    const item = load(key);
    if (lifeLeft(item.e) > 0) left.push({ ...item, place: key, shared: true });
    else store(key);
  });
  items = [...left.sort((a, b) => a.e.at - b.e.at || a.e.seq - b.e.seq), ...items];
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
    const { e, p, place } = item;
    if (item.final) store(place);
    else if (inDoubt && !item.kept) {
      item.kept = true;
      if (!item.shared) store(place, { e, p });
      setTimeout(store, lifeLeft(e), place);
    }
    return !item.final && (!item.shared || load(place));
  });
};

/// How long an event may stay written down.
const lifeLeft = ({ type, at }: WireEvent): number => at - Date.now() + (type == 'track' ? EVENT_MS_MAX : PERSON_MS_MAX);

export const prefix = (): string => '_rm_q_' + ownPrefix();

/// Answers the caller once, with the first thing known: acknowledged, left with the page, or safely waiting.
export const finish = (item: Item, status: Status, said: Said = {}): void => {
  const told = result(status, item.e.event_id, [...item.remarks || [], ...said.warnings || []], said.error);
  if (item.answer) item.answer(told);
  item.answer = 0;
  if (status != 'consent') emit(status == 'ok' ? 'delivered' : status, told);
};
