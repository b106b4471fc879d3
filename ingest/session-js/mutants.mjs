// Breaks the script on purpose, in ten places, and shows that the browser tests notice. The tree stays as it is: each
// mutant is built to a temporary file, which an environment variable names to the tests.
//
//   node mutants.mjs [NAME…]

import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { script } from './build.mjs';

/// What is broken: its name, the source, what stands there, what stands there instead, the suite that must notice, and
/// the tests of it that are run (all of them with ALL=1).
const MUTANTS = [
  ['the pixel is not told the event id', 'pixel.ts', '{ eventID: event_id })', '{})', 'pixel', 'under the very id'],
  ['nothing is kept on disk', 'storage.ts', 'level && impersonal', '0 && impersonal', 'delivery', 'unsent and closed|fails while the page goes'],
  ['Retry-After is ignored', 'transport.ts', '1000 * (after as number)', '0', 'delivery', 'several failures|not before the server wants'],
  ['pending consent sends', 'start.ts', `config.consent != 'pending'`, 'true', 'consent', 'pending'],
  ['two requests are in flight', 'transport.ts', 'busy = true;', '', 'delivery', 'one request is under way'],
  ['an order fires the pixel again', 'pixel.ts', 'orders.includes(key)', 'false', 'pixel', 'thank-you page'],
  ['addresses stay in URLs', 'props.ts', `.replace(/=[^&#]*`, `.replace(/nothing=[^&#]*`, 'consent', 'address in the page'],
  ['leaving the page forgets the beacon', 'transport.ts', 'while (cut(ready(), beacon))', 'while (0)', 'delivery', 'waits behind a slow request'],
  ['storage none writes cookies', 'storage.ts', 'if (level! > 1)', 'if (true)', 'identity', 'with storage'],
  ['early calls are replayed backwards', 'start.ts', 'later.forEach(replay)', 'later.reverse().forEach(replay)', 'loading', 'byte for byte'],
];

const browser = new URL('../../tests/browser/', import.meta.url).pathname;
const folder = mkdtempSync(join(tmpdir(), 'rapidmetrics-mutants-'));
const wanted = process.argv.slice(2);
let survivors = 0;
try {
  for (const [name, file, before, after, suite, tests] of MUTANTS) {
    if (wanted.length && !wanted.includes(name)) continue;
    const path = join(folder, 'session.js');
    writeFileSync(path, await script([edit(file, before, after)]));
    const run = spawnSync(process.execPath, ['--test', '--test-reporter=tap', ...(process.env.ALL ? [] : [`--test-name-pattern=${tests}`]), `${suite}.test.mjs`], {
      cwd: browser, encoding: 'utf8', timeout: 600e3, env: { ...process.env, RAPIDMETRICS_SCRIPT: path },
    });
    const killers = [...run.stdout.matchAll(/^ *not ok \d+ - (.*)$/gm)].map((found) => found[1]).filter((test) => !test.endsWith('.mjs'));
    console.log(killers.length ? `mutant ${name} killed by "${killers[0]}"` : `mutant ${name} SURVIVED`);
    if (!killers.length) survivors++;
  }
} finally {
  rmSync(folder, { recursive: true });
}
process.exitCode = survivors ? 1 : 0;

/// Replaces one place of one source on its way into the bundle.
function edit(file, before, after) {
  return {
    name: 'mutant',
    setup(build) {
      build.onLoad({ filter: /\.ts$/ }, ({ path }) => {
        if (basename(path) !== file) return;
        const text = readFileSync(path, 'utf8');
        if (text.split(before).length !== 2) throw new Error(`${file} must hold once: ${before}`);
        return { contents: text.replace(before, () => after), loader: 'ts' };
      });
    },
  };
}
