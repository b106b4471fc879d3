// What a developer reads in the console: this file is loaded beside the script only while somebody debugs, and words
// what the script notes. The script itself knows codes.

/// `[name of what happened, detail]`, in the order in which it happened; before this file came they were collected.
type Note = [string, any];

const MEANING: Record<string, string> = {
  invalid_name: 'a name is text of 1 to 50 characters',
  invalid_properties: 'properties are an object; identify needs at least one trait',
  invalid_consent: 'consent takes grant or revoke',
  payload_too_large: 'properties take 10 KB at most',
  unknown_method: 'this version has no such method',
  retry: 'not acknowledged, tried again after milliseconds:',
  csp: 'the page\'s Content-Security-Policy forbids our server:',
  failed: 'this browser cannot send',
  unknown_funnel: 'the server knows no such funnel',
  consent: 'not sent: the visitor has not agreed, or the browser says so',
};

/// The names of events, by id: results know only the id.
const names: Record<string, string> = {};

const say = (text: string, detail?: unknown): void => console.log('[RapidMetrics] ' + text, detail || '');

const explain = ([what, detail]: Note): void => {
  if (what == 'call') {
    const [event, status] = detail;
    names[event.event_id] = event.name;
    say(event.name + ' ' + event.event_id, event.props);
    if (status) say(`${event.name} ${event.event_id}: ${MEANING[status] || status}`);
  } else if (what == 'pixel') {
    const [method, id, ...rest] = detail;
    const sent = /^track/.test(method);
    say(`pixel ${sent ? id + ' ' : ''}${method} ${sent ? `${rest[0]} ${rest[2].eventID}` : id}`, rest[sent ? 1 : 0]);
  } else if (what == 'error') say(`${detail.code}: ${MEANING[detail.code] || ''} ${detail.message}`);
  else if (what == 'invalid') say(`invalid: ${detail.error.code}, ${MEANING[detail.error.code] || detail.error.message}`, detail.warnings);
  else if (what == 'consent') say('consent ' + detail);
  else if (detail && detail.event_id && detail.status) {
    const by = /^(ok|rejected)$/.test(detail.status) ? 'server says ' : '', event = `${names[detail.event_id] || 'earlier event'} ${detail.event_id}: `;
    say(event + by + detail.status, detail.error);
    (detail.warnings || []).forEach((warning: string) => say(event + warning));
  }
};

const notes = (window as unknown as Record<symbol, { '': Note[] } | undefined>)[Symbol.for('RapidMetrics')]?.[''];
if (notes) {
  notes.push = (note) => {
    explain(note);
    return 0;
  };
  notes.splice(0).forEach(explain);
}

export {};
