// headend's API: GETs, and polling that slows down when the server is away and rests while nobody looks.

import { Backoff } from './backoff.js';
import { ROOT } from './path.js';
import { refusal, send } from './session.js';

/** An answer's JSON; throws a SignallingError. */
export async function get(path, { key } = {}) {
  const headers = { Accept: 'application/json', ...(key ? { Authorization: `Bearer ${key}` } : {}) };
  const response = await send(path, { headers, signal: AbortSignal.timeout(10_000) });
  if (!response.ok) throw await refusal(response);
  return response.json();
}

/** Calls `task` every `interval` ms while the page is visible; gives a function that stops it. */
export function poll(interval, task, onerror = () => {}) {
  const backoff = new Backoff({ min: interval, max: 15_000 });
  let timer;
  let busy = false;
  let stopped = false;
  const tick = async () => {
    clearTimeout(timer);
    if (busy || stopped || document.hidden) return;
    busy = true;
    let wait = interval;
    try {
      await task();
      backoff.reset();
    } catch (error) {
      wait = backoff.next(error.wait);
      onerror(error);
    }
    busy = false;
    if (!stopped && !document.hidden) timer = setTimeout(tick, wait);
  };
  document.addEventListener('visibilitychange', tick);
  tick();
  return () => {
    stopped = true;
    clearTimeout(timer);
    document.removeEventListener('visibilitychange', tick);
  };
}

/** A stream's path in a URL of the API. */
export const streamUrl = (path) => `${ROOT}api/v1/streams/${path.split('/').map(encodeURIComponent).join('/')}`;
