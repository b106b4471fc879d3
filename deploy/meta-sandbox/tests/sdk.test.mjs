// The box against clients that we did not write: Meta's own SDKs. Run with `node --test`; tests/run installs what it needs.

import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const BOX = join(process.env.CARGO_TARGET_DIR ?? here('../../../target'), 'release', 'meta-sandbox');
const CACHE = join(process.env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'rapidmetrics');
const [PIXEL, TOKEN] = ['42', 'EAAtoken'];

// SHA-256 of what the SDKs make of John.
const JOHN = {
  em: '855f96e983f1f8e8be944692b6f719fd54329826cb62e98015efee8e2e071dd4', // john@example.com
  ph: 'e323ec626319ca94ee8bff2e4c87cf613be6ea19919ed1364124e16807ab3176', // 16505551212
  fn: '96d9632f363564cc3032521409cf22a852f2032eec099ed5967c0d000cec607a', // john
  country: '79adb2a2fce5c6ba215fe5f27f532d4e7edbac4b6a5e09e1ef3a08084a904621', // us
};

const SDKS = [
  {
    name: 'facebook-nodejs-business-sdk',
    prefix: 'node',
    run: [process.execPath, here('sdk/send.mjs')],
    content_type: 'application/json',
    events: (body) => JSON.parse(body).data,
    currency: 'USD',
  },
  {
    name: 'facebook-business',
    prefix: 'python',
    run: [join(CACHE, 'sdk-python', 'bin', 'python'), here('sdk/send.py')],
    content_type: 'application/x-www-form-urlencoded',
    // The data is a list of strings, each the JSON of one event.
    events: (body) => JSON.parse(new URLSearchParams(body).get('data')).map((text) => JSON.parse(text)),
    currency: 'usd',
  },
];

let box, url;

before(async () => {
  box = spawn(BOX, ['--listen', '127.0.0.1:0', '--json'], { stdio: ['ignore', 'pipe', 'inherit'] });
  const line = await new Promise((told, failed) => {
    box.once('error', () => failed(new Error(`${BOX} does not start: build it with cargo build --release -p meta-sandbox`)));
    createInterface(box.stdout).once('line', told);
  });
  url = JSON.parse(line).listen;
});
after(() => box.kill());

const get = async (path) => (await fetch(url + path)).json();

/** Prints what went over the wire and what the SDK told its caller. */
function print(name, said, requests) {
  for (const [index, { step, ...told }] of said.entries()) {
    const { pixel, status, code, subcode, content_type, token_in, body } = requests[index];
    const readable = content_type === 'application/json' ? body : decodeURIComponent(body.replaceAll('+', ' '));
    const shown = readable.length > 1000 ? `${readable.slice(0, 1000)}… (${body.length} bytes)` : readable;
    console.log(`── ${name}: ${step}`);
    console.log(`   → POST /…/${pixel}/events  ${content_type}, token in ${token_in}`);
    console.log(`   → ${shown}`);
    console.log(`   ← ${status}${code === null ? '' : `, code ${code}`}${subcode === null ? '' : `/${subcode}`}`);
    console.log(`   the SDK says ${JSON.stringify(told)}`);
  }
}

for (const { name, prefix, run, content_type, events, currency } of SDKS) {
  test(`${name} is understood, and understands what it is told`, async () => {
    // A pixel put anew in strict mode: what Meta's own SDK sends breaks no documented rule.
    await fetch(`${url}/sandbox/pixels/${PIXEL}`, { method: 'PUT', body: JSON.stringify({ access_token: TOKEN, mode: 'strict' }) });
    const seen = (await get(`/sandbox/requests?pixel=${PIXEL}`)).length;
    const env = { ...process.env, NO_PROXY: '127.0.0.1', no_proxy: '127.0.0.1' };
    const { stdout } = await promisify(execFile)(run[0], [...run.slice(1), url, PIXEL, TOKEN], { env, timeout: 60_000 });
    const said = JSON.parse(stdout);
    const requests = (await get(`/sandbox/requests?pixel=${PIXEL}`)).slice(seen);
    print(name, said, requests);

    assert.deepEqual(said.map(({ step }) => step), ['a purchase', 'a batch', 'an old event in a batch', 'a wrong token']);
    const [one, batch, old, stranger] = said;
    assert.deepEqual([one.answer?.events_received, one.answer?.messages], [1, []]);
    assert.match(one.answer.fbtrace_id, /^Abox/);
    assert.equal(batch.answer?.events_received, 3);
    assert.deepEqual([old.error?.status, old.error?.code, old.error?.error_subcode, old.error?.type], [400, 100, 2804003, 'OAuthException']);
    assert.equal(old.error.error_user_title, 'Event Timestamp Too Old');
    assert.deepEqual([stranger.error?.status, stranger.error?.code, stranger.error?.error_subcode], [401, 190, undefined]);

    // What went over the wire.
    assert.deepEqual(requests.map(({ status }) => status), [200, 200, 400, 401]);
    assert.deepEqual(requests.map(({ code, subcode }) => [code, subcode]), [[null, null], [null, null], [100, 2804003], [190, null]]);
    for (const request of requests) {
      assert.deepEqual([request.content_type, request.token_in], [content_type, 'query']);
      assert.ok(!request.body.includes(TOKEN), 'no token is kept');
    }
    const [purchase] = events(requests[0].body);
    const digests = Object.fromEntries(Object.keys(JOHN).map((key) => [key, [purchase.user_data[key]].flat()[0]]));
    assert.deepEqual(digests, JOHN);
    const { value, order_id, contents } = purchase.custom_data;
    assert.deepEqual([value, purchase.custom_data.currency, order_id], [59.97, currency, `${prefix}:1`]);
    assert.equal(contents[0].quantity, 3);

    // What Meta would count.
    const counted = async (event, id) => (await get(`/sandbox/conversions?pixel=${PIXEL}&event_name=${event}&event_id=${prefix}:${id}`)).count;
    for (const id of [1, 2, 3]) assert.equal(await counted('Purchase', id), 1, `${prefix}:${id}`);
    assert.equal(await counted('Lead', 4), 1);
    for (const id of [5, 6, 7]) assert.equal(await counted('Purchase', id), 0, `nothing of a refused request is counted: ${prefix}:${id}`);
    assert.deepEqual(await get('/sandbox/remarks'), {}, 'no rule was broken');
  });
}

test('both SDKs together made eight conversions, and none twice', async () => {
  const { [PIXEL]: report } = await get('/sandbox/report');
  assert.deepEqual([report.requests, report.conversions, report.double_conversions, report.rejected], [8, 8, 0, 4]);
});
