// Publishing over WebRTC (WHIP).

import { Peer } from './peer.js';
import { SendMeter } from './stats.js';

/** Codecs that belong to any video codec. */
const HELPERS = ['video/rtx'];

export class WhipPublisher {
  #meter = new SendMeter();
  #peer;

  /** `stream` with at most one track of each kind; `options()` gives `{codec, bitrate, detail}`, asked at each connection. */
  constructor({ url, key, stream, options, onstate }) {
    Object.assign(this, { stream, options });
    this.#peer = new Peer({ url, key, onstate, prepare: (pc) => this.#prepare(pc) });
  }

  start() {
    this.#peer.start();
  }

  stop() {
    this.#peer.stop();
  }

  #prepare(pc) {
    this.#meter = new SendMeter();
    const { codec, bitrate } = this.options();
    for (const track of this.stream.getTracks()) {
      const encoding = track.kind === 'video' ? { maxBitrate: bitrate } : {};
      const transceiver = pc.addTransceiver(track, { direction: 'sendonly', streams: [this.stream], sendEncodings: [encoding] });
      if (track.kind !== 'video') continue;
      preferCodec(transceiver, codec);
      holdResolution(transceiver.sender);
    }
  }

  #sender(kind) {
    return this.#peer.pc?.getSenders().find((sender) => sender.track?.kind === kind);
  }

  async setBitrate(maxBitrate) {
    const sender = this.#sender('video');
    const parameters = sender?.getParameters();
    if (!parameters?.encodings?.length) return;
    parameters.encodings[0].maxBitrate = maxBitrate;
    await sender.setParameters(parameters);
  }

  /** Another device, without a new session. */
  async replace(track) {
    await this.#sender(track.kind)?.replaceTrack(track);
  }

  async stats() {
    const { pc } = this.#peer;
    return pc?.connectionState === 'connected' ? this.#meter.sample(await pc.getStats()) : null;
  }
}

function preferCodec(transceiver, mimeType) {
  const all = RTCRtpSender.getCapabilities?.('video')?.codecs ?? [];
  const wanted = all.filter((c) => c.mimeType.toLowerCase() === mimeType.toLowerCase());
  if (wanted.length > 0) transceiver.setCodecPreferences?.([...wanted, ...all.filter((c) => HELPERS.includes(c.mimeType.toLowerCase()))]);
}

/** Fewer frames rather than a smaller picture where the network is narrow: each change of size begins HLS and the recording anew. */
function holdResolution(sender) {
  const parameters = sender.getParameters();
  parameters.degradationPreference = 'maintain-resolution';
  sender.setParameters(parameters).catch(() => {}); // not known to this browser
}

/** Whether this browser can encode a codec, as far as it tells. */
export function canEncode(mimeType) {
  const codecs = globalThis.RTCRtpSender?.getCapabilities?.('video')?.codecs;
  return !codecs || codecs.some((c) => c.mimeType.toLowerCase() === mimeType.toLowerCase());
}
