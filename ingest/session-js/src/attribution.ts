// Remembers how the visitor first and last came. The server reads campaign and click ids from the landing address.

import { withoutEmails } from './props';
import { load, store } from './storage';

interface Touch { landing: string; referrer: string; at: number }

let touch: Touch | undefined, marked: unknown;

/// An address that names a source, or somebody else's referrer, is a new touch; any first page is one too.
export const seeAddress = (): void => {
  const landing = withoutEmails(location.href);
  const referrer = touch || document.referrer.startsWith(location.origin) ? '' : withoutEmails(document.referrer);
  const sourced = referrer || /[?&](utm_|(fb|g|tt)clid=|msclkid=|[gw]braid=)/.test(landing);
  if (sourced || !touch) {
    marked = sourced;
    touch = { landing, referrer, at: Date.now() };
  }
};

export const attribution = (): unknown => {
  let known = load('_rm_attr');
  if (marked || !known) {
    known = { first: known ? known.first : touch, last: touch };
    store('_rm_attr', known);
    marked = 0;
  }
  return known;
};
