// Brings events to the server: in order, one request at a time, again under the same ids until it has acknowledged.

import { bytes } from './props.js';
import { items, save } from './queue.js';

var ITEMS_MAX = 1000; // a page that makes events faster than any network takes them
var BATCH_EVENTS_MAX = 20;
var BATCH_BYTES_MAX = 30720; // half of what a browser lets leave with a page that goes away
var TIMEOUT_MS = 10000;
var BACKOFF_MS_MAX = 60000;
var RETRY_AFTER_MS_MAX = 300000;
var SILENCE_MAX = 3; // that often no answer at all: somebody blocks us

var url, render, tell;
var flight = [], surviving; // what is under way, and whether it outlives the page
var timer, after, fails = 0, silence = 0, gone, planned;

/// `body(items)` makes the request's text; `emit(name, detail)` tells listeners.
export function openTransport(api, body, emit) {
  url = api;
  render = body;
  tell = emit;
  addEventListener('pagehide', function () {
    gone = true;
    leave();
  });
  addEventListener('pageshow', function () {
    gone = false;
    wake();
  });
  addEventListener('online', wake);
  document.addEventListener('visibilitychange', function () {
    hidden() ? leave() : wake();
  });
}

/// Events of one turn travel together, and are on disk before the turn is over.
export function send(item) {
  if (items.length >= ITEMS_MAX) return item.end('dropped');
  items.push(item);
  plan();
}

export function plan() {
  planned = planned || Promise.resolve().then(function () {
    planned = 0;
    save([], gone || fails);
    pump();
  });
}

/// Tries again now what seemed hopeless; a pause the server asked for stays.
export function wake() {
  silence = 0;
  pump();
}

function hidden() {
  return document.visibilityState == 'hidden';
}

function pump() {
  if (gone) return leave();
  if (!items.length) tell('idle');
  if (flight.length || timer || silence >= SILENCE_MAX) return;
  // What left by beacon waits for its acknowledgement until somebody looks at the page again.
  cut(items.filter(function (item) {
    return !(item.beacon && hidden());
  }), post);
}

/// Hands `take` as many events from the front as make one request; in halves until it accepts. Says how many went.
function cut(list, take) {
  var n = 0, body;
  while (n < BATCH_EVENTS_MAX && list[n] && list[n].p == list[0].p && list[n].live == list[0].live) n++;
  for (; n; n >>= 1) {
    body = render(list.slice(0, n));
    if ((n < 2 || bytes(body) <= BATCH_BYTES_MAX) && take(body, list.slice(0, n))) break;
  }
  return n;
}

function post(body, list) {
  var abort = new AbortController(), alarm = setTimeout(function () {
    abort.abort();
  }, TIMEOUT_MS);
  flight = list;
  after = 0;
  // Other scripts share the browser's keepalive budget; when it was refused, the next attempt goes without.
  surviving = !(fails & 1);
  new Promise(function (resolve) {
    // A plain string is text/plain: no preflight. A patched fetch that throws is one more failed attempt.
    resolve(fetch(url, { method: 'POST', body: body, keepalive: surviving, signal: abort.signal }));
  }).then(function (response) {
    return response.text().then(function (text) {
      silence = 0;
      return judge(response, text, list);
    });
  }).catch(function () {
    silence++; // or an answer cut on its way: ask again
    return [];
  }).then(function (results) {
    clearTimeout(alarm);
    flight = [];
    settle(list, results);
  });
  return true;
}

/// What the answer says about each event, by index; nothing where it is worth asking again.
function judge(response, text, list) {
  var status = response.status, all = { status: 'ok' };
  after = response.headers.get('retry-after');
  if (status != 204) {
    if (status < 300) return JSON.parse(text).results || [];
    if (status > 499 || /408|425|429/.test(status)) return [];
    all = { status: 'invalid', error: { code: 'http_' + status, message: text.slice(0, 300) } };
  }
  return list.map(function () {
    return all;
  });
}

function settle(list, results) {
  var done = list.filter(function (item, i) {
    item.said = results[i] || {};
    return /^(ok|invalid)$/.test(item.said.status);
  });
  if (done.length < list.length) pause();
  else fails = 0;
  save(done, gone || fails);
  done.forEach(function (item) {
    item.end(item.said.status == 'ok' ? 'ok' : 'rejected', item.said);
  });
  pump();
}

function pause() {
  var ms = Math.random() * Math.min(BACKOFF_MS_MAX, 1000 << Math.min(fails++, 6));
  after = after * 1000 || Date.parse(after) - Date.now(); // seconds or a date; NaN where there was none
  if (after > 0) ms = Math.min(RETRY_AFTER_MS_MAX, after);
  tell('error', 'not acknowledged, will try again');
  timer = setTimeout(function () {
    timer = 0;
    pump();
  }, ms);
}

/// The page may not come back. Beacons are not acknowledged, so what they carry stays in the queue as well.
function leave() {
  var list, n;
  save([], true);
  list = items.filter(function (item) {
    return !item.beacon && !(surviving && flight.indexOf(item) >= 0);
  });
  while ((n = cut(list, beacon))) list = list.slice(n);
  if (gone) {
    items.forEach(function (item) {
      item.end(item.beacon || flight.indexOf(item) >= 0 ? 'beacon' : 'queued');
    });
  }
}

function beacon(body, list) {
  try {
    if (!navigator.sendBeacon(url, body)) return;
  } catch (e) {
    return;
  }
  list.forEach(function (item) {
    item.beacon = true;
  });
  return true;
}
