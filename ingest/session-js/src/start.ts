// The public face: takes over the snippet's stub in place, replays its calls, and answers each call with a Promise.

import { seeAddress } from './attribution';
import { eventId, orderId } from './ids';
import { debug, emit, guarded, notes, on } from './listeners';
import { firePixels, initPixels, introduce, own, tell } from './pixel';
import { copy, withoutEmails } from './props';
import type { Configuration, Result, Status, TrackOptions } from './public';
import { closeQueue, isOpen, items, openQueue, prefix, type Item, type WireEvent } from './queue';
import { refusal, result } from './result';
import { ask, config, isOff, readTag, registry } from './settings';
import { eachKey, load, permit, store } from './storage';
import { plan, turn, wake, watchPolicy } from './transport';
import { attempt, bytes, loadScript, sleep, unless } from './tools';
import { forget, ids, meetClick, meetVisitor, visitor } from './visitor';

type Props = Record<string, unknown>;
/// When and where a call was made, before the script came.
interface Call { t?: number; u?: string }
/// A call that waits: `[method, arguments]`, or with that and who waits for its result. Or a whole stub.
type Entry = [string, ArrayLike<any>, Call?, ((answer: unknown) => void)?];
/// What a snippet leaves: its queue, and methods that fill it.
type Stub = { _q?: Entry[]; loaded?: boolean; [method: string]: unknown };

/// Whether the configuration may be elsewhere: in the file that is the same for all funnels, and in the npm module.
declare const ASKS: boolean;

declare global {
  interface Document { prerendering?: boolean }
  interface Window { navigation?: EventTarget }
  const navigation: EventTarget;
  interface Navigator { globalPrivacyControl?: boolean }
}

const ITEMS_MAX = 1000; // a page that makes events faster than any network takes them
const PENDING_MAX = 200; // in memory, before the visitor has agreed
const PAYLOAD_BYTES_MAX = 10240; // as the webhook's: both doors agree
const FLUSH_MS_MAX = 5000;
const FLUSH_STEP_MS = 20;
const LOOK_MS = 100;

let rm: Stub, consent: string | undefined, viewed: boolean;
/// The call that is replayed just now.
let call: Call = {};
let person: Props = {}, seq = 0;

const track = (name: string, props?: Props | null, options?: TrackOptions | null) => accept(name, props, options || {});

const api: Record<string, (...args: any[]) => any> = {
  track,
  on,
  identify: (email: any, traits?: Props) => accept('identify', attempt(() => typeof email == 'string' ? { ...traits, email } : email), 0 as TrackOptions),
  page: (props?: Props, options?: TrackOptions) => track('PageView', props, options),
  consent: async (state: unknown) => {
    const yes = ['grant', true].includes(state as string);
    if (!yes && !['revoke', false].includes(state as string)) return refusal('invalid_consent');
    consent = yes ? 'granted' : 'denied';
    permit(true);
    store('_rm_consent', consent);
    if (own) tell('consent', yes ? 'grant' : 'revoke');
    if (yes) open();
    else {
      person = {};
      closeQueue();
      eachKey('_rm_q_', store);
      ['_rm_attr', '_rm_vid', '_fbc', '_rm_o', '_fbp'].forEach(forget);
      permit();
    }
    emit('consent', consent);
    return result('ok');
  },
  reset: async () => {
    person = {};
    if (isOpen) {
      forget('_rm_vid');
      meetVisitor();
    }
    return result('ok');
  },
  flush: async (ms = FLUSH_MS_MAX) => {
    wake();
    for (ms += Date.now(); isOpen && items[0] && Date.now() < ms;) await sleep(FLUSH_STEP_MS);
    return result(items[0] ? 'queued' : 'ok');
  },
  ready: async (callback?: (rm: unknown) => void) => {
    if (callback) guarded(callback, rm);
    return rm;
  },
  ids,
  debug,
  /// Another funnel on this page: the one that is there, or one that collects calls until its script is.
  instance: (fid: string) => {
    if (!registry[fid]) {
      collect(registry[fid] = {});
      loadScript(config.api + '.js?fid=' + fid);
    }
    return registry[fid];
  },
};

export const start = (given: Partial<Configuration> | 0): void => {
  readTag(given);
  if (ASKS && !config.fid) return;
  meet();
  if (ASKS && !config.pixels && !rm.loaded) {
    collect(rm);
    ask().then(begin);
  } else begin();
};

const begin = (): void => {
  if (ASKS) meet(); // a second copy of the snippet may have come meanwhile
  seeAddress(document.referrer);
  if (config.debug || /rm_debug=1/.test(location as any) || load('_rm_debug')) debug();
  // A page that is only prerendered may never be seen. The same script again, after a second copy of the snippet: one
  // state, one more stub to take over.
  unless(document.prerendering, 'prerenderingchange', () => {
    consent = load('_rm_consent');
    watchPolicy();
    ['online', 'visibilitychange', 'pageshow', 'pagehide'].forEach((type) => addEventListener(type, () => {
      const decided = load('_rm_consent') || consent; // perhaps in another tab, or while this page was in the back/forward cache
      if (decided != consent) api.consent(decided == 'granted');
      turn(type);
    }));
    adopt(rm);
    rm._q!.push(window[config.namespace as any] as any);
  });
};

/// Our object, which is the snippet's stub if that is not another funnel's.
const meet = (): void => {
  const name = config.namespace!, page = window as unknown as Record<string, Stub>;
  const there = page[name] = page[name] || {};
  rm = registry[config.fid] = registry[config.fid] || (there.loaded ? {} : there);
};

/// Keeps the very object and array the page may hold: references taken before we came go on working.
const adopt = (object: Stub): void => {
  if (object.loaded) return;
  const queue = object._q = object._q || [], calls = queue.splice(0);
  queue.push = replay as any;
  Object.assign(object, api, { version: '1.0.0', loaded: true });
  // Consent speaks first, then the page view, then everything in the order of the calls.
  const later = calls.filter((entry) => entry[0] != 'consent' || replay(entry));
  open();
  later.forEach(replay);
  emit('ready', object);
};

const replay = (entry: any): void => {
  attempt(() => { // it may have a shape we never promised
    if (entry._q) return adopt(entry);
    const [method, args = [], made = {}, answer] = entry;
    call = made;
    const said = api[method] ? api[method](...args) : refusal('unknown_method');
    if (answer) answer(said);
  });
  call = {};
};

/// Gives an object every method, each of which leaves its call in the object's queue.
const collect = (object: Stub): void => {
  const queue = object._q = object._q || [];
  Object.keys(api).forEach((method) => {
    object[method] = (...args: unknown[]) => new Promise((answer) => queue.push([method, args, { t: Date.now(), u: location.href }, answer]));
  });
};

/// Why nothing may be done at all. Privacy control of the browser counts as a revocation, unless the visitor said yes
/// to this very site.
const barred = (): Status | 0 => !window.fetch ? 'failed' : config.unknown ? 'unknown_funnel' :
  (consent ? consent != 'granted' : navigator.globalPrivacyControl || config.dnt && navigator.doNotTrack == '1') ? 'consent' : 0;

/// Once, as soon as it may: ids, earlier pages' events, pixels, the page view.
const open = (): void => {
  if (barred()) return;
  if (!isOpen && (consent || config.consent != 'pending')) {
    permit(true);
    meetVisitor();
    openQueue();
    initPixels();
    introduce(person);
    items.forEach(launch);
    wake();
  }
  if (viewed || isOff(config.pageview)) return;
  viewed = true;
  let last: string;
  // What follows a # is no other page.
  const look = (_?: unknown) => {
    const known = last;
    if (last == (last = location.href.split('#')[0])) return;
    seeAddress(known ? '' : document.referrer);
    if (isOpen) meetClick();
    track('PageView');
  };
  unless(document.hidden && config.pageview == 'visible', 'visibilitychange', () => {
    look();
    // The Navigation API tells; in older browsers we look now and then, and leave the page's own methods alone.
    if (!isOff(config.spa)) window.navigation ? navigation.addEventListener('currententrychange', look) : setInterval(look, LOOK_MS);
  });
  addEventListener('pageshow', (event) => {
    if (event.persisted) look(last = '#'); // a view whatever the address, and its referrer is no new touch
  });
};

/// One logical event, fixed at the moment of the call: everything that happens to it later is only delivery.
/// An identify has no options.
const accept = async (name: string, given: unknown, options: TrackOptions): Promise<Result> => {
  const warnings: string[] = [];
  try {
    if (name !== '' + name || !/^.{1,50}$/.test(name)) return refusal('invalid_name');
    const props = copy(given || {}, warnings, !options && ((_, value) => /^(null)?$/.test(value) ? undefined : value));
    if (!props || !options && !Object.keys(props)[0]) return refusal('invalid_properties');
    const status = barred(), { order_id } = props, id = eventId(orderId(/^(Purchase|Lead)$/.test(name) && order_id), options.event_id || options.eventID, warnings);
    const e: WireEvent = {
      ...copy(options, warnings),
      bot: navigator.webdriver, // told, not judged: the server decides what it is worth
      debug: !!notes,
      props,
      type: options ? 'track' : 'identify',
      visitor_id: visitor,
      hidden: document.hidden,
      event_id: id,
      name,
      at: +(options.timestamp || call.t!) || Date.now(),
      seq: ++seq,
    };
    emit('call', [e, status]);
    const allowed = !status && emit('before_send', { ...e });
    if (!allowed) return result(status || 'dropped', id, warnings);
    e.props = copy({ ...allowed.props || props, order_id }, warnings); // the id is fixed, and so what made it
    if (bytes(JSON.stringify({ ...(options ? 0 : person), ...e.props })) > PAYLOAD_BYTES_MAX) return refusal('payload_too_large');
    if (!options) introduce(Object.assign(person, e.props));
    const item: Item = {
      remarks: warnings,
      place: prefix() + e.type + name + id, // a Lead and a Purchase of one order share an id
      who: person,
      fire: (options && options.pixel !== false) as boolean,
      e,
      p: { url: withoutEmails(call.u || location.href), referrer: withoutEmails(document.referrer), title: document.title },
    };
    if (items.length >= (isOpen ? ITEMS_MAX : PENDING_MAX)) return emit('dropped', result('dropped', id, warnings));
    items.push(item);
    if (isOpen) launch(item);
    return new Promise((answer) => {
      item.answer = answer;
      plan();
    });
  } catch {
    return refusal('invalid_properties'); // a getter of the page threw
  }
};

/// From here on it belongs to a visitor, and the pixel knows it.
const launch = ({ e, fire }: Item): void => {
  e.visitor_id = e.visitor_id || visitor;
  if (fire) firePixels(e);
};
