// Speaks to the Meta pixel: only to the funnel's own pixels, each under the event's id. A pixel that fails is no event.

import { emit } from './listeners';
import { TRAITS } from './props';
import { config, isOff } from './settings';
import { load, store } from './storage';
import { attempt, loadScript } from './tools';

interface Fbq {
  (...args: unknown[]): void;
  callMethod?: (...args: unknown[]) => void;
  getState?: () => { pixels: { id: string }[] };
  queue: ArrayLike<unknown>[];
}

declare global {
  interface Window {
    fbq: Fbq;
    _fbq?: Fbq;
  }
  const fbq: Fbq;
}

const ORDERS_MAX = 50;
const ORDER_MS_MAX = 30 * 864e5;
const STANDARD = new RegExp('^(PageView|Purchase|InitiateCheckout|AddToCart|AddPaymentInfo|Lead|CompleteRegistration|ViewContent|' +
  'Search|AddToWishlist|Subscribe|StartTrial|Contact|Schedule|SubmitApplication)$');

let pixels: string[] = [];
export let own: unknown; // ours, when this page had no pixel and we brought it
const ours: string[] = []; // registered by us, and not yet told who the visitor is

/// Registers the funnel's pixels, each unless somebody on the page already did.
export const initPixels = (): void => {
  if (!isOff(config.pixel)) pixels = config.pixels || [];
  pixels.forEach((id) => {
    if (!window.fbq) bring();
    if (isKnown(id)) return;
    if (own) tell('set', 'autoConfig', false, id);
    tell('init', id);
    ours.push(id);
  });
};

/// Registered already? Meta's script tells its state; before it is there, the stub's queue does.
const isKnown = (id: string): unknown => attempt(() =>
  [...(fbq.getState ? fbq.getState().pixels : []), ...(fbq.queue || [])].some((it: any) => it.id == id || it[1] == id));

/// Says who the visitor is, once, to the pixels that we registered: a second init that brings a person completes the
/// first and repeats no event. Meta's script normalises and hashes.
export const introduce = (person: Record<string, unknown>): void => {
  const match: Record<string, string> = {};
  Object.keys(TRAITS).forEach((trait) => {
    if (person[trait]) match[TRAITS[trait]] = '' + person[trait];
  });
  if (config.advanced_matching && Object.keys(match)[0]) ours.splice(0).forEach((id) => tell('init', id, match));
};

/// `order` is given where the id is an order's: the thank-you page may be opened again, the pixel hears of it once.
/// Money goes as Meta wants it: a number, and a currency beside it. The server reads both from what the page gave.
export const firePixels = (name: string, props: Record<string, unknown>, eventID: string, order: unknown): void => {
  const { value, currency } = props, money = value != null && { value: +(value as number) || value, currency: currency || config.currency };
  if (!order || !firedBefore(name + eventID)) pixels.forEach((id) =>
    tell('trackSingle' + (STANDARD.test(name) ? '' : 'Custom'), id, name, Object.assign({}, props, money), { eventID }));
};

const firedBefore = (key: string): true | undefined => {
  const now = Date.now(), orders: [string, number][] = attempt(() => load('_rm_o').filter((order: any) => now - order[1] < ORDER_MS_MAX)) || [];
  if (orders.some((order) => order[0] == key)) return true;
  store('_rm_o', [...orders, [key, now]].slice(-ORDERS_MAX));
};

/// The page's pixel may be anything.
export const tell = (...words: unknown[]): void => {
  emit('pixel', words);
  attempt(() => fbq(...words));
};

/// Meta's own loader stub: it queues until the script is there, and for ever if it is blocked.
const bring = (): void => {
  const stub: Fbq = window.fbq = Object.assign((...words: unknown[]): any => stub.callMethod ? stub.callMethod(...words) : stub.queue.push(words), { loaded: true, version: '2.0', queue: [], disablePushState: true }); // pages change when we say so
  (stub as any).push = window._fbq = own = stub;
  setTimeout(loadScript, 0, config.pixel_script_url!); // the page's own work goes first
};
