// The parts that need no browser: node --test test/lib.test.mjs
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Backoff, retryAfter, sleep } from '../src/lib/backoff.js';
import * as format from '../src/lib/format.js';
import { iceServers, parseLinks } from '../src/lib/link.js';
import { Pace } from '../src/lib/pace.js';
import { readToken, recordingId, shownToken, streamPath, withToken } from '../src/lib/path.js';
import { iceOf, restartFragment, withIce } from '../src/lib/sdp.js';
import { SignallingError } from '../src/lib/session.js';
import { playoutDelay, ReceiveMeter, SendMeter } from '../src/lib/stats.js';

test('numbers as people read them', () => {
  for (const [bps, text] of [[0, '0 kbit/s'], [128_000, '128 kbit/s'], [999_499, '999 kbit/s'], [999_500, '1.0 Mbit/s'], [4_200_000, '4.2 Mbit/s'], [99_960_000, '100 Mbit/s'], [NaN, '–'], [undefined, '–'], [-1, '–']]) assert.equal(format.bitrate(bps), text);
  for (const [n, text] of [[0, '0 B'], [999, '999 B'], [1000, '1.0 kB'], [999_499, '999 kB'], [999_600, '1.0 MB'], [1_234_000_000, '1.2 GB'], [5e16, '50.0 PB'], [undefined, '–']]) assert.equal(format.bytes(n), text);
  for (const [s, text] of [[0, '0:00'], [7.9, '0:07'], [725, '12:05'], [3723, '1:02:03'], [NaN, '–'], [null, '–']]) assert.equal(format.clock(s), text);
  for (const [ms, text] of [[-5, '0 s'], [12_000, '12 s'], [300_000, '5 min'], [12_000_000, '3 h 20 min'], [7_200_000, '2 h'], [187_200_000, '2 d 4 h'], [NaN, '–']]) assert.equal(format.span(ms), text);
  for (const [ms, text] of [[80.4, '80 ms'], [999.6, '1.0 s'], [1400, '1.4 s'], [NaN, '–']]) assert.equal(format.latency(ms), text);
  for (const [share, text] of [[0, '0 %'], [0.004, '0.4 %'], [0.12, '12 %'], [1, '100 %'], [undefined, '–']]) assert.equal(format.percent(share), text);
});

test('tracks in a line', () => {
  assert.equal(format.track({ codec: 'h264', width: 1920, height: 1080, bitrate: 4.2e6 }), 'H.264 · 1920×1080 · 4.2 Mbit/s');
  assert.equal(format.track({ codec: 'aac', sample_rate: 44_100, channels: 2, bitrate: 128_000 }), 'AAC · 44.1 kHz stereo · 128 kbit/s');
  assert.equal(format.track({ codec: 'opus', sample_rate: 48_000, channels: null }), 'Opus · 48 kHz');
  assert.equal(format.codec('video/H264'), 'H.264');
  assert.equal(format.codec(undefined), '–');
  assert.equal(format.count(1, 'viewer'), '1 viewer');
  assert.equal(format.count(0, 'viewer'), '0 viewers');
});

test('browsers by their names', () => {
  for (const [text, name] of [
    ['Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) HeadlessChrome/156.0.0.0 Safari/537.36', 'Chrome 156'],
    ['Mozilla/5.0 (Windows NT 10.0) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 Safari/537.36 Edg/130.0.0.0', 'Edge 130'],
    ['Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0', 'Firefox 140'],
    ['Mozilla/5.0 (iPhone) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.5 Mobile/15E148 Safari/604.1', 'Safari 17'],
    ['Mozilla/5.0', 'a browser'],
    ['obs-studio 30.2', 'obs-studio 30.2'],
    [null, ''],
  ]) assert.equal(format.agent(text), name);
});

test('backoff grows to its bound, with jitter, and starts over', () => {
  const calm = new Backoff({ min: 500, max: 3000, random: () => 0 });
  assert.deepEqual([calm.next(), calm.next(), calm.next(), calm.next(), calm.next()], [500, 1000, 2000, 3000, 3000]);
  calm.reset();
  assert.equal(calm.next(), 500);
  assert.equal(calm.next(5000), 5000);
  const nervous = new Backoff({ min: 1000, max: 1000, jitter: 0.3, random: () => 1 });
  assert.equal(nervous.next(), 700);
});

test('live playback comes to its delay and stays there', () => {
  const pace = new Pace();
  const rate = (behind, ahead) => pace.next({ behind, aim: 0.8, ahead });
  assert.deepEqual([0.8, 0.9, 0.93, 1.2, 2.5, 1.2, 0.9, 0.84, 0.82, 0.9].map((behind) => rate(behind, behind - 0.1)), [1, 1, 1.05, 1.05, 1.1, 1.05, 1.05, 1.05, 1, 1]);
  assert.equal(rate(1.5, 0.2), 1, 'the buffer is nearly empty');
  assert.equal(rate(9.1, 8), 1.1, 'it began with the last key frame');
  assert.equal(pace.next({ behind: 9.1, aim: 0.8, ahead: 8, back: true }), 1, 'somebody has gone back');
  assert.equal(rate(NaN, 1), 1);
});

test('Retry-After in seconds or as a date, bounded', () => {
  const now = Date.parse('2026-01-01T00:00:00Z');
  for (const [value, ms] of [[null, 0], ['2', 2000], [' 3 ', 3000], ['Thu, 01 Jan 2026 00:00:05 GMT', 5000], ['Wed, 31 Dec 2025 23:59:00 GMT', 0], ['86400', 30_000], ['soon', 0], ['', 0]]) assert.equal(retryAfter(value, now), ms);
});

test('sleep ends early when aborted', async () => {
  const abort = new AbortController();
  const sleeping = sleep(60_000, abort.signal);
  abort.abort();
  await assert.rejects(sleeping, { name: 'AbortError' });
  await assert.rejects(sleep(60_000, abort.signal), { name: 'AbortError' });
});

test('Link headers', () => {
  assert.deepEqual(parseLinks('<stun:a.example>; rel="ice-server", <turn:b.example?transport=udp>; rel="ice-server"; username="u,1"; credential="p\\"w;x"; credential-type=password'), [
    { url: 'stun:a.example', params: { rel: 'ice-server' } },
    { url: 'turn:b.example?transport=udp', params: { rel: 'ice-server', username: 'u,1', credential: 'p"w;x', 'credential-type': 'password' } },
  ]);
  assert.deepEqual(iceServers('<turn:b.example>; rel=ice-server; username=u; credential=c, <https://x>; rel="ice-server", <stun:c>; rel=other'), [{ urls: 'turn:b.example', username: 'u', credential: 'c' }]);
  for (const bad of [null, '', '<', '<stun:a', 'stun:a; rel=ice-server', ',,;;=="', '<a>;;;', '<a>; x="'.repeat(50)]) assert.doesNotThrow(() => iceServers(bad));
});

const REMOTE = ['v=0', 'o=- 1 1 IN IP4 127.0.0.1', 's=-', 't=0 0', 'a=ice-lite', 'a=group:BUNDLE 0 1', 'm=video 9 UDP/TLS/RTP/SAVPF 96', 'a=mid:0', 'a=ice-ufrag:old', 'a=ice-pwd:oldpwd', 'a=candidate:1 1 udp 1 127.0.0.1 1 typ host', 'a=end-of-candidates', 'm=audio 9 UDP/TLS/RTP/SAVPF 111', 'a=mid:1', 'a=ice-ufrag:old', 'a=ice-pwd:oldpwd', ''].join('\r\n');

test('an ICE restart replaces credentials and candidates, nothing else', () => {
  const fragment = 'a=ice-lite\r\na=group:BUNDLE 0 1\r\nm=video 9 UDP/TLS/RTP/SAVPF 96\r\na=mid:0\r\na=ice-ufrag:new\r\na=ice-pwd:newpwd\r\na=candidate:2 1 udp 1 127.0.0.1 2 typ host\r\na=end-of-candidates\r\n';
  const out = withIce(REMOTE, fragment);
  assert.equal(out.match(/a=ice-ufrag:new/g).length, 2);
  assert.equal(out.match(/a=candidate:2 /g).length, 1);
  assert.equal(out.match(/a=end-of-candidates/g).length, 1);
  assert.ok(!out.includes('old') && out.includes('a=ice-lite') && out.endsWith('\r\n'));
  assert.throws(() => withIce(REMOTE, 'a=ice-ufrag:x\r\n'));
});

test('the fragment names the new credentials once', () => {
  const out = restartFragment(REMOTE);
  assert.equal(out, 'a=ice-ufrag:old\r\na=ice-pwd:oldpwd\r\nm=video 9 UDP/TLS/RTP/SAVPF 96\r\na=mid:0\r\na=candidate:1 1 udp 1 127.0.0.1 1 typ host\r\na=end-of-candidates\r\n');
  assert.equal(iceOf(out).mid, '0');
});

test('paths, ids and tokens from the address', () => {
  for (const [pathname, path] of [['/live/cam1/', 'live/cam1'], ['/live/cam1/publish', 'live/cam1'], ['/cam/', 'cam'], ['/live/publish/publish', 'live/publish'], ['/a/b/c/', 'a/b/c']]) assert.deepEqual([streamPath(pathname, '/'), streamPath(`/media/x${pathname}`, '/media/x/')], [path, path]);
  assert.deepEqual([recordingId('/vod/00abc/', '/'), recordingId('/media/vod/00abc/', '/media/')], ['00abc', '00abc']);
  assert.equal(withToken('/x', 'a%20b'), '/x?token=a%20b');
  assert.equal(withToken('/x?y=1', 'a'), '/x?y=1&token=a');
  assert.equal(withToken('/x', null), '/x');
  for (const [search, shown] of [['?key=k', 'k'], ['?a=1&token=a+b%26&c=2', 'a+b%26'], ['?token=&key=k', 'k'], ['?token=a=b=', 'a=b=']]) assert.equal(shownToken(search), shown);
  assert.deepEqual([readToken('a%26+b'), readToken('100%')], ['a&+b', '100%']);
  assert.equal(shownToken(''), null);
});

test('which refusals are final', () => {
  for (const [status, final] of [[0, false], [400, true], [401, true], [403, true], [404, false], [406, true], [409, false], [422, true], [429, false], [500, false], [503, false]]) assert.equal(new SignallingError(status, '', '').final, final, String(status));
});

const report = (...stats) => new Map(stats.map((s) => [s.id, s]));
const pair = [{ id: 'T', type: 'transport', selectedCandidatePairId: 'P' }, { id: 'P', type: 'candidate-pair', currentRoundTripTime: 0.04, availableOutgoingBitrate: 3e6 }];

test('the delay of a viewer: half the round trip, the buffer, the decoder', () => {
  const meter = new ReceiveMeter();
  const video = { id: 'V', type: 'inbound-rtp', kind: 'video', timestamp: 1000, bytesReceived: 1000, packetsReceived: 100, packetsLost: 0, jitterBufferDelay: 10, jitterBufferEmittedCount: 100, totalDecodeTime: 1, framesDecoded: 100 };
  meter.sample(report(...pair, { ...video }));
  const s = meter.sample(report(...pair, { ...video, timestamp: 2000, bytesReceived: 126_000, packetsReceived: 190, packetsLost: 10, jitterBufferDelay: 11.5, jitterBufferEmittedCount: 130, totalDecodeTime: 1.15, framesDecoded: 130 }));
  assert.equal(Math.round(s.latency), 20 + 50 + 5);
  assert.equal(s.bitrate, 1e6);
  assert.equal(s.loss, 0.1);
  assert.equal(s.rtt, 40);
  // Nothing came: no delay to tell, no rate below zero, no crash.
  const still = meter.sample(report({ ...video, timestamp: 3000, bytesReceived: 126_000, packetsReceived: 190, jitterBufferDelay: 11.5, jitterBufferEmittedCount: 130 }));
  assert.ok(Number.isNaN(still.latency));
  assert.equal(still.bitrate, 0);
  assert.equal(new ReceiveMeter().sample(new Map()).lost, 0);
  assert.ok(Number.isNaN(playoutDelay(undefined, undefined)));
});

test('what a publisher sends', () => {
  const meter = new SendMeter();
  const video = { id: 'V', type: 'outbound-rtp', kind: 'video', timestamp: 1000, bytesSent: 0, nackCount: 1, pliCount: 2, qualityLimitationReason: 'bandwidth', codecId: 'C' };
  meter.sample(report(...pair, { ...video }));
  const s = meter.sample(report(...pair, { ...video, timestamp: 3000, bytesSent: 500_000 }, { id: 'R', type: 'remote-inbound-rtp', localId: 'V', fractionLost: 0.05 }, { id: 'C', type: 'codec', mimeType: 'video/VP8' }));
  assert.equal(s.bitrate, 2e6);
  assert.deepEqual([s.loss, s.nacks, s.plis, s.limitation, s.available, s.rtt, s.videoCodec], [0.05, 1, 2, 'bandwidth', 3e6, 40, 'video/VP8']);
});
