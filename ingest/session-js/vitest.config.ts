// The pure parts are tested by vitest, the built files by node.

import { defineConfig } from 'vitest/config';

export default defineConfig({ test: { include: ['test/*.test.ts'] } });
