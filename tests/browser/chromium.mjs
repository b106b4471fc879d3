// Starts the Chromium that is installed here, the same way for every test.

import { chromium } from 'playwright-core';

export const FLAGS = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
  '--disable-component-update', '--disable-sync'];

/// `rest` are Playwright's own launch options; its `args` come on top of ours.
export function launch(executablePath = process.env.CHROMIUM ?? '/usr/bin/chromium', { args = [], ...rest } = {}) {
  return chromium.launch({ executablePath, args: [...FLAGS, ...args], ...rest });
}
