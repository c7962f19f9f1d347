// How long to wait before trying again.

/** Waits that grow from `min` to `max` ms by `factor`, each shortened by up to `jitter` of itself so that clients don't come back in step. */
export class Backoff {
  constructor({ min = 500, max = 8000, factor = 2, jitter = 0.3, random = Math.random } = {}) {
    Object.assign(this, { min, max, factor, jitter, random, attempts: 0 });
  }

  /** The next wait in ms. What the server asked for (`Retry-After`, in ms) counts as a lower bound. */
  next(atLeast = 0) {
    const whole = Math.min(this.max, this.min * this.factor ** this.attempts);
    this.attempts += 1;
    return Math.max(atLeast, Math.round(whole * (1 - this.jitter * this.random())));
  }

  reset() {
    this.attempts = 0;
  }
}

/** A server can't make a page wait longer than this. */
const LONGEST_RETRY_AFTER = 30_000;

/** `Retry-After` (RFC 9110 section 10.2.3: seconds or a date) in ms; 0 if absent or nonsense. */
export function retryAfter(value, now) {
  if (!value) return 0;
  const ms = /^\s*\d+\s*$/.test(value) ? Number(value) * 1000 : Date.parse(value) - now;
  return Number.isFinite(ms) ? Math.min(LONGEST_RETRY_AFTER, Math.max(0, ms)) : 0;
}

/** Resolves after `ms`, or at once with an AbortError. */
export function sleep(ms, signal) {
  return new Promise((resolve, reject) => {
    const abort = () => {
      clearTimeout(timer);
      reject(signal.reason);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener('abort', abort);
      resolve();
    }, ms);
    if (signal?.aborted) abort();
    else signal?.addEventListener('abort', abort, { once: true });
  });
}
