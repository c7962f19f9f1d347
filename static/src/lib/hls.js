// Watching over (low-latency) HLS: hls.js, or the browser itself where it has no Media Source Extensions (iPhone).

import { Backoff, sleep } from './backoff.js';
import { refusal, send, SignallingError } from './session.js';
import * as format from './format.js';
import { Pace } from './pace.js';

/** A media error is repaired in place; a second one within this time makes a new player. */
const REPAIR_ONCE_IN = 5000;
/** How often the playback rate is looked after. */
const PACE_EVERY = 250;
/** The delay (s) beyond the one that the server asks for, for what is late on its way. */
const SPARE = 0.2;
/** After each stall playback stays this much further behind (s), up to a segment. */
const STALL_COSTS = 0.25;

let module;
/** hls.js, fetched when it is first needed. */
const load = () => (module ??= import('hls.js').then((m) => m.default).catch(() => {
  module = undefined;
  // A page from before an update of the server asks for a file that is gone.
  throw new SignallingError(410, 'stale_page', 'the HLS player could not be loaded: reload this page');
}));

export const hasMse = () => 'ManagedMediaSource' in window || 'MediaSource' in window;

/** Shows a playlist in a video element. `onstate` as in peer.js; `onlevels(labels)` when qualities are known; `isLive()` tells
 * whether to look for more after the end (leave it out for a recording). */
export class HlsPlayer {
  #abort = null;
  #hls = null;
  /** Somebody has gone back, and not to live again. */
  #back = false;
  #frames = { at: 0, total: 0, fps: NaN };

  constructor({ video, url, onstate, onlevels = () => {}, isLive }) {
    Object.assign(this, { video, url, onstate, onlevels, isLive });
  }

  start() {
    this.stop();
    this.#abort = new AbortController();
    this.#run(this.#abort.signal).catch((error) => {
      if (error?.name !== 'AbortError') this.onstate('refused', { error });
    });
  }

  stop() {
    this.#abort?.abort();
    this.#abort = null;
    this.#drop();
  }

  #drop() {
    this.#hls?.destroy();
    this.#hls = null;
    this.#back = false;
    if (!hasMse() && this.video.hasAttribute('src')) {
      this.video.removeAttribute('src');
      this.video.load();
    }
  }

  async #run(signal) {
    const backoff = new Backoff();
    let failures = 0;
    for (;;) {
      try {
        this.onstate('connecting', { failures });
        await this.#available(signal);
        const playing = () => {
          failures = 0;
          backoff.reset();
          this.onstate('connected', {});
        };
        await (hasMse() ? this.#play(playing, signal) : this.#playNatively(playing, signal));
        if (!this.isLive) return this.onstate('ended', {});
        await this.#untilLiveAgain(signal);
        continue;
      } catch (error) {
        // A recording that isn't there won't come.
        const missing = error.status === 404 && !this.isLive;
        if (signal.aborted || missing || (error instanceof SignallingError && error.final)) throw error;
        failures += 1;
        this.onstate('retrying', { error, failures });
      }
      this.#drop();
      await sleep(backoff.next(), signal);
    }
  }

  /** Waits until the playlist is there. */
  async #available(signal) {
    const patience = new Backoff({ min: 1000, max: 5000, factor: 1.5 });
    for (;;) {
      const response = await send(this.url, { signal });
      if (response.ok) return;
      const error = await refusal(response);
      if (error.status !== 404 || !this.isLive) throw error;
      this.onstate('waiting', { error });
      await sleep(patience.next(error.wait), signal);
    }
  }

  async #untilLiveAgain(signal) {
    const patience = new Backoff({ min: 1000, max: 5000, factor: 1.5 });
    this.#drop();
    do {
      this.onstate('waiting', {});
      await sleep(patience.next(), signal);
    } while (!(await this.isLive()));
  }

  /** Resolves at the end of the stream. */
  async #play(playing, signal) {
    const Hls = await load();
    if (signal.aborted) throw signal.reason;
    const hls = new Hls({
      lowLatencyMode: true,
      // Fragmented MP4 passes through as it is: a worker would only copy it to and fro.
      enableWorker: false,
      backBufferLength: 60,
      maxLiveSyncPlaybackRate: 1, // see Pace
      liveSyncOnStallIncrease: STALL_COSTS,
    });
    this.#hls = hls;
    await new Promise((resolve, reject) => {
      const listeners = new AbortController();
      const pace = new Pace();
      const pacing = setInterval(() => this.#keepUp(pace), PACE_EVERY);
      const done = (settle, value) => {
        clearInterval(pacing);
        this.video.playbackRate = 1;
        listeners.abort();
        settle(value);
      };
      signal.addEventListener('abort', () => done(reject, signal.reason), { signal: listeners.signal });
      this.video.addEventListener('ended', () => done(resolve), { signal: listeners.signal });
      this.video.addEventListener('playing', playing, { signal: listeners.signal });
      this.video.addEventListener('loadeddata', playing, { signal: listeners.signal });
      let repaired = -Infinity;
      hls.on(Hls.Events.MANIFEST_PARSED, () => this.onlevels(hls.levels.map(levelName)));
      hls.on(Hls.Events.ERROR, (_, { fatal, type, details, response }) => {
        if (!fatal) return;
        if (type === Hls.ErrorTypes.MEDIA_ERROR && performance.now() - repaired > REPAIR_ONCE_IN) {
          repaired = performance.now();
          hls.recoverMediaError();
        } else {
          done(reject, new SignallingError(response?.code === 404 ? 0 : (response?.code ?? 0), details, `playback failed: ${details}`));
        }
      });
      this.video.srcObject = null;
      hls.attachMedia(this.video);
      hls.loadSource(this.url);
    });
  }

  /** The delay to keep (s). Without parts, none in particular. */
  #aim() {
    const { live, partTarget } = this.#hls?.latestLevelDetails ?? {};
    return live && partTarget ? this.#hls.targetLatency + SPARE : null;
  }

  #keepUp(pace) {
    const { video } = this;
    const aim = this.#aim();
    if (video.paused || video.readyState < 3) return;
    const rate = aim === null ? 1 : pace.next({ behind: this.#hls.latency, aim, ahead: ahead(video), back: this.#back });
    if (video.playbackRate !== rate) video.playbackRate = rate;
  }

  #playNatively(playing, signal) {
    const { video } = this;
    return new Promise((resolve, reject) => {
      const listeners = new AbortController();
      const done = (settle, value) => {
        listeners.abort();
        settle(value);
      };
      const once = { signal: listeners.signal };
      signal.addEventListener('abort', () => done(reject, signal.reason), once);
      video.addEventListener('ended', () => done(resolve), once);
      video.addEventListener('loadeddata', playing, once);
      video.addEventListener('error', () => done(reject, new SignallingError(0, 'media', video.error?.message || 'playback failed')), once);
      video.srcObject = null;
      video.src = this.url;
    });
  }

  /** -1 is automatic. */
  setLevel(level) {
    if (this.#hls) this.#hls.nextLevel = level;
  }

  toLive() {
    const { video } = this;
    this.#back = false;
    const edge = this.#hls?.liveSyncPosition ?? (video.seekable.length > 0 ? video.seekable.end(video.seekable.length - 1) - 1 : null);
    if (edge !== null && Number.isFinite(edge)) video.currentTime = edge;
  }

  /** Seconds to and fro within what is there. */
  seek(by) {
    const { seekable, currentTime } = this.video;
    if (seekable.length === 0) return;
    const end = this.#hls?.liveSyncPosition ?? seekable.end(seekable.length - 1);
    this.#back = by < 0 || (this.#back && currentTime + by < end);
    this.video.currentTime = Math.min(Math.max(seekable.start(0), currentTime + by), Math.max(currentTime, end));
  }

  /** See WhepPlayer. `target` is the delay that is normal here. */
  stats() {
    const { video } = this;
    const hls = this.#hls;
    if (video.readyState < 2) return null;
    const behind = hls ? hls.latency * 1000 : nativeLatency(video);
    const quality = video.getVideoPlaybackQuality?.();
    this.#count(quality?.totalVideoFrames ?? 0);
    const level = hls?.levels?.[hls.currentLevel >= 0 ? hls.currentLevel : hls.loadLevel];
    const rows = [
      ['Delivery', hls ? (hls.latestLevelDetails?.partList?.length ? 'Low-latency HLS' : 'HLS') : 'HLS (native)'],
      ['Resolution', video.videoWidth ? `${video.videoWidth}×${video.videoHeight}` : '–'],
      ['Frame rate', Number.isFinite(this.#frames.fps) ? `${Math.round(this.#frames.fps)} fps` : '–'],
      ['Codecs', [level?.videoCodec, level?.audioCodec].filter(Boolean).join(' + ') || '–'],
      ['Bitrate', format.bitrate(level?.bitrate || NaN)],
      ['Delay', format.latency(behind)],
      ['Download rate', format.bitrate(hls?.bandwidthEstimate)],
      ['Buffered', `${ahead(video).toFixed(1)} s`],
      ['Frames dropped', String(quality?.droppedVideoFrames ?? '–')],
    ];
    return { latency: behind, target: (this.#aim() ?? hls?.targetLatency ?? 6) * 1000, alive: video.currentTime, rows };
  }

  #count(total) {
    const now = performance.now();
    const { at, total: before } = this.#frames;
    if (now - at < 500) return;
    this.#frames = { at: now, total, fps: at > 0 && total >= before ? ((total - before) * 1000) / (now - at) : NaN };
  }
}

const levelName = ({ height, bitrate }) => [height ? `${height}p` : '', bitrate ? format.bitrate(bitrate) : ''].filter(Boolean).join(' · ') || 'Standard';

/** By the playlist's PROGRAM-DATE-TIME, or the distance from the end of what is there. */
function nativeLatency(video) {
  const start = video.getStartDate?.().getTime();
  if (Number.isFinite(start)) return Date.now() - start - video.currentTime * 1000;
  return video.seekable.length > 0 ? (video.seekable.end(video.seekable.length - 1) - video.currentTime) * 1000 : NaN;
}

function ahead({ buffered, currentTime }) {
  for (let i = 0; i < buffered.length; i += 1) {
    if (buffered.start(i) <= currentTime + 0.1 && buffered.end(i) > currentTime) return buffered.end(i) - currentTime;
  }
  return 0;
}
