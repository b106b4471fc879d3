// The package: the same script for those who bundle their pages. Importing it does nothing, also where there is no page.

import type { Configuration, RapidMetrics, Result } from './public';

/// The script's own text, as a function of its configuration: each funnel gets a state of its own. The build puts it here.
declare function evaluate(configuration: Partial<Configuration>): void;

const failed: Result = { ok: false, status: 'failed', event_id: '', event_ids: [] };
const fail = () => Promise.resolve(failed);

/// On a server every call resolves, and says that it failed.
const absent: RapidMetrics = {
  identify: fail, track: fail, page: fail, consent: fail, reset: fail, flush: fail,
  ready: () => Promise.resolve(absent),
  on: () => () => {},
  ids: () => ({ visitor_id: null, fbp: null, fbc: null }),
  debug: () => {},
  instance: () => absent,
  version: '',
  loaded: false,
};

/** Starts a funnel and returns its instance; calls may be made at once. What is not given is asked from the server. */
export function init(settings: Partial<Configuration> & { fid: string; api: string }): RapidMetrics {
  if (typeof window == 'undefined' || typeof document == 'undefined') return absent;
  evaluate(settings);
  const running = (window as unknown as Record<symbol, Record<string, RapidMetrics> | undefined>)[Symbol.for('RapidMetrics')];
  return (running && running[settings.fid]) || absent;
}
