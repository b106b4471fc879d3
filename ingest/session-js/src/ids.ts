// Makes and checks the ids that stay with an event for its whole life.

import { config } from './settings';
import { bytes } from './tools';

/// A random UUID. `crypto.randomUUID` is absent outside secure contexts. Each 0 becomes four random bits.
export const uuid = (): string => {
  const random = crypto.getRandomValues(new Uint8Array(36));
  return '00000000-0000-4000-8000-000000000000'.replace(/0/g, (_, at) => (random[at] % 16).toString(16));
};

/// The order id as both doors understand it, or '' when there is none: a string or an integer, trimmed, short.
/// A left-over template would fold every sale of the shop into one, so it counts as absent; the server says so.
export const orderId = (value: unknown): string => {
  const text = value === '' + value || Number.isSafeInteger(value) ? ('' + value).trim() : '';
  return /^(undefined|null|nan|\[object object\])$|\{\{.*\}\}|\p{Cc}/iu.test(text) || bytes(text) > 128 ? '' : text;
};

/// How the id of an event begins that shares it with the webhook.
export const ownPrefix = (): string => config.fid + ':';

/// One id for one logical event, the same for the pixel, our server and every retry.
/// A sale or lead with an order id shares its id with the webhook; the caller cannot claim such an id by hand.
export const eventId = (order: string, given: unknown, warnings: string[]): string => {
  const id = order ? ownPrefix() + order : given && !('' + given).startsWith(ownPrefix()) ? '' + given : uuid();
  if (given && id != given) warnings.push('event_id ignored');
  return id;
};
