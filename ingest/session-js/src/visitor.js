// Knows this browser: its anonymous visitor id and the two ids by which Meta knows it.

import { load, readCookie, store, widestDomain, writeCookie } from './cookies.js';
import { uuid7 } from './ids.js';

var VISITOR_DAYS = 390; // browsers cap cookies at 400
var META_DAYS = 90;
var META = /^fb\.\d+\.\d+\.([^.]+)(\.([\w-]{8}|A[Qgw]|B[AQg]))?$/;

/// What this page load knows, also where neither cookies nor storage work.
var memory = {};

/// Finds or makes all three, before the first event is built.
export function meetVisitor() {
  var id = readCookie('_rm_vid') || load('localStorage', '_rm_vid') || '', now = Date.now();
  if (!/^[\w-]{8,64}$/.test(id)) id = uuid7(now);
  // A cookie that is there stays as it is: writing it again by script would shorten the life our server gave it.
  if (readCookie('_rm_vid') != id) writeCookie('_rm_vid', id, VISITOR_DAYS);
  store('localStorage', '_rm_vid', id);
  memory._rm_vid = id;

  if (!META.test(readCookie('_fbp'))) keepMeta('_fbp', now, crypto.getRandomValues(new Uint32Array(1))[0] >>> 1);
  var click = clickId(location.href) || clickId(document.referrer);
  if (click && click != (META.exec(readCookie('_fbc')) || [])[1]) keepMeta('_fbc', now, click);
}

function keepMeta(name, now, last) {
  var domain = widestDomain();
  memory[name] = 'fb.' + (domain ? domain.split('.').length - 1 : 0) + '.' + now + '.' + last;
  writeCookie(name, memory[name], META_DAYS);
}

/// The click id exactly as Meta wrote it, decoded once. One with a dot cannot live in the cookie's format.
export function clickId(url) {
  var found = /[?&]fbclid=([^&#]*)/.exec(url);
  try {
    found = decodeURIComponent(found[1]);
    return /^[^.;,\s]{1,500}$/.test(found) && found;
  } catch (e) {} // none, or broken
}

function meta(name) {
  var cookie = readCookie(name);
  return META.test(cookie) ? cookie : memory[name] || null;
}

export function ids() {
  return { visitor_id: memory._rm_vid || null, fbp: meta('_fbp'), fbc: meta('_fbc') };
}

export function forgetVisitor() {
  memory = {};
  ['_rm_vid', '_fbp', '_fbc'].forEach(function (name) {
    writeCookie(name, '', 0);
  });
  store('localStorage', '_rm_vid');
}
