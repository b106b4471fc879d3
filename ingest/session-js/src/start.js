// The public face: takes over the snippet's stub in place, replays its calls, and answers each call with a Promise.

import { load, store } from './cookies.js';
import { eventId, isOrder, orderId } from './ids.js';
import { firePixels, initPixels, tellPixels } from './pixel.js';
import { checkMoney, checkName, toText, tooLarge, withoutEmails } from './props.js';
import { empty, items, openQueue } from './queue.js';
import { openTransport, plan, send, wake } from './transport.js';
import { forgetVisitor, ids, meetVisitor } from './visitor.js';

var VERSION = '1.0.0';
var ANSWER_MS_MAX = 5000;
var FLUSH_MS_MAX = 5000;

var config, consent, opened, viewed, person = {}, listeners = {}, page = {}, seq = 0;

var api = {
  identify: identify,
  track: track,
  consent: setConsent,
  flush: flush,
  ready: function (callback) {
    if (typeof callback == 'function') call(callback, window.RapidMetrics);
    return Promise.resolve(window.RapidMetrics);
  },
  on: function (name, callback) {
    var list = (listeners[name] = listeners[name] || []);
    list.push(callback);
    return function () {
      list.splice(list.indexOf(callback), list.indexOf(callback) < 0 ? 0 : 1);
    };
  },
  ids: ids
};

export function start(settings) {
  if (!window.Promise || !window.fetch) return;
  var name = '__rapidmetrics', running = window[name];
  if (!running) Object.defineProperty(window, name, { value: (running = {}) });
  // The same script again, after a second copy of the snippet: one state, one more stub to take over.
  if (running[settings.fid]) return running[settings.fid]();
  running[settings.fid] = adopt;
  config = settings;
  config.pixels = config.pixels || [];
  consent = load('localStorage', '_rm_consent');
  if (config.unknown) console.warn('RapidMetrics: unknown funnel ' + config.fid);
  else openTransport(config.api, batch, emit);
  // A page that is only prerendered may never be seen.
  if (document.prerendering) document.addEventListener('prerenderingchange', adopt, { once: true });
  else adopt();
}

/// Keeps the very object and array the page may hold: references taken before we came go on working.
function adopt() {
  var object = (window.RapidMetrics = window.RapidMetrics || {}), stub = object._q, calls;
  if (object.loaded) return;
  calls = stub && stub.splice ? stub.splice(0) : [];
  if (stub) stub.push = function (entry) {
    replay(entry);
    return 0;
  };
  Object.assign(object, api, { version: VERSION, loaded: true });
  // Consent speaks first, then the page view, then everything in the order of the calls.
  calls = calls.filter(function (entry) {
    return entry[0] != 'consent' || replay(entry);
  });
  open();
  calls.forEach(replay);
  emit('ready', object);
}

/// `[method, arguments]`, or with the time and address of the call and who waits for its result.
function replay(entry) {
  try {
    var args = entry[1], method = api[entry[0]];
    args = method ? method(args[0], args[1], args[2], entry[2]) : refusal('unknown_method', 'not in this version');
    if (entry[3]) entry[3](args);
  } catch (e) {} // an entry of a shape we never promised
}

/// Privacy control of the browser counts as a revocation, unless the visitor said yes to this very site.
function allowed() {
  return !config.unknown && (consent == 'granted' || (!consent && !navigator.globalPrivacyControl));
}

/// Once, as soon as it may: ids, earlier pages' events, pixels, the page view.
function open() {
  if (!allowed()) return;
  if (!opened) {
    opened = true;
    meetVisitor();
    openQueue(config.fid);
    items.forEach(function (item) {
      item.end = ending(item.e.event_id, 0, []);
    });
    initPixels(config.pixels, config.pixel_script_url);
    plan();
  }
  if (!viewed && config.pageview !== false && !document.querySelector('[data-pageview=off]')) track('PageView');
  viewed = true;
}

function track(name, props, options, call) {
  return accept(name, props == null ? {} : props, options || {}, call, true);
}

function identify(email, traits, _, call) {
  if (typeof email == 'string') email = Object.assign({}, traits, { email: email });
  return accept('identify', email, {}, call);
}

/// One logical event, fixed at the moment of the call: everything that happens to it later is only delivery.
function accept(name, props, options, call, isTrack) {
  return new Promise(function (resolve) {
    var warnings = [], now = Date.now(), known = person, order, item, id, text;
    function refuse(code, message) {
      resolve(refusal(code, message, warnings));
    }
    call = call || {};
    try {
      if (typeof name != 'string' || !name || name.length > 100) return refuse('invalid_name', '1 to 100 characters');
      text = toText(props, warnings);
      if (!/^\{/.test(text)) return refuse('invalid_properties', 'not an object');
      props = JSON.parse(text);
      if (isTrack) {
        checkName(name, warnings);
        checkMoney(props, config.currency, warnings);
        if (isOrder(name) && !(order = props.order_id = orderId(props.order_id, warnings))) delete props.order_id;
      } else {
        for (text in props) if (props[text] == null || props[text] === '') delete props[text];
        if (!Object.keys(props).length) return refuse('invalid_properties', 'nobody');
        text = JSON.stringify((known = Object.assign({}, person, props)));
      }
      if (tooLarge(text)) return refuse('payload_too_large', 'over 10 KB');
      id = eventId(config.fid, order, options, now, warnings);
      if (!allowed()) return resolve(result(config.unknown ? 'unknown_funnel' : 'consent', id, warnings));

      person = known;
      item = {
        live: true,
        p: here(call.u || location.href),
        e: {
          event_id: id,
          visitor_id: ids().visitor_id,
          type: isTrack ? 'track' : 'identify',
          name: name,
          props: props,
          at: Math.min(+(call.t || options.timestamp) || now, now),
          seq: ++seq,
          server: options.server === false ? false : undefined,
          test_event_code: options.test_event_code && '' + options.test_event_code
        }
      };
      item.end = ending(id, resolve, warnings);
      send(item);
      if (isTrack && options.pixel !== false) firePixels(config.pixels, name, props, id);
    } catch (e) {
      refuse('invalid_properties', '' + e); // a getter of the page threw
    }
  });
}

/// Answers the caller once, with the first thing known: acknowledged, left with the page, or safely waiting.
function ending(id, resolve, warnings) {
  var timer = resolve && setTimeout(end, ANSWER_MS_MAX, 'queued');
  function end(status, said) {
    var answer = result(status, id, warnings.concat((said && said.warnings) || []), said && said.error);
    clearTimeout(timer);
    if (resolve) resolve(answer);
    else if (status == 'queued') return;
    resolve = 0;
    if (status != 'consent') emit(status == 'ok' ? 'delivered' : status, answer);
  }
  return end;
}

function refusal(code, message, warnings) {
  return result('invalid', '', warnings || [], { code: code, message: message });
}

function result(status, id, warnings, error) {
  var answer = { ok: /^(ok|queued|beacon)$/.test(status), status: status, event_id: id, event_ids: id ? [id] : [] };
  if (warnings.length) answer.warnings = warnings;
  if (error) answer.error = error;
  return answer;
}

/// The page an event happened on; events of one address share one object, and so one request.
function here(url) {
  url = withoutEmails(url);
  if (page.url != url) page = { url: url, referrer: withoutEmails(document.referrer), title: document.title.slice(0, 300) };
  return page;
}

/// A purchase need not wait for the identify just before it: every batch of this page says who is there.
function batch(list) {
  var known = ids();
  return JSON.stringify({
    v: 1,
    fid: config.fid,
    sent_at: Date.now(),
    page: list[0].p,
    ids: { fbp: known.fbp, fbc: known.fbc },
    consent: 'granted',
    person: list[0].live ? person : {},
    events: list.map(function (item) {
      return item.e;
    })
  });
}

function setConsent(state) {
  var yes = state === true || state == 'grant', answer = result('ok', '', []);
  if (yes || state === false || state == 'revoke') {
    store('localStorage', '_rm_consent', (consent = yes ? 'granted' : 'denied'));
    tellPixels(yes ? 'grant' : 'revoke');
    if (yes) open();
    else if (opened) {
      opened = false;
      person = {};
      empty().forEach(function (item) {
        item.end('consent');
      });
      forgetVisitor();
    }
    emit('consent', consent);
  } else answer = refusal('invalid_consent', 'grant or revoke');
  return Promise.resolve(answer);
}

function flush(ms) {
  return new Promise(function (resolve) {
    var forget = api.on('idle', done);
    function done() {
      forget();
      resolve(result(items.length ? 'queued' : 'ok', '', []));
    }
    setTimeout(done, ms || FLUSH_MS_MAX);
    if (opened) wake();
    else done();
  });
}

function emit(name, detail) {
  (listeners[name] || []).slice().forEach(function (callback) {
    call(callback, detail);
  });
}

/// A listener that throws harms nobody else.
function call(callback, detail) {
  try {
    callback(detail);
  } catch (e) {
    console.error(e);
  }
}
