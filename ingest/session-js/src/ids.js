// Makes and checks the ids that stay with an event for its whole life.

import { bytes } from './props.js';

/// UUIDv7: 48 bits of milliseconds, the rest random. `crypto.randomUUID` is absent outside secure contexts.
export function uuid7(now) {
  var b = crypto.getRandomValues(new Uint8Array(16)), i = 6, text = '';
  for (; i--; now = Math.floor(now / 256)) b[i] = now % 256;
  b[6] = (b[6] & 15) | 112;
  b[8] = (b[8] & 63) | 128;
  for (; ++i < 16; ) text += (b[i] + 256).toString(16).slice(1);
  return text.replace(/(.{8})(.{4})(.{4})(.{4})/, '$1-$2-$3-$4-');
}

/// These two are told by both doors, and by their order id they are one.
export function isOrder(name) {
  return name == 'Purchase' || name == 'Lead';
}

/// The order id as both doors understand it, or '' when there is none.
/// A left-over template would fold every sale of the shop into one, so it counts as absent.
export function orderId(value, warnings) {
  if (value == null) return '';
  var text = typeof value == 'string' ? value : Number.isSafeInteger(value) ? '' + value : 'NaN';
  text = text.replace(/^[ \t\n\f\r]+|[ \t\n\f\r]+$/g, '');
  if (/^(undefined|null|nan|\[object object])$|{{[^]*}}|[\0-\x1f\x7f-\x9f]/i.test(text) || bytes(text) > 128) {
    warnings.push('order_id ignored');
    text = '';
  }
  return text;
}

/// One id for one logical event, the same for the pixel, our server and every retry.
/// A sale or lead with an order id shares its id with the webhook; the caller cannot claim such an id by hand.
export function eventId(fid, order, options, now, warnings) {
  var given = options.event_id || options.eventID, own = fid + ':';
  if (given) {
    given += '';
    if (!order && given.indexOf(own) && bytes(given) < 256) return given;
    warnings.push('event_id ignored');
  }
  return order ? own + order : uuid7(now);
}
