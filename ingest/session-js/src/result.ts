// What a call resolves with.

import { emit } from './listeners';
import type { Result, Status } from './public';

export const result = (status: Status, event_id = '', warnings: string[] = [], error?: Result['error']): Result => ({
  ok: /^[oqb]/.test(status), // ok, queued, beacon
  event_id,
  event_ids: event_id ? [event_id] : [],
  warnings: (warnings[0] && warnings) as any,
  error,
  status,
});

/// The codes explain themselves to those who know them, and the debug file explains them to others.
export const refusal = (code: string): Result => emit('invalid', result('invalid', '', [], { code, message: code }));
