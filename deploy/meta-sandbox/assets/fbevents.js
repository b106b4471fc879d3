/* A stand-in for Meta's fbevents.js: takes over the page's fbq queue and reports each event to the box that served this file. */
(function (window, document) {
  'use strict';

  var COOKIE_SECONDS = 7776000; // 90 days
  var CLICK_ID_MAX = 500;

  var fbq = window.fbq;
  if (!fbq) {
    fbq = window.fbq = function () {
      if (fbq.callMethod) fbq.callMethod.apply(fbq, arguments);
      else fbq.queue.push(arguments);
    };
    if (!window._fbq) window._fbq = fbq;
    fbq.push = fbq;
    fbq.loaded = true;
    fbq.version = '2.0';
    fbq.queue = [];
  }
  if (fbq.callMethod) {
    warn('fbevents.js was loaded twice, or something else already listens');
    return;
  }

  var origin = ownOrigin();
  var pixels = []; // ids, in the order of init
  var options = {}; // dpo, dpoco, dpost: data processing options
  var granted = true; // consent is taken as given until somebody revokes it
  var held = []; // events that wait for consent

  var methods = {
    init: function (id, person) {
      id = String(id);
      if (pixels.some(function (pixel) { return pixel.id === id; })) {
        warn('pixel ' + id + ' was initialised before');
        return;
      }
      pixels.push({ id: id, person: digests(person) });
      if (granted) writeCookies();
    },
    track: function (name, params, about) {
      each(pixels, name, params, about);
    },
    trackCustom: function (name, params, about) {
      each(pixels, name, params, about);
    },
    trackSingle: function (id, name, params, about) {
      each(only(id), name, params, about);
    },
    trackSingleCustom: function (id, name, params, about) {
      each(only(id), name, params, about);
    },
    consent: function (choice) {
      granted = choice !== 'revoke';
      if (!granted) return;
      if (pixels.length) writeCookies();
      held.splice(0).forEach(report);
    },
    dataProcessingOptions: function (list, country, state) {
      options = { dpo: (list || []).join(','), dpoco: country, dpost: state };
    },
    set: function () {} // autoConfig and the like: the box sends nothing by itself, so there is nothing to switch
  };

  fbq.callMethod = function () {
    var method = methods[arguments[0]];
    if (!method) {
      warn('there is no method ' + arguments[0]);
      return;
    }
    try {
      method.apply(null, Array.prototype.slice.call(arguments, 1));
    } catch (error) {
      warn(error); // a page must never break over its statistics
    }
  };
  fbq.getState = function () {
    return { pixels: pixels.map(function (pixel) { return { id: pixel.id }; }) };
  };
  while (fbq.queue && fbq.queue.length) fbq.callMethod.apply(fbq, fbq.queue.shift());

  function only(id) {
    return pixels.filter(function (pixel) { return pixel.id === String(id); });
  }

  function each(chosen, name, params, about) {
    if (!name) {
      warn('an event has no name');
      return;
    }
    if (!chosen.length) {
      warn('no pixel is initialised for ' + name);
      return;
    }
    chosen.forEach(function (pixel) {
      var event = { pixel: pixel, name: name, params: params || {}, id: about && about.eventID, url: location.href, at: Date.now() };
      if (granted) report(event);
      else held.push(event);
    });
  }

  function report(event) {
    var form = new URLSearchParams();
    var add = function (name, value) {
      if (value === undefined || value === null || value === '') return;
      form.append(name, typeof value === 'object' ? JSON.stringify(value) : String(value));
    };
    add('id', event.pixel.id);
    add('ev', event.name);
    add('eid', event.id);
    add('dl', event.url);
    add('rl', document.referrer);
    add('ts', event.at);
    add('fbp', cookie('_fbp'));
    add('fbc', cookie('_fbc'));
    Object.keys(options).forEach(function (name) { add(name, options[name]); });
    Object.keys(event.params).forEach(function (name) { add('cd[' + name + ']', event.params[name]); });
    Object.keys(event.pixel.person).forEach(function (name) { add('ud[' + name + ']', event.pixel.person[name]); });
    send(origin + '/tr', form);
  }

  /* A beacon outlives the page; where there is none, a request that is kept alive, and at last an image. */
  function send(url, form) {
    try {
      if (navigator.sendBeacon && navigator.sendBeacon(url, form)) return;
    } catch (error) { /* the next way, then */ }
    var asImage = function () { new Image().src = url + '?' + form.toString(); };
    if (!window.fetch) {
      asImage();
      return;
    }
    window.fetch(url, { method: 'POST', body: form, mode: 'no-cors', keepalive: true }).catch(asImage);
  }

  /* Advanced matching: digests pass, clear text stays in the page. */
  function digests(person) {
    var found = {};
    Object.keys(person || {}).forEach(function (name) {
      if (/^[0-9a-f]{64}$/.test(person[name])) found[name] = person[name];
    });
    return found;
  }

  function writeCookies() {
    if (!cookie('_fbp')) {
      writeCookie('_fbp', String(Math.floor(Math.random() * 2147483648)));
    }
    var click = new URLSearchParams(location.search).get('fbclid');
    var known = (cookie('_fbc') || '').split('.')[3];
    if (click && click !== known && click.length <= CLICK_ID_MAX && click.indexOf('.') < 0) writeCookie('_fbc', click);
  }

  /* On the widest domain that the browser lets us have; the number in the value counts that domain's dots. */
  function writeCookie(name, payload) {
    var labels = location.hostname.split('.');
    var address = /^[0-9.]+$|:/.test(location.hostname);
    for (var from = address ? -1 : labels.length - 2; from >= 0; from -= 1) {
      var domain = labels.slice(from).join('.');
      if (store(name, domain.split('.').length - 1, payload, ';domain=.' + domain)) return;
    }
    store(name, 0, payload, '');
  }

  function store(name, dots, payload, domain) {
    var value = 'fb.' + dots + '.' + Date.now() + '.' + payload;
    document.cookie = name + '=' + value + ';path=/;max-age=' + COOKIE_SECONDS + ';samesite=lax' + domain;
    return cookie(name) === value;
  }

  function cookie(name) {
    var found = document.cookie.split('; ').filter(function (pair) { return pair.indexOf(name + '=') === 0; })[0];
    return found ? found.slice(name.length + 1) : '';
  }

  /* Where this file came from: the box to report to. */
  function ownOrigin() {
    var script = document.currentScript;
    if (!script || !script.src) {
      script = Array.prototype.filter.call(document.getElementsByTagName('script'), function (one) {
        return /\/fbevents\.js($|\?|#)/.test(one.src);
      }).pop();
    }
    return script && script.src ? new URL(script.src, location.href).origin : location.origin;
  }

  function warn(what) {
    if (window.console) console.warn('[meta in a box]', what);
  }
})(window, document);
