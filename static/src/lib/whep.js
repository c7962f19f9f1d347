// Watching over WebRTC (WHEP).

import { Peer } from './peer.js';
import { ReceiveMeter } from './stats.js';
import * as format from './format.js';

/** Shows a stream in a video element. `onstate` as in peer.js. */
export class WhepPlayer {
  #meter = new ReceiveMeter();
  #peer;

  constructor({ video, url, key, onstate }) {
    this.video = video;
    this.#peer = new Peer({ url, key, onstate, prepare: (pc) => this.#prepare(pc) });
  }

  start() {
    this.#peer.start();
  }

  /** The last picture stays until something else is shown. */
  stop() {
    this.#peer.stop();
  }

  #prepare(pc) {
    this.#meter = new ReceiveMeter();
    pc.addTransceiver('video', { direction: 'recvonly' });
    pc.addTransceiver('audio', { direction: 'recvonly' });
    const stream = new MediaStream();
    pc.ontrack = ({ track }) => {
      stream.addTrack(track);
      if (this.video.srcObject !== stream) this.video.srcObject = stream;
    };
  }

  /** `{latency, target, alive, rows}`: ms behind the server, a counter that moves while media comes, and what the panel shows. */
  async stats() {
    const pc = this.#peer.pc;
    if (!pc || pc.connectionState !== 'connected') return null;
    const s = this.#meter.sample(await pc.getStats());
    return {
      latency: s.latency,
      alive: s.bytes,
      rows: [
        ['Delivery', `WebRTC over ${(s.protocol ?? 'udp').toUpperCase()}`],
        ['Resolution', s.width ? `${s.width}×${s.height}` : '–'],
        ['Frame rate', s.fps === undefined ? '–' : `${Math.round(s.fps)} fps`],
        ['Codecs', [s.videoCodec, s.audioCodec].filter(Boolean).map(format.codec).join(' + ') || '–'],
        ['Bitrate', format.bitrate(s.bitrate)],
        ['Delay', format.latency(s.latency)],
        ['Round trip', format.latency(s.rtt)],
        ['Packets lost', `${s.lost} (${format.percent(s.loss)} now)`],
        ['Frames dropped', String(s.dropped)],
        ['Freezes', String(s.freezes)],
      ],
    };
  }
}
