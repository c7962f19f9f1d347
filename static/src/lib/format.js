// Numbers as people read them.

/** Bit/s: `4.2 Mbit/s`, `128 kbit/s`, `0 kbit/s`. */
export function bitrate(bps) {
  if (!Number.isFinite(bps) || bps < 0) return '–';
  if (bps >= 999_500) return `${(bps / 1e6).toFixed(bps >= 99_950_000 ? 0 : 1)} Mbit/s`;
  return `${Math.round(bps / 1000)} kbit/s`;
}

/** Bytes in powers of ten, as disks are sold: `1.2 GB`. */
export function bytes(n) {
  if (!Number.isFinite(n) || n < 0) return '–';
  const units = ['B', 'kB', 'MB', 'GB', 'TB', 'PB'];
  let unit = 0;
  while (n >= 999.5 && unit < units.length - 1) {
    n /= 1000;
    unit += 1;
  }
  return `${unit === 0 || n >= 99.95 ? Math.round(n) : n.toFixed(1)} ${units[unit]}`;
}

/** Seconds as on a player: `0:07`, `12:05`, `1:02:03`. */
export function clock(seconds) {
  if (!Number.isFinite(seconds) || seconds < 0) return '–';
  const s = Math.floor(seconds);
  const two = (n) => String(n).padStart(2, '0');
  const [hours, minutes] = [Math.floor(s / 3600), Math.floor(s / 60) % 60];
  return hours > 0 ? `${hours}:${two(minutes)}:${two(s % 60)}` : `${minutes}:${two(s % 60)}`;
}

/** A span in its largest unit or two: `12 s`, `5 min`, `3 h 20 min`, `2 d 4 h`. */
export function span(ms) {
  if (!Number.isFinite(ms)) return '–';
  const s = Math.max(0, Math.floor(ms / 1000));
  if (s < 60) return `${s} s`;
  const minutes = Math.floor(s / 60);
  if (minutes < 60) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  if (hours < 24) return minutes % 60 ? `${hours} h ${minutes % 60} min` : `${hours} h`;
  return hours % 24 ? `${Math.floor(hours / 24)} d ${hours % 24} h` : `${Math.floor(hours / 24)} d`;
}

/** Milliseconds: `80 ms`, `1.4 s`. */
export function latency(ms) {
  if (!Number.isFinite(ms) || ms < 0) return '–';
  return ms < 999.5 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(1)} s`;
}

/** A share of 1: `0 %`, `0.4 %`, `12 %`. */
export function percent(share) {
  if (!Number.isFinite(share) || share < 0) return '–';
  const p = share * 100;
  return `${p === 0 || p >= 9.95 ? Math.round(p) : p.toFixed(1)} %`;
}

/** RFC 3339 or ms since 1970, in the reader's zone: `21 Nov 2026, 11:15`. */
export function dateTime(when) {
  const date = new Date(when);
  return Number.isNaN(date.getTime()) ? '–' : date.toLocaleString(undefined, { dateStyle: 'medium', timeStyle: 'short' });
}

const CODECS = { h264: 'H.264', vp8: 'VP8', vp9: 'VP9', av1: 'AV1', h265: 'H.265', aac: 'AAC', opus: 'Opus', mp3: 'MP3' };
/** The name people use for a codec as the API or a `video/H264` names it. */
export function codec(name) {
  const short = String(name ?? '').split('/').pop();
  return CODECS[short.toLowerCase()] ?? (short || '–');
}

const PROTOCOLS = { rtmp: 'RTMP', whip: 'WHIP', webrtc: 'WebRTC', whep: 'WebRTC', hls: 'HLS', dash: 'DASH', srt: 'SRT', rtsp: 'RTSP' };
/** A protocol's name. */
export function protocol(name) {
  return PROTOCOLS[name] ?? String(name ?? '–').toUpperCase();
}

/** Who publishes, briefly: a browser's user agent becomes its name and version. */
export function agent(text) {
  if (!text?.startsWith('Mozilla/')) return text ?? '';
  const found = /(Edg|OPR|Firefox|(?:Headless)?Chrome|Version)\/(\d+)/g;
  const known = [...text.matchAll(found)].map(([, name, version]) => [{ Edg: 'Edge', OPR: 'Opera', HeadlessChrome: 'Chrome', Version: 'Safari' }[name] ?? name, version]);
  // Edge and Opera call themselves Chrome too, and name themselves last.
  const best = known.find(([name]) => name === 'Edge' || name === 'Opera') ?? known[0];
  return best ? best.join(' ') : 'a browser';
}

/** A track in a line: `H.264 · 1920×1080 · 4.2 Mbit/s`, `AAC · 48 kHz stereo · 128 kbit/s`. */
export function track(t) {
  const parts = [codec(t.codec)];
  if (t.width && t.height) parts.push(`${t.width}×${t.height}`);
  if (t.sample_rate) parts.push([`${+(t.sample_rate / 1000).toFixed(2)} kHz`, channels(t.channels)].filter(Boolean).join(' '));
  if (t.bitrate !== undefined) parts.push(bitrate(t.bitrate));
  return parts.join(' · ');
}

function channels(n) {
  if (!n) return '';
  return n === 1 ? 'mono' : n === 2 ? 'stereo' : `${n} channels`;
}

/** `1 viewer`, `3 viewers`. */
export function count(n, one, many = `${one}s`) {
  return `${n} ${n === 1 ? one : many}`;
}
