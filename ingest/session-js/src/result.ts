// What a call resolves with.

import { emit } from './listeners';
import type { Result, Status } from './public';

export const result = (status: Status, id: string, warnings: string[] = [], error?: Result['error']): Result => ({
  ok: /^(ok|queued|beacon)$/.test(status),
  status,
  event_id: id,
  event_ids: id ? [id] : [],
  warnings: warnings[0] ? warnings : undefined,
  error,
});

/// The codes explain themselves to those who know them, and the debug file explains them to others.
export const refusal = (code: string): Result => emit('invalid', result('invalid', '', [], { code, message: code }));
