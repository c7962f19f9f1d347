// What getStats() says, turned into what people ask: rates from counters, and how far behind live the picture is.

const each = (report) => [...report.values()];
const find = (report, type, test = () => true) => each(report).find((s) => s.type === type && test(s));

/** Growth of a counter since the report before; 0 where it started anew. */
const grown = (now, before, key) => Math.max(0, (now?.[key] ?? 0) - (before?.[key] ?? 0));

function pairOf(report) {
  const transport = find(report, 'transport', (t) => t.selectedCandidatePairId);
  // Firefox has no transport stats, but marks the pair.
  return transport ? report.get(transport.selectedCandidatePairId) : find(report, 'candidate-pair', (p) => p.selected || (p.nominated && p.state === 'succeeded'));
}

const codecOf = (report, rtp) => (rtp?.codecId ? report.get(rtp.codecId)?.mimeType : undefined);

/** Compares each report with the one before. */
class Meter {
  #before;

  /** `report` is a Map as getStats() gives it. Times in ms, rates in bit/s. */
  sample(report) {
    const before = this.#before ?? new Map();
    this.#before = new Map(each(report).map((s) => [s.id, { ...s }]));
    return this.measure(report, (stat) => (stat ? before.get(stat.id) : undefined));
  }
}

function rate(now, before, key) {
  const ms = now && before ? now.timestamp - before.timestamp : 0;
  return ms > 0 ? (grown(now, before, key) * 8000) / ms : NaN;
}

/** Of a connection that receives. */
export class ReceiveMeter extends Meter {
  measure(report, before) {
    const video = find(report, 'inbound-rtp', (s) => s.kind === 'video');
    const audio = find(report, 'inbound-rtp', (s) => s.kind === 'audio');
    const pair = pairOf(report);
    const rtt = pair?.currentRoundTripTime === undefined ? NaN : pair.currentRoundTripTime * 1000;
    const main = video ?? audio;
    const received = grown(main, before(main), 'packetsReceived');
    const lost = grown(main, before(main), 'packetsLost');
    return {
      rtt,
      // Network one way, then the wait in the jitter buffer, then decoding. Capture and encoding, before the server, are unknown here.
      latency: playoutDelay(main, before(main)) + (Number.isFinite(rtt) ? rtt / 2 : 0),
      bitrate: [video, audio].filter(Boolean).reduce((sum, s) => sum + (rate(s, before(s), 'bytesReceived') || 0), 0),
      bytes: (video?.bytesReceived ?? 0) + (audio?.bytesReceived ?? 0),
      width: video?.frameWidth,
      height: video?.frameHeight,
      fps: video?.framesPerSecond,
      framesDecoded: video?.framesDecoded ?? 0,
      dropped: video?.framesDropped ?? 0,
      freezes: video?.freezeCount ?? 0,
      lost: (video?.packetsLost ?? 0) + (audio?.packetsLost ?? 0),
      loss: received + lost > 0 ? lost / (received + lost) : 0,
      videoCodec: codecOf(report, video),
      audioCodec: codecOf(report, audio),
      protocol: report.get(pair?.localCandidateId)?.protocol,
    };
  }
}

/** ms in the jitter buffer and the decoder, per frame (or sample) since the report before; NaN where nothing came. */
export function playoutDelay(now, before) {
  const emitted = grown(now, before, 'jitterBufferEmittedCount');
  if (emitted === 0) return NaN;
  const decoded = grown(now, before, 'framesDecoded');
  const decoding = decoded > 0 ? grown(now, before, 'totalDecodeTime') / decoded : 0;
  return (grown(now, before, 'jitterBufferDelay') / emitted + decoding) * 1000;
}

/** Of a connection that sends. */
export class SendMeter extends Meter {
  measure(report, before) {
    const video = find(report, 'outbound-rtp', (s) => s.kind === 'video');
    const audio = find(report, 'outbound-rtp', (s) => s.kind === 'audio');
    const heard = (rtp) => find(report, 'remote-inbound-rtp', (s) => s.localId === rtp?.id || (rtp && s.id === rtp.remoteId));
    const pair = pairOf(report);
    const rtt = pair?.currentRoundTripTime ?? heard(video)?.roundTripTime ?? heard(audio)?.roundTripTime;
    const sum = (key) => (video?.[key] ?? 0) + (audio?.[key] ?? 0);
    return {
      rtt: rtt === undefined ? NaN : rtt * 1000,
      bitrate: [video, audio].filter(Boolean).reduce((total, s) => total + (rate(s, before(s), 'bytesSent') || 0), 0),
      videoBitrate: rate(video, before(video), 'bytesSent'),
      audioBitrate: rate(audio, before(audio), 'bytesSent'),
      available: pair?.availableOutgoingBitrate ?? NaN,
      loss: heard(video)?.fractionLost ?? heard(audio)?.fractionLost ?? NaN,
      width: video?.frameWidth,
      height: video?.frameHeight,
      fps: video?.framesPerSecond,
      limitation: video?.qualityLimitationReason ?? 'none',
      nacks: sum('nackCount'),
      plis: (video?.pliCount ?? 0) + (video?.firCount ?? 0),
      retransmitted: rate(video, before(video), 'retransmittedBytesSent'),
      bytes: sum('bytesSent'),
      videoCodec: codecOf(report, video),
      audioCodec: codecOf(report, audio),
      protocol: report.get(pair?.localCandidateId)?.protocol,
    };
  }
}
