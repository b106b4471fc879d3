// Speaks to the Meta pixel: only to the funnel's own pixels, each under the event's id. A pixel that fails is no event.

import { ownPrefix } from './ids';
import { emit } from './listeners';
import type { WireEvent } from './queue';
import { config, isOff } from './settings';
import { copy, impersonal } from './props';
import { load, store } from './storage';
import { attempt, loadScript } from './tools';

interface Fbq {
  (...args: unknown[]): void;
  callMethod?: (...args: unknown[]) => void;
  getState?: () => unknown;
  queue: ArrayLike<unknown>[];
}

declare global {
  interface Window {
    fbq: Fbq;
    _fbq?: Fbq;
  }
  const fbq: Fbq;
}

const ORDERS_CHARS_MAX = 5000; // some ninety orders
const STANDARD = new RegExp('^(Subscribe|InitiateCheckout|Schedule|SubmitApplication|ViewContent|AddToCart|Contact|StartTrial|' +
  'AddToWishlist|AddPaymentInfo|CompleteRegistration|Search|PageView|Purchase|Lead)$');

let pixels: string[] = [];
export let own: unknown; // ours, when this page had no pixel and we brought it
const ours: string[] = []; // registered by us, and not yet told who the visitor is

/// Registers the funnel's pixels, each unless somebody on the page already did.
export const initPixels = (): void => {
  if (!isOff(config.pixel)) pixels = config.pixels || [];
  pixels.forEach((id) => {
    if (!window.fbq) bring();
    // Registered already? Meta's script tells its state; before it is there, the stub's queue does.
    if (attempt(() => JSON.stringify(copy({ a: fbq.getState && fbq.getState(), b: fbq.queue }, [])).includes(id))) return;
    if (own) tell('set', 'autoConfig', false, id);
    tell('init', id);
    ours.push(id);
  });
};

/// Says who the visitor is, once, to the pixels that we registered: a second init that brings a person completes the
/// first and repeats no event. Meta's script normalises and hashes.
export const introduce = (person: Record<string, unknown>): void => {
  const match: Record<string, string> = {}, map = { ...config.advanced_matching };
  Object.keys(map).forEach((trait) => {
    if (person[trait]) match[map[trait]] = '' + person[trait];
  });
  if (Object.keys(match)[0]) ours.splice(0).forEach((id) => tell('init', id, match));
};

/// Where the id is an order's, the thank-you page may be opened again: the pixel hears of it once.
/// Money goes as Meta wants it: a number, and a currency beside it. The server reads both from what the page gave.
export const firePixels = ({ event_id, name, props }: WireEvent): void => {
  const { value, currency } = props, told = { ...props, ...(value != null && { value: +(value as number) || value, currency: currency || config.currency }) };
  if (!event_id.startsWith(ownPrefix()) || !firedBefore(name + event_id + '|')) pixels.forEach((id) =>
    tell('trackSingle' + (STANDARD.test(name) ? '' : 'Custom'), id, name, told, { eventID: event_id }));
};

/// Truthy if so; otherwise notes it, unless the id holds an address: the disk knows none.
const firedBefore = (key: string): unknown => {
  const orders = '' + load('_rm_o');
  return orders.includes(key) || impersonal('', key) && store('_rm_o', (orders + key).slice(-ORDERS_CHARS_MAX));
};

/// The page's pixel may be anything.
export const tell = (...words: unknown[]): void => {
  emit('pixel', words);
  attempt(() => fbq(...words));
};

/// Meta's own loader stub: it queues until the script is there, and for ever if it is blocked.
const bring = (): void => {
  const stub: Fbq = window.fbq = Object.assign((...words: unknown[]): any => stub.callMethod ? stub.callMethod(...words) : stub.queue.push(words), { version: '2.0', loaded: true, queue: [], disablePushState: true }); // pages change when we say so
  (stub as any).push = window._fbq = own = stub;
  setTimeout(loadScript, 0, config.pixel_script_url!); // the page's own work goes first
};
