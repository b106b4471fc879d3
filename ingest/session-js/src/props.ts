// Copies what the page gave us, once, at the moment of the call.

/// What identify calls a person's traits, and what Meta calls them.
export const TRAITS: Record<string, string> = {
  email: 'em', phone: 'ph', first_name: 'fn', last_name: 'ln', customer_id: 'external_id',
  city: 'ct', state: 'st', zip: 'zp', country: 'country', date_of_birth: 'db', gender: 'ge',
};

/// The value as JSON text. What JSON cannot say (cycles, BigInt, functions) is left out with a remark.
export const toText = (value: unknown, warnings: string[]): string | undefined => {
  const path: unknown[] = [];
  return JSON.stringify(value, function (this: unknown, key, inner) {
    // `this` holds `key`: whatever came onto the path after it belongs to a branch that is finished.
    path.splice(0, path.indexOf(this));
    if (/^(f|sy|bi)/.test(typeof inner) || path.includes(inner)) warnings.push(key + ' left out');
    else {
      path.unshift(inner);
      return inner;
    }
  });
};

/// An address in a query string must not leave the page inside a URL.
export const withoutEmails = (url: string): string => url.replace(/=[^&#]*(@|%40)[^&#]*/gi, '=');

/// Properties may name a person as well; on disk they lose that part.
export const impersonal = (name: string, value: any): unknown => TRAITS[name] || /[^\s/]@\S+\.\S/.test(value) ? undefined : value;
