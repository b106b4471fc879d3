// The browser script: one file a page loads, which tells our server and the Meta pixel of each event under one id.
// The server replaces the one token below by the funnel's public configuration when it serves the built file.

import { start } from './src/start.js';

start(__RM_CONFIG__);
