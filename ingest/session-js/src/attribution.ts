// Remembers how the visitor first and last came. The server reads campaign and click ids from the landing address.

import { withoutEmails } from './props';
import { load, store } from './storage';

/// An address that names a source, or somebody else's referrer, is a new touch; any first page is one too.
export const seeAddress = (from: string): void => {
  const landing = withoutEmails(location.href), known = load('_rm_attr');
  const referrer = from.startsWith(location.origin) ? '' : withoutEmails(from);
  const last = { landing, referrer, at: Date.now() };
  if (!known || referrer || /[?&](utm_|\w+(clk?id|braid)=)/.test(landing)) store('_rm_attr', { first: last, ...known, last });
};
