// Makes and checks the ids that stay with an event for its whole life.

import { bytes } from './tools';

/// A random UUID. `crypto.randomUUID` is absent outside secure contexts. Each 0, 1 and 8 leaves room for random bits.
export const uuid = (): string => {
  const random = crypto.getRandomValues(new Uint8Array(36));
  return '10000000-1000-4000-8000-100000000000'.replace(/[018]/g, (digit: any, at) => (digit ^ random[at] & 15 >> digit / 4).toString(16));
};

/// The order id as both doors understand it, or '' when there is none: a string or an integer, trimmed, short.
/// A left-over template would fold every sale of the shop into one, so it counts as absent; the server says so.
export const orderId = (value: unknown): string => {
  const text = (value === '' + value || Number.isSafeInteger(value) ? '' + value : '').replace(/^[ \t\n\f\r]+|[ \t\n\f\r]+$/g, '');
  return /^(undefined|null|nan|\[object object])$|{{.*}}|[\0-\x1f\x7f-\x9f]/i.test(text) || bytes(text) > 128 ? '' : text;
};

/// One id for one logical event, the same for the pixel, our server and every retry.
/// A sale or lead with an order id shares its id with the webhook; the caller cannot claim such an id by hand.
export const eventId = (fid: string, order: string, given: unknown, warnings: string[]): string => {
  const own = fid + ':', text = given ? '' + given : '';
  const id = order ? own + order : text && !text.startsWith(own) ? text : uuid();
  if (given && id != given) warnings.push('event_id ignored');
  return id;
};
