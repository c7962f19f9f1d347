// A peer connection that is kept up: WHIP and WHEP differ only in what is put into it.
//
// In: the address, the key, and `prepare(pc)`, which adds the transceivers of a new connection. Out: `onstate(state, detail)`:
// `connecting`, `waiting` (nobody publishes there yet), `connected`, `recovering` (ICE restart under way), `retrying`, `refused`.

import { Backoff, sleep } from './backoff.js';
import { restartFragment, withIce } from './sdp.js';
import { Session, SignallingError } from './session.js';

/** A POST is answered by then: the server may have to start a transcoder first. */
const POST_TIMEOUT = 8000;
/** ICE and DTLS take a few round trips; after this the network does not let them through. */
const CONNECT_TIMEOUT = 4000;
/** Candidates of the machine's own addresses come at once; a slow STUN server is not waited for. */
const GATHER_TIMEOUT = 300;
/** ICE often recovers by itself from `disconnected`. */
const DISCONNECTED_PATIENCE = 2000;
/** An ICE restart that takes longer is given up for a new session. */
const RESTART_TIMEOUT = 5000;

export class Peer {
  #abort = null;
  #session = null;
  #backoff = new Backoff();
  pc = null;

  constructor({ url, key, prepare, onstate }) {
    Object.assign(this, { url, key, prepare, onstate });
  }

  /** Connects, and again whenever the connection is lost, until `stop()` or a refusal that trying again can't change. */
  start() {
    this.stop();
    this.#abort = new AbortController();
    this.#run(this.#abort.signal).catch((error) => {
      if (error?.name !== 'AbortError') this.onstate('refused', { error });
    });
  }

  /** Ends the session and everything else. */
  stop() {
    this.#abort?.abort();
    this.#abort = null;
    this.#drop();
  }

  #drop() {
    this.#session?.close();
    this.#session = null;
    this.pc?.close();
    this.pc = null;
  }

  async #run(signal) {
    let failures = 0;
    for (;;) {
      try {
        this.onstate('connecting', { failures });
        await this.#connect(signal);
        failures = 0;
        this.#backoff.reset();
        this.onstate('connected', {});
        await this.#serve(signal);
        this.onstate('retrying', { failures, lost: true });
      } catch (error) {
        if (signal.aborted) throw error;
        if (error instanceof SignallingError && error.final) {
          this.#drop();
          throw error;
        }
        failures += 1;
        this.onstate('retrying', { error, failures });
      }
      if (signal.aborted) return;
      this.#drop();
      await sleep(this.#backoff.next(), signal);
    }
  }

  async #connect(signal) {
    const pc = newConnection();
    this.pc = pc;
    this.prepare(pc);
    await pc.setLocalDescription();
    await gathered(pc, signal);
    const session = await this.#post(pc.localDescription.sdp, signal);
    if (signal.aborted) {
      session.close();
      throw signal.reason;
    }
    this.#session = session;
    if (session.iceServers.length > 0) pc.setConfiguration({ ...pc.getConfiguration(), iceServers: session.iceServers });
    await pc.setRemoteDescription({ type: 'answer', sdp: session.answer });
    await connected(pc, CONNECT_TIMEOUT, signal);
  }

  /** A stream that is not live yet is asked for again with the same offer. */
  async #post(offer, signal) {
    const patience = new Backoff({ min: 1000, max: 5000, factor: 1.5 });
    for (;;) {
      try {
        return await Session.open(this.url, offer, { key: this.key, signal: anyOf(signal, AbortSignal.timeout(POST_TIMEOUT)) });
      } catch (error) {
        if (!(error instanceof SignallingError) || error.status !== 404) throw error;
        this.onstate('waiting', { error });
        await sleep(patience.next(error.wait), signal);
      }
    }
  }

  /** Returns when the connection is beyond repair. */
  async #serve(signal) {
    const { pc } = this;
    for (;;) {
      await noLongerConnected(pc, signal);
      if (isGone(pc)) return;
      try {
        await connected(pc, pc.connectionState === 'failed' ? 0 : DISCONNECTED_PATIENCE, signal);
      } catch {
        signal.throwIfAborted();
        if (isGone(pc)) return;
        this.onstate('recovering', {});
        try {
          await this.#restartIce(signal);
        } catch (failure) {
          if (signal.aborted) throw failure;
          return; // for a new session
        }
      }
      this.onstate('connected', {});
    }
  }

  async #restartIce(signal) {
    const { pc } = this;
    const remote = pc.remoteDescription.sdp;
    await pc.setLocalDescription(await pc.createOffer({ iceRestart: true }));
    await gathered(pc, signal);
    const fragment = await this.#session.restart(restartFragment(pc.localDescription.sdp), anyOf(signal, AbortSignal.timeout(RESTART_TIMEOUT)));
    await pc.setRemoteDescription({ type: 'answer', sdp: withIce(remote, fragment) });
    await connected(pc, RESTART_TIMEOUT, signal);
  }
}

/** The other side closed DTLS (it ended the session), or this one did: restarting ICE can't help. */
function isGone(pc) {
  return pc.connectionState === 'closed' || [...transportsOf(pc)].some((t) => t.state === 'closed' || t.state === 'failed');
}

/** Policies and privacy extensions forbid WebRTC by letting the constructor throw. */
function newConnection() {
  try {
    return new RTCPeerConnection({ bundlePolicy: 'max-bundle' });
  } catch (error) {
    throw new SignallingError(0, 'no_webrtc', `this browser does not allow WebRTC (${error.message})`);
  }
}

function anyOf(a, b) {
  if (AbortSignal.any) return AbortSignal.any([a, b]);
  const both = new AbortController();
  for (const signal of [a, b]) {
    if (signal.aborted) both.abort(signal.reason);
    signal.addEventListener('abort', () => both.abort(signal.reason), { once: true });
  }
  return both.signal;
}

/** Resolves when `test()` holds, looked at whenever one of `events` happens. */
function until(targets, test, timeout, signal) {
  return new Promise((resolve, reject) => {
    const done = (settle, value) => {
      clearTimeout(timer);
      for (const [target, event] of targets) target.removeEventListener(event, look);
      signal.removeEventListener('abort', abort);
      settle(value);
    };
    const look = () => {
      try {
        if (test()) done(resolve);
      } catch (error) {
        done(reject, error);
      }
    };
    const abort = () => done(reject, signal.reason);
    const timer = Number.isFinite(timeout) ? setTimeout(() => done(reject, new Error('timeout')), timeout) : undefined;
    for (const [target, event] of targets) target.addEventListener(event, look);
    signal.addEventListener('abort', abort, { once: true });
    if (signal.aborted) abort();
    else look();
  });
}

function gathered(pc, signal) {
  return until([[pc, 'icegatheringstatechange']], () => pc.iceGatheringState === 'complete', GATHER_TIMEOUT, signal).catch((error) => {
    if (signal.aborted) throw error;
  });
}

/** The DTLS transports: one, as everything is bundled. */
function transportsOf(pc) {
  return new Set([...pc.getSenders(), ...pc.getReceivers()].map((end) => end.transport).filter(Boolean));
}

/** Everything that tells about a change of the connection's state; Chromium shows a DTLS close by the peer only on the transport. */
function stateEvents(pc) {
  return [[pc, 'connectionstatechange'], ...[...transportsOf(pc)].map((transport) => [transport, 'statechange'])];
}

function connected(pc, timeout, signal) {
  const test = () => {
    if (isGone(pc)) throw new SignallingError(0, 'closed', 'the server closed the connection');
    return pc.connectionState === 'connected';
  };
  return until(stateEvents(pc), test, timeout, signal).catch((error) => {
    throw error.message === 'timeout' ? new SignallingError(0, 'no_connection', 'no media connection came about: a firewall may block it') : error;
  });
}

function noLongerConnected(pc, signal) {
  return until(stateEvents(pc), () => pc.connectionState !== 'connected' || isGone(pc), Infinity, signal);
}
