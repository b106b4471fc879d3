// Keeps every event until the server has acknowledged it, across page loads, and never a person on disk.
//
// An item is { e: the event as sent, p: the page it happened on, live: made by this page load, beacon: tried by
// beacon, end: tells the caller }.

import { load, store } from './cookies.js';

var EVENT_MS_MAX = 7 * 864e5; // the server knows an id for at least as long
var PERSON_MS_MAX = 18e5;
var PERSONAL = /^(e?mail|phone|(first|last|full)_?name|address|city|state|zip|date_of_birth|gender|customer_id)$/i;

var eventsKey, personKey;

/// What waits, oldest first. Others read it; only this file and `send` change it.
export var items = [];

/// Takes up what earlier pages could not deliver.
export function openQueue(fid) {
  eventsKey = '_rm_q_' + fid;
  personKey = '_rm_i_' + fid;
  items = read('sessionStorage', personKey, PERSON_MS_MAX)
    .concat(read('localStorage', eventsKey, EVENT_MS_MAX))
    .sort(function (a, b) {
      return a.e.at - b.e.at;
    })
    .concat(items);
}

export function empty() {
  var all = items;
  items = [];
  store('localStorage', eventsKey);
  store('sessionStorage', personKey);
  return all;
}

/// Only what was acknowledged leaves. Other tabs write here too: what is not ours stays. An unsent identify goes to the tab's own storage, only when
/// this page may not be able to deliver it, and for thirty minutes.
export function save(done, inDoubt) {
  var ours = items.map(key), list, people;
  items = items.filter(function (item) {
    return done.indexOf(item) < 0;
  });
  list = read('localStorage', eventsKey, EVENT_MS_MAX).filter(function (item) {
    return ours.indexOf(key(item)) < 0;
  }).concat(items.filter(isTrack));
  // A full storage keeps the newest that fit.
  while (!write('localStorage', eventsKey, list, impersonal) && list.length) list = list.slice((list.length + 1) / 2);

  people = items.filter(function (item) {
    return inDoubt && !isTrack(item) && Date.now() - item.e.at < PERSON_MS_MAX;
  });
  write('sessionStorage', personKey, people);
  if (people.length) {
    setTimeout(function () {
      save([], inDoubt);
    }, PERSON_MS_MAX);
  }
}

function isTrack(item) {
  return item.e.type == 'track';
}

/// A Lead and a Purchase of one order share an id.
function key(item) {
  return item.e.name + ' ' + item.e.event_id;
}

/// Properties may name a person as well; on disk they lose that part.
export function impersonal(name, value) {
  return PERSONAL.test(name) || /\S@\S+\.\S/.test(typeof value == 'string' ? value : '') ? undefined : value;
}

function write(kind, name, list, replacer) {
  return store(kind, name, list.length && JSON.stringify(list.map(function (item) {
    return { e: item.e, p: item.p };
  }), replacer));
}

function read(kind, name, age_ms_max) {
  try {
    return JSON.parse(load(kind, name) || '[]').filter(function (item) {
      return item.e.event_id && item.p && Date.now() - item.e.at < age_ms_max;
    });
  } catch (e) {
    return [];
  }
}
