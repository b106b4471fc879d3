// Copies what the page gave us, once, at the moment of the call, and remarks on what looks wrong.

var STANDARD = ('PageView Purchase InitiateCheckout AddToCart AddPaymentInfo Lead CompleteRegistration ViewContent ' +
  'Search AddToWishlist Subscribe StartTrial Contact Schedule SubmitApplication').split(' ');

/// The webhook takes 10 KB; both doors agree.
export function tooLarge(text) {
  return bytes(text) > 10240;
}

export function bytes(text) {
  return new Blob([text]).size;
}

export function isStandard(name) {
  return STANDARD.indexOf(name) >= 0;
}

/// 'add to cart' travels unchanged, but the author learns the right spelling.
export function checkName(name, warnings) {
  function letters(text) {
    return text.toLowerCase().replace(/[^a-z]/g, '');
  }
  STANDARD.forEach(function (known) {
    if (known != name && letters(known) == letters(name)) warnings.push('did you mean ' + known + '?');
  });
}

/// The value as JSON text. What JSON cannot say (cycles, BigInt, functions) is left out with a remark.
export function toText(value, warnings) {
  var holders = [];
  return JSON.stringify(value, function (key, inner) {
    // `this` holds `key`: whatever was pushed after it belongs to a branch that is finished.
    while (holders.length && holders[holders.length - 1] != this) holders.pop();
    if (/^(function|symbol|bigint)$/.test(typeof inner) || holders.indexOf(inner) >= 0) warnings.push(key + ' left out');
    else {
      if (inner && typeof inner == 'object') holders.push(inner);
      return inner;
    }
  });
}

/// Money as Meta wants it: a number, and a currency beside it.
export function checkMoney(props, currency, warnings) {
  var value = props.value;
  if (value == null) return;
  if (typeof value != 'number') {
    if (/^\s*-?\d+(\.\d+)?\s*$/.test(value)) props.value = +value;
    warnings.push('value is not a number');
  }
  if (!props.currency) {
    props.currency = currency;
    warnings.push('currency missing');
  }
}

/// An address in a query string must not leave the page inside a URL.
export function withoutEmails(url) {
  return url.replace(/([?&#][^=&#]*=)[^&#]*(@|%40)[^&#]*/gi, '$1').slice(0, 2048);
}
