// A small world for session.js: a site, our API as the script sees it, and a stand-in for Meta's script, each an origin of its own.

import { createServer } from 'node:http';
import { connect, createServer as createTcpServer } from 'node:net';
import { readFileSync } from 'node:fs';

const SNIPPET = readFileSync(new URL('snippet.html', import.meta.url), 'utf8');
const SCRIPT = readFileSync(new URL('../../ingest/session-js/dist/session.js', import.meta.url), 'utf8');
export const PIXELS = ['111', '222'];

/// Drains the stub's queue into `pixelCalls`, as Meta's script does into the network, and knows who was registered.
const FBEVENTS = `(function (f) {
  var pixels = [];
  window.pixelCalls = [];
  f.getState = function () { return { pixels: pixels } };
  f.callMethod = function () {
    if (arguments[0] == 'init') pixels.push({ id: arguments[1] });
    pixelCalls.push(JSON.parse(JSON.stringify([].slice.call(arguments))));
  };
  while (f.queue.length) f.callMethod.apply(f, f.queue.shift());
})(window.fbq)`;

/// Waits for what must become true; nothing here sleeps for luck.
export async function until(what, condition, ms = 10000) {
  for (const end = Date.now() + ms; ;) {
    const value = await condition();
    if (value) return value;
    if (Date.now() > end) throw new Error(`waited ${ms} ms in vain: ${what}`);
    await new Promise((go) => setTimeout(go, 15));
  }
}

async function listen(host, handler) {
  const server = createServer(handler);
  await new Promise((ready) => server.listen(0, '127.0.0.1', ready));
  return { server, origin: `http://${host}:${server.address().port}` };
}

function text(request) {
  return new Promise((done) => {
    let all = '';
    request.on('data', (piece) => (all += piece)).on('end', () => done(all)).on('error', () => done(all));
  });
}

export class World {
  /// Answers to coming batches, in order: `{status, headers, body, after}`; without one, everything is accepted.
  answers = [];
  /// Every batch that arrived: `{at, body, headers, status}`.
  batches = [];
  preflights = 0;
  scripts = 0;
  config = {};

  static async start() {
    const world = new World();
    world.site = await listen('localhost', (request, response) => world.#page(request, response));
    world.cdn = await listen('127.0.0.1', (request, response) => world.#script(request, response));
    // The API has a port of its own, so that the first event meets a cold connection.
    world.api = await listen('127.0.0.1', (request, response) => world.#session(request, response));
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
    const port = this.api.server.address().port;
    this.road = createTcpServer((near) => {
      const said = [];
      near.on('data', (bytes) => said.push(bytes)).on('error', () => {});
      setTimeout(() => {
        if (!near.readable) return near.destroy();
        const there = connect(port, '127.0.0.1');
        there.on('error', () => near.destroy()).on('close', () => near.destroy());
        near.removeAllListeners('data').on('close', () => there.destroy());
        said.forEach((bytes) => there.write(bytes));
        near.pipe(there).pipe(near);
      }, ms);
    });
    await new Promise((ready) => this.road.listen(0, '127.0.0.1', ready));
    this.config.api = `http://127.0.0.1:${this.road.address().port}/v1/session`;
  }

  snippet(fid = 'F1') {
    return SNIPPET.replace('https://HOST', this.cdn.origin).replace('YOUR_FUNNEL_ID', fid);
  }

  /// The address of a page whose head is the snippet and then `rest`.
  url(rest = '', head = '', query = '') {
    return `${this.site.origin}/page?head=${encodeURIComponent(head)}&rest=${encodeURIComponent(rest)}${query}`;
  }

  get events() {
    return this.batches.filter((batch) => batch.status < 300).flatMap((batch) => batch.body.events);
  }

  #page(request, response) {
    const query = new URL(request.url, this.site.origin).searchParams;
    response.setHeader('content-type', 'text/html; charset=utf-8');
    response.end(`<!doctype html><html ${query.get('html') ?? ''}><head><title>Shop</title>${query.get('head') ?? ''}${query.has('bare') ? '' : this.snippet(query.get('fid') ?? 'F1')}</head><body>${query.get('rest') ?? ''}</body></html>`);
  }

  #script(request, response) {
    const url = new URL(request.url, this.cdn.origin);
    response.setHeader('content-type', 'text/javascript');
    response.setHeader('access-control-allow-origin', '*');
    if (url.pathname === '/fbevents.js') return response.end(FBEVENTS);
    this.scripts++;
    const fid = url.searchParams.get('fid');
    const config = fid === 'UNKNOWN' ? { fid, unknown: true } : {
      fid, api: `${this.api.origin}/v1/session`, pixels: PIXELS, currency: 'EUR', unknown: false,
      pixel_script_url: `${this.cdn.origin}/fbevents.js`, ...this.config,
    };
    response.end(SCRIPT.replace('__RM_CONFIG__', () => JSON.stringify(config)));
  }

  async #session(request, response) {
    response.setHeader('access-control-allow-origin', request.headers.origin ?? '*');
    response.setHeader('access-control-expose-headers', 'retry-after');
    if (request.method !== 'POST') {
      this.preflights++;
      return response.writeHead(405).end();
    }
    const body = JSON.parse(await text(request));
    const answer = this.answers.shift() ?? {};
    const status = answer.status ?? 200;
    const batch = { at: Date.now(), body, status, headers: request.headers };
    this.batches.push(batch);
    await answer.after;
    for (const [name, value] of Object.entries(answer.headers ?? {})) response.setHeader(name, value);
    response.writeHead(status, { 'content-type': 'application/json' });
    response.end(answer.body ?? JSON.stringify({ results: body.events.map((e) => ({ event_id: e.event_id, status: 'ok', warnings: [] })) }));
  }
}
