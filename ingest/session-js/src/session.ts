// The browser script: one file a page loads, which tells our server and the Meta pixel of each event under one id.
// The server replaces the one token below by the funnel's public configuration when it serves the built file, or by 0
// where the file must be the same for everybody; that one is built to ask for it.

import type { Configuration } from './public';
import { start } from './start';

declare const __RM_CONFIG__: Partial<Configuration> | 0;

start(__RM_CONFIG__);
