// Copies what the page gave us, once, at the moment of the call.

/// An object as it is now, or nothing if it is none. What JSON cannot say (cycles, BigInt, functions) is left out with
/// a remark.
export const copy = (value: unknown, warnings: string[], reviver?: false | ((key: string, value: any) => unknown)): any => {
  const path: unknown[] = [];
  const text = JSON.stringify(value, function (this: unknown, key, inner) {
    // `this` holds `key`: whatever came onto the path after it belongs to a branch that is finished.
    path.length = path.indexOf(this) + 1;
    // a function, a symbol, a bigint
    if (/^f|sy|bi/.test(typeof inner) || path.includes(inner)) warnings.push(key + ' left out');
    else {
      path.push(inner);
      return inner;
    }
  });
  return /^{/.test(text) && JSON.parse(text, reviver as undefined);
};

/// An address in a query string must not leave the page inside a URL.
export const withoutEmails = (url: string): string => url.replace(/=[^&#]*(@|%40)[^&#]*/g, '=');

/// What identify calls a person's traits.
const TRAIT = /mail|phone|(fir|la)st_name|customer_id|^(city|state|zip|country)$|birth|gender/;

/// Properties may name a person as well; on disk they lose that part.
export const impersonal = (name: string, value: any): unknown => TRAIT.test(name) || /[^\s/]@\S+\.\S/.test(value) ? undefined : value;
