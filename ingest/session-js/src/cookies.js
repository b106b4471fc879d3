// Reads and writes first-party cookies and storage where the page allows it, and never throws where it does not.

var domain;

export function readCookie(name) {
  try {
    return (('; ' + document.cookie).split('; ' + name + '=')[1] || '').split(';')[0];
  } catch (e) {
    return '';
  }
}

function put(name, value, days, host) {
  try {
    document.cookie = name + '=' + value + ';path=/;max-age=' + days * 86400 + ';samesite=lax' +
      (host ? ';domain=' + host : '') + (location.protocol == 'https:' ? ';secure' : '');
  } catch (e) {} // a sandboxed frame has no cookies
}

/// The widest domain on which the browser lets us write; '' means this host only (localhost, addresses).
/// One dot less than its labels is also the index Meta wants in `_fbp`.
export function widestDomain() {
  if (domain == null) {
    var labels = location.hostname.split('.'), i = /^[\d.]+$|:/.test(location.hostname) ? 0 : labels.length - 1, host;
    domain = '';
    while (i-- > 0 && !domain) {
      host = labels.slice(i).join('.');
      put('_rm_t', 1, 1, host);
      if (readCookie('_rm_t')) domain = host;
      put('_rm_t', '', 0, host);
    }
  }
  return domain;
}

/// Zero days removes it.
export function writeCookie(name, value, days) {
  put(name, value, days, widestDomain());
}

/// `kind` is localStorage or sessionStorage; either may throw on mere access.
export function load(kind, key) {
  try {
    return window[kind].getItem(key);
  } catch (e) {}
}

/// True when it is stored. An empty value removes the key.
export function store(kind, key, value) {
  try {
    value ? window[kind].setItem(key, value) : window[kind].removeItem(key);
    return true;
  } catch (e) {}
}
