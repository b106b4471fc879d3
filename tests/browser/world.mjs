// A small world for session.js: sites under many names, our API as the script sees it, and a stand-in for Meta's script.
// All speak TLS on loopback, under host names that make them strangers to each other.

import { createServer } from 'node:https';
import { connect, createServer as createTcpServer } from 'node:net';
import { readFileSync } from 'node:fs';
import { certificate } from './certificate.mjs';

const file = (path) => readFileSync(new URL(path, import.meta.url), 'utf8');
const SNIPPET = file('snippet.html');
const SNIPPETS = {
  seed: SNIPPET,
  v2: file('../../ingest/session-js/snippet-v2.html'),
  trusted: file('../../ingest/session-js/snippet-v2-trusted-types.html'),
};
/// Another build may be tested in place of the committed one: that is how mutants are shown to be found out.
const SCRIPT = process.env.RAPIDMETRICS_SCRIPT ? readFileSync(process.env.RAPIDMETRICS_SCRIPT, 'utf8') : file('../../ingest/session-js/dist/session.js');
const SDK = file('../../ingest/session-js/dist/sdk.js');
const DEBUG = file('../../ingest/session-js/dist/session.debug.js');
const MODULE = file('../../ingest/session-js/dist/index.mjs');
export const PIXELS = ['111', '222'];

/// Drains the stub's queue into `pixelCalls`, as Meta's script does into the network, knows who was registered and with
/// which person, and counts pages by itself unless told not to.
const FBEVENTS = `(function (f) {
  var pixels = [];
  window.pixelCalls = [];
  f.getState = function () { return { pixels: pixels } };
  f.callMethod = function (method, id, person) {
    if (method == 'init') {
      var old = pixels.filter(function (p) { return p.id == id })[0];
      if (old) { if (!old.userData) old.userData = person; } else pixels.push({ id: id, userData: person });
    }
    pixelCalls.push(JSON.parse(JSON.stringify([].slice.call(arguments))));
  };
  while (f.queue.length) f.callMethod.apply(f, f.queue.shift());
  if (!f.disablePushState) {
    var native = history.pushState;
    history.pushState = function () { native.apply(history, arguments); pixelCalls.push(['track', 'PageView', 'by itself']) };
  }
})(window.fbq)`;

const STANDARD = 'PageView Purchase InitiateCheckout AddToCart AddPaymentInfo Lead CompleteRegistration ViewContent Search AddToWishlist Subscribe StartTrial Contact Schedule SubmitApplication'.split(' ');

/// What the server remarks on an event it accepts, in its words. The script only passes it on.
function remarks({ type, name, props: { value, currency, order_id } }) {
  if (type !== 'track') return [];
  const letters = (text) => text.toLowerCase().replace(/[^a-z]/g, '');
  const meant = STANDARD.includes(name) ? undefined : STANDARD.find((known) => letters(known) === letters(name));
  const given = order_id != null && order_id !== '', order = given && !/{{/.test(order_id);
  return [
    meant && `did you mean ${meant}?`,
    value != null && typeof value !== 'number' && 'value is not a number',
    value != null && !currency && 'currency missing',
    /^(Purchase|Lead)$/.test(name) && given && !order && 'order_id is no order id (a template that was not filled in?); the event counts as one without order',
    name === 'Purchase' && !given && 'order_id missing: cannot join the webhook\'s purchase',
  ].filter(Boolean);
}

/// Waits for what must become true; nothing here sleeps for luck.
export async function until(what, condition, ms = 15000) {
  for (const end = Date.now() + ms; ;) {
    const value = await condition();
    if (value) return value;
    if (Date.now() > end) throw new Error(`waited ${ms} ms in vain: ${typeof what === 'function' ? what() : what}`);
    await new Promise((go) => setTimeout(go, 15));
  }
}

async function listen(host, handler) {
  const server = createServer(certificate(), handler);
  server.on('tlsClientError', () => {}); // a page that went away in the middle
  await new Promise((ready) => server.listen(0, '127.0.0.1', ready));
  const { port } = server.address();
  return { server, port, origin: `https://${host}:${port}` };
}

function text(request) {
  return new Promise((done) => {
    let all = '';
    request.on('data', (piece) => (all += piece)).on('end', () => done(all)).on('error', () => done(all));
  });
}

export class World {
  /// Answers to coming batches, in order: `{status, headers, body, after, cut, reset}`; without one, all is accepted.
  answers = [];
  /// Every batch that arrived: `{at, body, headers, status}`.
  batches = [];
  /// Every request to anyone: `{host, method, url}`.
  requests = [];
  /// How the script is served: `{status, after, destroy}`.
  serving = {};
  /// What a page that asks for /wait waits for.
  gate = new Promise(() => {});
  preflights = 0;
  scripts = 0;
  config = {};

  static async start() {
    const world = new World();
    const counted = (handler) => (request, response) => {
      world.requests.push({ host: request.headers.host, method: request.method, url: request.url });
      if (request.method === 'OPTIONS') world.preflights++;
      handler(request, response);
    };
    world.site = await listen('shop.example', counted((request, response) => world.#page(request, response)));
    world.cdn = await listen('cdn.rapid.example', counted((request, response) => world.#script(request, response)));
    world.meta = `https://meta.example:${world.cdn.port}`;
    // The API has a port of its own, so that the first event meets a cold connection.
    world.api = await listen('in.rapid.example', counted((request, response) => world.#session(request, response)));
    return world;
  }

  close() {
    this.road?.close();
    for (const { server } of [this.site, this.cdn, this.api]) {
      server.closeAllConnections();
      server.close();
    }
  }

  /// Moves the API far away: nothing a page says reaches it before `ms`, and not at all if the page hung up by then.
  async far(ms) {
    this.road = createTcpServer((near) => {
      const said = [];
      near.on('data', (bytes) => said.push(bytes)).on('error', () => {});
      setTimeout(() => {
        if (!near.readable) return near.destroy();
        const there = connect(this.api.port, '127.0.0.1');
        there.on('error', () => near.destroy()).on('close', () => near.destroy());
        near.removeAllListeners('data').on('close', () => there.destroy());
        said.forEach((bytes) => there.write(bytes));
        near.pipe(there).pipe(near);
      }, ms);
    });
    await new Promise((ready) => this.road.listen(0, '127.0.0.1', ready));
    this.config.api = `https://in.rapid.example:${this.road.address().port}/v1/session`;
  }

  /// `kind` is seed, v2 or trusted; `attributes` stand in the snippet's own tag.
  snippet(fid = 'F1', kind = 'seed', attributes = '') {
    return SNIPPETS[kind].replaceAll('https://HOST', this.cdn.origin).replace('YOUR_FUNNEL_ID', fid)
      .replace('<script>', `<script ${attributes}>`.replace(' >', '>'));
  }

  /// The address of a page: `head` and the snippet in its head, `rest` in its body. `given` may hold `host` and what
  /// the page understands: `bare` (no snippet), `snippet`, `attributes`, `fid`, `csp`, `wait`.
  url(rest = '', head = '', given = {}) {
    const { host = 'shop.example', path = '/page', query = '', ...more } = given;
    return `https://${host}:${this.site.port}${path}?` + new URLSearchParams({ ...(head && { head }), ...(rest && { rest }), ...more }) + query;
  }

  scriptUrl(fid = 'F1') {
    return `${this.cdn.origin}/v1/session.js?fid=${fid}`;
  }

  get events() {
    return this.batches.filter((batch) => batch.status < 300).flatMap((batch) => batch.body.events);
  }

  /// As the server stores them: once per name and id.
  get stored() {
    return [...new Map(this.events.map((event) => [`${event.name} ${event.event_id}`, event])).values()];
  }

  /// What the server resolves for every funnel, complete.
  settings(fid) {
    const base = { fid, api: `${this.api.origin}/v1/session`, pixels: [], storage: 'cookie', namespace: 'RapidMetrics' };
    if (fid === 'UNKNOWN') return { ...base, unknown: true };
    return { ...base, pixels: PIXELS, currency: 'EUR', pixel_script_url: `${this.meta}/fbevents.js`, ...this.config };
  }

  /// An expression: for a funnel that nobody knows it warns as well.
  #configuration(fid) {
    const settings = this.settings(fid), json = JSON.stringify(settings);
    return settings.unknown ? `(console.warn("RapidMetrics: unknown funnel " + ${JSON.stringify(fid)}), ${json})` : json;
  }

  #page(request, response) {
    const url = new URL(request.url, this.site.origin), query = url.searchParams, get = (name) => query.get(name) ?? '';
    if (url.pathname === '/favicon.ico') return response.writeHead(404).end();
    if (url.pathname === '/wait') return void this.gate.then(() => response.writeHead(204).end());
    response.setHeader('content-type', 'text/html; charset=utf-8');
    if (query.has('csp')) response.setHeader('content-security-policy', get('csp'));
    if (query.has('reported')) response.setHeader('content-security-policy-report-only', get('reported'));
    const snippet = query.has('bare') ? '' : this.snippet(get('fid') || 'F1', get('snippet') || 'seed', get('attributes'));
    response.end(`<!doctype html><html><head><title>Shop</title>${get('head')}${snippet}</head><body>${get('rest')}</body></html>`);
  }

  async #script(request, response) {
    const url = new URL(request.url, this.cdn.origin);
    response.setHeader('content-type', 'text/javascript');
    response.setHeader('access-control-allow-origin', '*');
    if (url.pathname === '/fbevents.js') return response.end(FBEVENTS);
    if (url.pathname === '/npm/index.mjs') return response.end(MODULE);
    if (url.pathname === '/v1/session.debug.js') return response.end(DEBUG);
    const [, named] = /^\/v1\/session\/(\w+)\.json$/.exec(url.pathname) ?? [];
    if (named) return response.end(JSON.stringify(this.settings(named)));
    this.scripts++;
    await this.serving.after;
    if (this.serving.destroy) return response.destroy();
    if (this.serving.status) return response.writeHead(this.serving.status).end('not here');
    if (url.pathname.startsWith('/v1/sdk/')) return response.end(SDK.replace('__RM_CONFIG__', '0'));
    response.end(SCRIPT.replace('__RM_CONFIG__', () => this.#configuration(url.searchParams.get('fid'))));
  }

  async #session(request, response) {
    response.setHeader('access-control-allow-origin', request.headers.origin ?? '*');
    response.setHeader('access-control-expose-headers', 'retry-after');
    if (this.config.credentials) response.setHeader('access-control-allow-credentials', 'true');
    if (request.method === 'GET') return this.#script(request, response); // the same host serves all
    if (request.method !== 'POST') return response.writeHead(405).end();
    const body = JSON.parse(await text(request));
    if (typeof body.events === 'string') body.events = JSON.parse(body.events); // a page that patched arrays
    const answer = this.answers.shift() ?? {};
    const status = answer.status ?? 200;
    const batch = { at: Date.now(), body, status, headers: request.headers };
    this.batches.push(batch);
    await answer.after;
    batch.answered = Date.now();
    if (answer.reset) return response.destroy();
    for (const [name, value] of Object.entries(answer.headers ?? {})) response.setHeader(name, value);
    const said = answer.body ?? JSON.stringify({ results: body.events.map((e) => ({ event_id: e.event_id, status: 'ok', warnings: remarks(e) })) });
    response.writeHead(status, { 'content-type': 'application/json', ...(answer.cut && { 'content-length': said.length }) });
    if (!answer.cut) return response.end(said);
    response.write(said.slice(0, said.length / 2), () => response.destroy());
  }
}
