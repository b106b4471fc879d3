// The public face of the script, for those who call it: from the snippet as `window.RapidMetrics`, or from npm.

export type Status = 'ok' | 'queued' | 'beacon' | 'rejected' | 'invalid' | 'consent' | 'dropped' | 'unknown_funnel' | 'failed';

export interface Result {
  /** True: accepted, or safely stored for sending. */
  ok: boolean;
  status: Status;
  /** The one id of this event at the pixel, at our server and in every retry; '' only when the call was invalid. */
  event_id: string;
  /** `[event_id]`. */
  event_ids: string[];
  /** What was accepted with a remark, such as 'currency missing'. */
  warnings?: string[];
  error?: { code: string; message: string };
}

export interface Traits {
  email?: string;
  phone?: string;
  first_name?: string;
  last_name?: string;
  customer_id?: string | number;
  city?: string;
  state?: string;
  zip?: string | number;
  country?: string;
  date_of_birth?: string;
  gender?: string;
  /** Anything else is stored as metadata. */
  [name: string]: unknown;
}

export interface TrackOptions {
  event_id?: string;
  /** Meta's spelling of `event_id`. */
  eventID?: string;
  /** When it happened, unless now. */
  timestamp?: number | Date;
  /** False: the pixel is not told. */
  pixel?: boolean;
  /** False: Meta hears of it from the pixel only. */
  server?: boolean;
  test_event_code?: string;
}

export interface Ids {
  visitor_id: string | null;
  fbp: string | null;
  fbc: string | null;
}

/** What `before_send` sees. `props` may be changed, but for an `order_id`, which is part of the id; the ids are fixed. */
export interface OutgoingEvent {
  readonly event_id: string;
  readonly type: 'track' | 'identify';
  readonly name: string;
  props: Record<string, unknown>;
}

export interface RapidMetrics {
  /** Says who the visitor is. Merges with what is known; empty values erase nothing. */
  identify(traits: Traits): Promise<Result>;
  identify(email: string, traits?: Traits): Promise<Result>;
  track(name: string, props?: object | null, options?: TrackOptions): Promise<Result>;
  /** `track('PageView')`. */
  page(props?: object | null, options?: TrackOptions): Promise<Result>;
  consent(state: 'grant' | 'revoke' | boolean): Promise<Result>;
  /** The visitor logged out: forgets who it was and begins a new visitor. */
  reset(): Promise<Result>;
  /** Resolves when nothing waits to be sent any more, or after `ms` (5,000). */
  flush(ms?: number): Promise<Result>;
  ready(callback?: (rm: RapidMetrics) => void): Promise<RapidMetrics>;
  /** Returns a function that stops listening. */
  on(name: 'ready', callback: (rm: RapidMetrics) => void): () => void;
  on(name: 'delivered' | 'queued' | 'beacon' | 'rejected' | 'invalid' | 'dropped', callback: (result: Result) => void): () => void;
  on(name: 'error', callback: (error: { code: string; message: string }) => void): () => void;
  on(name: 'consent', callback: (state: 'granted' | 'denied') => void): () => void;
  /** Sees each event before it leaves; null or false drops it. */
  on(name: 'before_send', callback: (event: OutgoingEvent) => OutgoingEvent | null | false | void): () => void;
  ids(): Ids;
  /** Readable console lines for this tab, as with `?rm_debug=1`. */
  debug(on?: boolean): void;
  /** Another funnel on the same page. */
  instance(fid: string): RapidMetrics;
  readonly version: string;
  readonly loaded: boolean;
}

/** The public configuration of a funnel, as the server puts it into the script or answers it as JSON. In the script it is complete but for what is off; elsewhere every absent field means its default. */
export interface Configuration {
  /** The funnel's public id. */
  fid: string;
  /** Where events go: `{base}/v1/session`. Beside it stand the script (`….js?fid=`) and this configuration (`…/{fid}.json`). */
  api: string;
  /** The Meta pixels of the funnel. */
  pixels?: string[];
  /** The currency of a value that names none. */
  currency?: string;
  /** Meta's script. */
  pixel_script_url?: string;
  /** True: there is no such funnel. Every call is answered, nothing is sent. */
  unknown?: boolean;
  /** Automatic page views: 'auto' (default) at once, 'visible' when somebody first sees the page, 'off' none. */
  pageview?: 'auto' | 'visible' | 'off' | false;
  /** Page views of route changes inside the page: 'auto' (default) or 'off'. */
  spa?: 'auto' | 'off' | false;
  /** What holds until the visitor decides: 'granted' (default) sends, 'pending' keeps in memory only. */
  consent?: 'granted' | 'pending';
  /** The Meta pixel in the browser: 'on' (default) or 'off'. */
  pixel?: 'on' | 'off' | false;
  /** Where ids and unsent events live: 'cookie' (default; local storage too), 'local' (no cookies), 'memory' or 'none' (this page load only, nothing is written). */
  storage?: 'cookie' | 'local' | 'memory' | 'none';
  /** The domain of our cookies, instead of the widest the browser accepts. */
  cookieDomain?: string;
  /** The name of the global, instead of 'RapidMetrics'. */
  namespace?: string;
  /** What identify says is given to the pixel as well: for each trait, what Meta calls it (`{ email: 'em' }`). */
  advanced_matching?: Record<string, string>;
  /** True: Do Not Track counts like Global Privacy Control. */
  dnt?: boolean;
  /** 'include' on another host of the site's own: requests carry cookies, so that the server may renew them. */
  credentials?: 'include';
  /** True: readable console lines, events flagged `debug`. */
  debug?: boolean;
}

declare global {
  interface Window {
    RapidMetrics: RapidMetrics;
  }
}
