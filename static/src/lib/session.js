// A WHIP or WHEP session over HTTP (RFC 9725): POST an offer, PATCH to restart ICE, DELETE to end.

import { retryAfter } from './backoff.js';
import { iceServers } from './link.js';

/** A refusal; `status` 0 means that the server could not be reached. */
export class SignallingError extends Error {
  constructor(status, code, message, wait = 0) {
    super(message);
    Object.assign(this, { name: 'SignallingError', status, code, wait });
  }

  /** Whether trying the same again is pointless until somebody changes something. */
  get final() {
    return this.code === 'no_webrtc' || (this.status >= 400 && this.status < 500 && ![404, 408, 409, 425, 429].includes(this.status));
  }
}

const authorization = (key) => (key ? { Authorization: `Bearer ${key}` } : {});

/** The error that an HTTP answer is, with the server's own sentence where it gave one. */
export async function refusal(response) {
  let error;
  try {
    error = (await response.json()).error;
  } catch {
    // Not ours: a proxy's page, or nothing.
  }
  const wait = retryAfter(response.headers.get('Retry-After'), Date.now());
  return new SignallingError(response.status, error?.code ?? '', error?.message ?? `the server answered ${response.status}`, wait);
}

/** fetch whose failure is a SignallingError too. */
export async function send(url, options) {
  try {
    return await fetch(url, { cache: 'no-store', ...options });
  } catch (error) {
    if (options?.signal?.aborted && options.signal.reason?.name !== 'TimeoutError') throw error;
    throw new SignallingError(0, 'unreachable', 'the server can’t be reached');
  }
}

export class Session {
  /** POSTs the offer. Gives the session with its `answer` and `iceServers`. */
  static async open(url, offer, { key, signal } = {}) {
    const response = await send(url, { method: 'POST', headers: { 'Content-Type': 'application/sdp', ...authorization(key) }, body: offer, signal });
    if (response.status !== 201) throw await refusal(response);
    const session = new Session();
    const location = response.headers.get('Location');
    session.url = location ? new URL(location, response.url || url).href : null;
    session.key = key;
    session.etag = response.headers.get('ETag');
    session.iceServers = iceServers(response.headers.get('Link'));
    session.answer = await response.text();
    return session;
  }

  /** PATCHes a fragment with new credentials; gives the server's fragment. */
  async restart(fragment, signal) {
    if (!this.url) throw new SignallingError(405, 'no_location', 'the session has no address');
    const headers = { 'Content-Type': 'application/trickle-ice-sdpfrag', 'If-Match': '*', ...authorization(this.key) };
    const response = await send(this.url, { method: 'PATCH', headers, body: fragment, signal });
    if (response.status !== 200) throw await refusal(response);
    this.etag = response.headers.get('ETag') ?? this.etag;
    return response.text();
  }

  /** DELETEs it; also while the page is being left. */
  close() {
    if (!this.url) return;
    const url = this.url;
    this.url = null;
    fetch(url, { method: 'DELETE', headers: authorization(this.key), keepalive: true }).catch(() => {});
  }
}
