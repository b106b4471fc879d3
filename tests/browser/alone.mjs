// A Chromium that nobody drives: a driver's presence forbids prerendering. The page does what it does by itself, and the
// world sees it from outside.

import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { FLAGS } from './chromium.mjs';

/// Opens `url`; returns a function that ends the browser.
export function openAlone(url, args) {
  const profile = mkdtempSync(join(tmpdir(), 'rapidmetrics-chromium-'));
  const child = spawn(process.env.CHROMIUM ?? '/usr/bin/chromium', ['--headless=new', `--user-data-dir=${profile}`, ...FLAGS, ...args, url],
    { stdio: 'ignore', detached: true });
  const gone = new Promise((done) => child.on('exit', done));
  return async () => {
    process.kill(-child.pid, 'SIGKILL'); // the browser and its own children
    await gone;
    rmSync(profile, { recursive: true, force: true, maxRetries: 5, retryDelay: 100 });
  };
}
