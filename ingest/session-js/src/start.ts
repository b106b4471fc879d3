// The public face: takes over the snippet's stub in place, replays its calls, and answers each call with a Promise.

import { seeAddress } from './attribution';
import { eventId, orderId } from './ids';
import { debug, emit, guarded, notes, on } from './listeners';
import { watchPages } from './pages';
import { firePixels, initPixels, introduce, own, tell } from './pixel';
import { toText, withoutEmails } from './props';
import type { Configuration, Result, Status, TrackOptions } from './public';
import { closeQueue, finish, isOpen, items, openQueue, type Item, type WireEvent } from './queue';
import { refusal, result } from './result';
import { ask, config, isOff, readTag, registry } from './settings';
import { eachKey, load, permit, store } from './storage';
import { openTransport, plan, wake } from './transport';
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
  interface Navigator { globalPrivacyControl?: boolean }
}

const ITEMS_MAX = 1000; // a page that makes events faster than any network takes them
const PENDING_MAX = 200; // in memory, before the visitor has agreed
const PAYLOAD_BYTES_MAX = 10240; // as the webhook's: both doors agree
const FLUSH_MS_MAX = 5000;
const FLUSH_STEP_MS = 20;

let rm: Stub, consent: string | undefined, viewed: boolean;
/// The call that is replayed just now.
let call: Call = {};
let person: Props = {}, seq = 0;

const track = (name: string, props?: Props | null, options?: TrackOptions | null) => accept(name, props, options || {}, true);

const api: Record<string, (...args: any[]) => any> = {
  identify: (email: any, traits?: Props) => accept('identify', typeof email == 'string' ? Object.assign({}, traits, { email }) : email, {}),
  track,
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
      eachKey('_rm_q_', (key, tab) => store(key, 0, tab));
      ['_rm_vid', '_fbp', '_fbc', '_rm_attr', '_rm_o'].forEach(forget);
      permit();
    }
    emit('consent', consent);
    return result('ok', '');
  },
  reset: async () => {
    person = {};
    if (isOpen) {
      forget('_rm_vid');
      meetVisitor();
    }
    return result('ok', '');
  },
  flush: async (ms?: number) => {
    const end = Date.now() + (ms || FLUSH_MS_MAX);
    if (isOpen) wake();
    while (isOpen && items[0] && Date.now() < end) await sleep(FLUSH_STEP_MS);
    return result(items[0] ? 'queued' : 'ok', '');
  },
  ready: async (callback?: (rm: unknown) => void) => {
    if (callback) guarded(callback, rm);
    return rm;
  },
  on,
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

export const start = async (given: Partial<Configuration> | 0): Promise<void> => {
  readTag(given);
  if (ASKS) {
    if (!config.fid) return;
    objects();
    if (!config.pixels && !rm.loaded) {
      collect(rm);
      await ask();
    }
  }
  if (config.debug || /[?&]rm_debug=1/.test(location as any) || load('_rm_debug', true)) debug();
  openTransport();
  // A page that is only prerendered may never be seen. The same script again, after a second copy of the snippet: one
  // state, one more stub to take over.
  unless(document.prerendering, 'prerenderingchange', () => {
    consent = load('_rm_consent'); // the visitor may have decided meanwhile
    objects().forEach((object) => rm.loaded ? rm._q!.push(object as any) : adopt(object));
  });
};

/// Our object, and what the page calls us by, which may be another funnel's. A snippet's stub becomes ours.
const objects = (): Stub[] => {
  const name = config.namespace as any, there = window[name] as unknown as Stub;
  rm = registry[config.fid] = registry[config.fid] || (there && !there.loaded ? there : {});
  window[name] = (there || rm) as any;
  return [rm, there || rm];
};

/// Keeps the very object and array the page may hold: references taken before we came go on working.
const adopt = (object: Stub): void => {
  if (object.loaded) return;
  const queue = object._q = object._q || [], calls = queue.splice(0);
  queue.push = replay as any;
  Object.assign(object, api, { version: '1.0.0', loaded: true });
  seeAddress();
  // Consent speaks first, then the page view, then everything in the order of the calls.
  const later = calls.filter((entry) => entry[0] != 'consent' || replay(entry));
  open();
  later.forEach(replay);
  emit('ready', object);
};

const replay = (entry: any): void => {
  attempt(() => { // it may have a shape we never promised
    if (entry._q) return adopt(entry);
    const [method, args, made, answer] = entry;
    call = made || {};
    const said = api[method] ? api[method](...args || []) : refusal('unknown_method');
    call = {};
    if (answer) answer(said);
  });
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
    store('_rm_debug', !!notes, true);
    meetVisitor();
    openQueue();
    initPixels();
    introduce(person);
    items.forEach(launch);
    plan();
  }
  if (viewed || isOff(config.pageview)) return;
  viewed = true;
  unless(document.hidden && config.pageview == 'visible', 'visibilitychange', view);
  addEventListener('pageshow', (event) => {
    if (event.persisted) view();
  });
  if (!isOff(config.spa)) watchPages(() => {
    seeAddress();
    if (isOpen) meetClick();
    view();
  });
};

const view = (): unknown => track('PageView');

/// One logical event, fixed at the moment of the call: everything that happens to it later is only delivery.
const accept = async (name: string, given: unknown, options: TrackOptions, isTrack?: boolean): Promise<Result> => {
  const warnings: string[] = [], copy = (value: unknown) => {
    const text = toText(value, warnings)!;
    return /^{/.test(text) && JSON.parse(text);
  };
  try {
    if (typeof name != 'string' || !/^.{1,50}$/.test(name)) return refusal('invalid_name');
    const props = copy(given || {}), order = isTrack && /^(Purchase|Lead)$/.test(name) ? orderId(props.order_id) : '';
    if (!isTrack) for (const trait in props) if (/^(null)?$/.test(props[trait])) delete props[trait];
    if (!props || !isTrack && !Object.keys(props)[0]) return refusal('invalid_properties');
    const id = eventId(config.fid, order, options.event_id || options.eventID, warnings), status = barred();
    const e = {
      event_id: id,
      type: isTrack ? 'track' : 'identify',
      name,
      props,
      at: +(options.timestamp || call.t!) || Date.now(),
      seq: ++seq,
      server: options.server === false ? false : undefined,
      debug: notes ? true : undefined,
      bot: navigator.webdriver || undefined, // told, not judged: the server decides what it is worth
      hidden: document.hidden || undefined,
      test_event_code: options.test_event_code && options.test_event_code + '',
    } as WireEvent;
    emit('call', [e, status]);
    const allowed = !status && emit('before_send', Object.assign({}, e));
    if (!allowed) return result(status || 'dropped', id, warnings);
    e.props = copy(allowed.props) || props;
    if (bytes(JSON.stringify(Object.assign({}, isTrack ? 0 : person, e.props))) > PAYLOAD_BYTES_MAX) return refusal('payload_too_large');
    if (!isTrack) introduce(Object.assign(person, e.props));
    const item: Item = {
      e,
      p: { url: withoutEmails(call.u || location.href), referrer: withoutEmails(document.referrer), title: document.title },
      who: person,
      remarks: warnings,
    };
    if (isTrack && options.pixel !== false) item.fire = () => firePixels(name, e.props, id, order);
    return new Promise((answer) => {
      item.answer = answer;
      if (items.length >= (isOpen ? ITEMS_MAX : PENDING_MAX)) return finish(item, 'dropped');
      items.push(item);
      if (isOpen) launch(item);
      plan();
    });
  } catch (error) {
    return refusal('invalid_properties'); // a getter of the page threw
  }
};

/// From here on it belongs to a visitor, and the pixel knows it.
const launch = ({ e, fire }: Item): void => {
  e.visitor_id = e.visitor_id || visitor;
  attempt(fire!); // an identify has none
};
