// Speaks to the Meta pixel: only to the funnel's own pixels, each under the event's id. A pixel that fails is no event.

import { isStandard } from './props.js';

var own; // true when this page had no pixel and we brought it

/// Registers the funnel's pixels, each unless somebody on the page already did.
export function initPixels(pixels, scriptUrl) {
  try {
    if (!pixels.length) return;
    if (!window.fbq) bring(scriptUrl);
    pixels.forEach(function (id) {
      if (known(id)) return;
      if (own) fbq('set', 'autoConfig', false, id);
      fbq('init', id);
    });
  } catch (e) {}
}

export function firePixels(pixels, name, props, eventId) {
  pixels.forEach(function (id) {
    try {
      fbq(isStandard(name) ? 'trackSingle' : 'trackSingleCustom', id, name, props, { eventID: eventId });
    } catch (e) {}
  });
}

/// Consent is a word to every pixel on the page, so it is said only where the pixel is ours.
export function tellPixels(word) {
  try {
    if (own) fbq('consent', word);
  } catch (e) {}
}

/// Meta's own loader stub: it queues until the script is there, and for ever if it is blocked.
function bring(scriptUrl) {
  var script = document.createElement('script'), nonce = document.querySelector('script[nonce]');
  var stub = (window.fbq = function () {
    stub.callMethod ? stub.callMethod.apply(stub, arguments) : stub.queue.push(arguments);
  });
  window._fbq = window._fbq || stub;
  stub.push = stub;
  stub.loaded = own = true;
  stub.version = '2.0';
  stub.queue = [];
  stub.disablePushState = true; // pages change when we say so
  script.async = true;
  script.src = scriptUrl;
  if (nonce) script.nonce = nonce.nonce;
  document.head.appendChild(script);
}

/// Registered already? Meta's script tells its state; before it is there, the stub's queue does.
function known(id) {
  var state = fbq.getState && fbq.getState();
  return [].some.call((state && state.pixels) || [], function (pixel) {
    return pixel.id == id;
  }) || [].some.call(fbq.queue || [], function (call) {
    return call[0] == 'init' && call[1] == id;
  });
}
