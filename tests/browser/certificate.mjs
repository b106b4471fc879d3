// A throw-away certificate for every host name of the tests' world. Chromium is told not to mind.

import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

let made;

export function certificate() {
  if (made) return made;
  const folder = mkdtempSync(join(tmpdir(), 'rapidmetrics-tls-'));
  try {
    execFileSync('openssl', ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2',
      '-subj', '/CN=localhost', '-keyout', join(folder, 'key'), '-out', join(folder, 'cert')], { stdio: 'pipe' });
    return (made = { key: readFileSync(join(folder, 'key')), cert: readFileSync(join(folder, 'cert')) });
  } finally {
    rmSync(folder, { recursive: true });
  }
}
