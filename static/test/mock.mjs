// For working on the pages without a server: serves dist/ with the policies that headend sends, and an API that makes things up.
// `node test/mock.mjs [port]`. WHIP and WHEP are answered by 404 unless a test steps in between (browser.mjs).
import { readFile } from 'node:fs/promises';
import http from 'node:http';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const root = path.join(path.dirname(fileURLToPath(import.meta.url)), '..', 'dist');
const TYPES = { '.html': 'text/html; charset=utf-8', '.js': 'text/javascript; charset=utf-8', '.css': 'text/css; charset=utf-8', '.svg': 'image/svg+xml', '.m3u8': 'application/vnd.apple.mpegurl', '.m4s': 'video/mp4', '.mp4': 'video/mp4' };
export const CSP = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; media-src 'self' blob:; connect-src 'self'; base-uri 'none'; form-action 'none'";

const minutes = (n) => Date.now() - n * 60_000;
export const SAMPLE = {
  info: { version: '0.1.0', rtmp_port: 1935 },
  streams: [
    {
      path: 'live/cam1',
      started_at_ms: minutes(84),
      publisher: { protocol: 'rtmp', remote: '192.0.2.17', agent: 'obs-studio 30.2', since_ms: minutes(84) },
      tracks: [
        { kind: 'video', codec: 'h264', codec_string: 'avc1.640028', width: 1920, height: 1080, sample_rate: null, channels: null, b_frames: true, bitrate: 5_930_000, packets: 3_000_000, lost: 0, key_frames: 2500, frames: 151_000 },
        { kind: 'audio', codec: 'aac', codec_string: 'mp4a.40.2', width: null, height: null, sample_rate: 48_000, channels: 2, b_frames: false, bitrate: 160_300, packets: 230_000, lost: 0, key_frames: 0, frames: 236_000 },
      ],
      derived: [
        { what: 'AAC → Opus', codec: 'opus', users: 12, advice: null },
        { what: 'H.264 → H.264 without B-frames', codec: 'h264', users: 12, advice: 'set B-frames to 0 in the encoder (OBS: Settings → Output → Advanced → Max B-frames 0, or tune zerolatency)' },
      ],
      viewers: { total: 17, by_protocol: { hls: 4, dash: 1, webrtc: 12 } },
      warnings: [{ code: 'b_frames', message: 'The video has B-frames, which WebRTC can’t show: turn them off in OBS (Settings → Output → Max B-frames 0).' }],
    },
    {
      path: 'live/stage-left-with-a-rather-long-name',
      started_at_ms: minutes(3),
      publisher: { protocol: 'whip', remote: '2001:db8::7', agent: null, since_ms: minutes(3) },
      tracks: [
        { kind: 'video', codec: 'vp8', codec_string: 'vp8', width: 1280, height: 720, b_frames: false, bitrate: 2_480_000, packets: 50_000, lost: 120, key_frames: 30, frames: 5400 },
        { kind: 'audio', codec: 'opus', codec_string: 'opus', sample_rate: 48_000, channels: 2, b_frames: false, bitrate: 41_000, packets: 9000, lost: 0, key_frames: 0, frames: 9000 },
      ],
      derived: [],
      viewers: { total: 1, by_protocol: { webrtc: 1 } },
      warnings: [],
    },
    {
      path: 'event/audio',
      started_at_ms: minutes(0.3),
      publisher: null,
      tracks: [{ kind: 'audio', codec: 'aac', codec_string: 'mp4a.40.2', sample_rate: 44_100, channels: 1, b_frames: false, bitrate: 0, packets: 900, lost: 0, key_frames: 0, frames: 900 }],
      derived: [],
      viewers: { total: 0, by_protocol: {} },
      warnings: [],
    },
  ],
  recordings: Array.from({ length: 30 }, (_, i) => {
    const id = `0mb${String(9_999_999 - i).padStart(23, '0')}`;
    return {
      id,
      path: ['live/cam1', 'live/stage-left-with-a-rather-long-name', 'event/audio'][i % 3],
      started_at: new Date(minutes(84 + i * 700)).toISOString(),
      ended_at: i === 0 ? null : new Date(minutes(i * 700)).toISOString(),
      duration: i === 0 ? 5040 : 725.4 * (i + 1),
      bytes: 380_000_000 * (i + 1),
      tracks: [
        { kind: 'video', codec: 'h264', codec_string: 'avc1.640028', width: 1920, height: 1080, sample_rate: null, channels: null },
        { kind: 'audio', codec: 'aac', codec_string: 'mp4a.40.2', width: null, height: null, sample_rate: 48_000, channels: 2 },
      ],
      live: i === 0,
      state: ['live', 'finished', 'recovered', 'failed'][i] ?? 'finished',
      error: i === 3 ? 'the disk is full' : null,
      urls: { mp4: `/vod/${id}.mp4`, hls: `/vod/${id}/index.m3u8`, dash: `/vod/${id}/manifest.mpd` },
    };
  }),
};

/** Serves `state` (as SAMPLE; change it while serving). `state.media` is a folder with an index.m3u8, for HLS; `state.onrequest` hears of each request. */
export function serve(state, port = 0) {
  const server = http.createServer(async (request, response) => {
    const url = new URL(request.url, 'http://mock');
    const json = (status, body, headers = {}) => response.writeHead(status, { 'Content-Type': 'application/json', ...headers }).end(JSON.stringify(body));
    const missing = (message = 'there is nothing here') => json(404, { error: { code: 'not_found', message } }, { 'Retry-After': '1' });
    const file = async (name, headers = {}) => {
      try {
        const bytes = await readFile(name);
        response.writeHead(200, { 'Content-Type': TYPES[path.extname(name)] ?? 'application/octet-stream', ...headers }).end(bytes);
      } catch {
        missing();
      }
    };
    const html = (name) => file(path.join(root, name), { 'Content-Security-Policy': CSP, 'X-Content-Type-Options': 'nosniff', 'Referrer-Policy': 'no-referrer' });
    const p = url.pathname;
    if (state.down) return response.destroy();
    state.onrequest?.(request);
    if (request.method !== 'GET' && request.method !== 'HEAD') return missing('not live');
    if (p === '/') return html('dashboard.html');
    if (p.startsWith('/static/')) return file(path.join(root, 'assets', path.basename(p)));
    if (p === '/api/v1/info') return json(200, state.info);
    if (p === '/api/v1/streams') return json(200, { items: state.streams, next: null });
    if (p.startsWith('/api/v1/streams/')) {
      const stream = state.streams.find((s) => s.path === p.slice('/api/v1/streams/'.length));
      return stream ? json(200, stream) : missing('not live');
    }
    if (p === '/api/v1/recordings') {
      const from = url.searchParams.has('cursor') ? state.recordings.findIndex((r) => r.id === url.searchParams.get('cursor')) + 1 : 0;
      const to = from + Number(url.searchParams.get('limit') ?? 100);
      return json(200, { items: state.recordings.slice(from, to), next: to < state.recordings.length ? state.recordings[to - 1].id : null });
    }
    if (p.startsWith('/api/v1/recordings/')) {
      const recording = state.recordings.find((r) => r.id === path.basename(p));
      return recording ? json(200, recording) : missing();
    }
    if (/^\/vod\/[^/]+\/$/.test(p)) return html('recording.html');
    if (p.endsWith('/publish')) return html('publish.html');
    if (p.endsWith('/')) return html('watch.html');
    if (state.media) return file(path.join(state.media, path.basename(p)), { 'Cache-Control': 'no-store' });
    return missing('not live');
  });
  return new Promise((resolve) => server.listen(port, '127.0.0.1', () => resolve(server)));
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const server = await serve(SAMPLE, Number(process.argv[2] ?? 8090));
  console.log(`http://127.0.0.1:${server.address().port}/`);
}
