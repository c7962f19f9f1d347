// The watch page: WebRTC, and HLS where that does not get through.

import { $, h, reconcile, remembered, setAttr, setIcon, setText } from './lib/dom.js';
import * as format from './lib/format.js';
import { get, poll, streamUrl } from './lib/api.js';
import { HlsPlayer } from './lib/hls.js';
import { notesOf, showNotes } from './lib/notes.js';
import { ROOT, shownToken, streamPath, withToken } from './lib/path.js';
import { WhepPlayer } from './lib/whep.js';

/** A server that fails this often in a row won't give this viewer WebRTC soon. */
const FAILURES_BEFORE_HLS = 2;
/** Without media for this long the publisher is away, though the connection stands. */
const SILENCE = 3000;
/** Controls hide after this long without a movement. */
const QUIET_AFTER = 3000;
/** Further behind than usual by this much, the button offers to catch up. */
const NOTABLY_BEHIND = 3000;

const path = streamPath(location.pathname);
const token = shownToken(location.search);
const base = `${ROOT}${path}/`;

const ui = Object.fromEntries(
  ['player', 'video', 'message-text', 'message-detail', 'again', 'unmute', 'stats', 'play', 'mute', 'volume', 'live', 'live-text', 'latency', 'quality', 'quality-box', 'stats-button', 'pip', 'full', 'chips', 'notes', 'viewers', 'viewers-text', 'seek-keys'].map((id) => [id, document.getElementById(id)]),
);
const { player, video } = ui;

setText($('#path'), path);
document.title = `${path} – headend`;

// ---------------------------------------------------------------- delivery

const canWebRtc = 'RTCPeerConnection' in window;
/** What the viewer asked for; `auto` is WebRTC with HLS behind it. */
let wanted = 'auto';
let mode = null;
let engine = null;
let state = 'connecting';
let pausedByViewer = false;
/** When media last moved, and how far. */
let alive = { at: 0, mark: -1 };

function begin(next, why = '') {
  engine?.stop();
  mode = next;
  alive = { at: performance.now(), mark: -1 };
  $(`input[name=mode][value=${next}]`).checked = true;
  ui['quality-box'].hidden = true;
  ui['seek-keys'].hidden = next !== 'hls';
  const onstate = (to, detail) => mode === next && changed(to, detail);
  engine =
    next === 'webrtc'
      ? new WhepPlayer({ video, url: `${base}whep`, key: token, onstate })
      : new HlsPlayer({ video, url: withToken(`${base}index.m3u8`, token), onstate, onlevels: showLevels, isLive });
  show('connecting', why || 'Connecting …');
  engine.start();
}

/** Whether the server has something of the stream to play; where it doesn't say, yes. A publisher of whom nothing can be carried is listed, too. */
async function isLive() {
  try {
    const stream = await get(streamUrl(path), { key: token });
    return stream.tracks.length > 0;
  } catch (error) {
    return error.status !== 404;
  }
}

function changed(to, { error, failures = 0, lost } = {}) {
  if (mode === 'webrtc' && wanted === 'auto') {
    if (to === 'retrying' && error?.code === 'no_connection') return begin('hls', 'WebRTC doesn’t get through; switching to HLS …');
    // A server that is away or going away serves no HLS either.
    if (to === 'retrying' && error?.status >= 500 && error.code !== 'shutting_down' && failures >= FAILURES_BEFORE_HLS) return begin('hls', 'Switching to HLS …');
    // What the browser itself can't do (it throws) won't change.
    if (to === 'retrying' && error && error.status === undefined && failures >= FAILURES_BEFORE_HLS) return begin('hls', 'Switching to HLS …');
    // Codecs that this browser can't take over WebRTC may still play over HLS.
    if (to === 'refused' && (error?.code === 'no_webrtc' || [405, 406, 415, 422, 501].includes(error?.status))) return begin('hls', 'Switching to HLS …');
  }
  switch (to) {
    case 'connecting':
      if (failures === 0) show('connecting', 'Connecting …');
      break;
    case 'waiting':
      show('waiting', 'Not live yet', 'The picture starts by itself as soon as somebody publishes here.');
      break;
    case 'connected':
      alive = { at: performance.now(), mark: -1 };
      if (!pausedByViewer) play();
      break;
    case 'recovering':
      show('connecting', 'The connection was lost; recovering …');
      break;
    case 'retrying':
      show('connecting', lost ? 'The connection ended; reconnecting …' : 'Connecting again …', error?.message ?? '');
      break;
    case 'refused':
      if (error.status === 401 || error.status === 403) show('refused', 'You may not watch this stream', token ? 'The token in this page’s address is not valid here.' : 'It needs a token: open this page with ?token=… at the end of its address.');
      else show('refused', 'This stream can’t be played', error.message);
      break;
  }
}

function show(to, text, detail = '') {
  state = to;
  player.dataset.state = to;
  ui.again.hidden = to !== 'refused';
  if (text) {
    setText(ui['message-text'], text);
    setText(ui['message-detail'], detail);
  }
  if (to !== 'playing') {
    ui.live.classList.remove('on');
    setText(ui.latency, '');
  }
  stir();
}

// ---------------------------------------------------------------- playing, sound

const sound = { volume: remembered.get('volume', 1), muted: remembered.get('muted', false) };
video.volume = Math.min(1, Math.max(0, Number(sound.volume) || 0));
video.muted = sound.muted === true;

async function play() {
  pausedByViewer = false;
  try {
    await video.play();
  } catch (error) {
    if (error.name !== 'NotAllowedError' || video.muted) return;
    // Browsers let pages begin without sound only.
    video.muted = true;
    ui.unmute.hidden = false;
    await video.play().catch(() => {});
  }
}

function togglePlay() {
  if (video.paused) {
    if (mode === 'hls') engine.toLive();
    play();
  } else {
    pausedByViewer = true;
    video.pause();
  }
}

function setMuted(muted) {
  video.muted = muted;
  if (!muted && video.volume === 0) video.volume = 0.5;
  remembered.set('muted', muted);
  if (!muted) ui.unmute.hidden = true;
}

function setVolume(volume) {
  video.volume = Math.min(1, Math.max(0, volume));
  setMuted(video.volume === 0);
  remembered.set('volume', video.volume);
}

function showSound() {
  const silent = video.muted || video.volume === 0;
  setIcon(ui.mute, silent ? 'muted' : 'volume');
  setAttr(ui.mute, 'aria-label', silent ? 'Unmute' : 'Mute');
  ui.mute.title = `${silent ? 'Unmute' : 'Mute'} (m)`;
  ui.volume.value = video.muted ? 0 : Math.round(video.volume * 100);
}

function showPlay() {
  setIcon(ui.play, video.paused ? 'play' : 'pause');
  setAttr(ui.play, 'aria-label', video.paused ? 'Play' : 'Pause');
  ui.play.title = `${video.paused ? 'Play' : 'Pause'} (space)`;
}

video.addEventListener('playing', () => show('playing'));
video.addEventListener('waiting', () => mode === 'hls' && state === 'playing' && show('connecting', 'Buffering …'));
video.addEventListener('play', showPlay);
video.addEventListener('pause', () => {
  showPlay();
  if (pausedByViewer && state === 'playing') show('paused');
});
video.addEventListener('volumechange', showSound);
ui.play.addEventListener('click', togglePlay);
ui.mute.addEventListener('click', () => setMuted(!video.muted));
ui.unmute.addEventListener('click', () => {
  setMuted(false);
  play();
});
ui.volume.addEventListener('input', () => setVolume(ui.volume.value / 100));
ui.live.addEventListener('click', () => {
  engine.toLive?.();
  play();
});
ui.again.addEventListener('click', () => begin(mode));
for (const input of document.querySelectorAll('input[name=mode]')) {
  input.addEventListener('change', () => {
    wanted = input.value;
    begin(wanted);
  });
}
if (!canWebRtc) $('input[name=mode][value=webrtc]').disabled = true;

function showLevels(names) {
  ui['quality-box'].hidden = names.length < 2;
  ui.quality.replaceChildren(h('option', { value: -1 }, 'Auto'), ...names.map((name, i) => h('option', { value: i }, name)));
}
ui.quality.addEventListener('change', () => engine.setLevel?.(Number(ui.quality.value)));

// ---------------------------------------------------------------- full screen, picture in picture, keys

ui.full.addEventListener('click', toggleFull);
function toggleFull() {
  if (document.fullscreenElement) document.exitFullscreen();
  else if (player.requestFullscreen) player.requestFullscreen().catch(() => {});
  else video.webkitEnterFullscreen?.();
}
document.addEventListener('fullscreenchange', () => {
  const full = document.fullscreenElement !== null;
  setIcon(ui.full, full ? 'exit-full' : 'full');
  setAttr(ui.full, 'aria-label', full ? 'Leave full screen' : 'Full screen');
});

ui.pip.hidden = !document.pictureInPictureEnabled;
ui.pip.addEventListener('click', () => {
  const change = document.pictureInPictureElement ? document.exitPictureInPicture() : video.requestPictureInPicture();
  change.catch(() => {}); // no picture yet
});
video.addEventListener('click', () => (matchMedia('(hover: hover)').matches ? togglePlay() : stir()));
video.addEventListener('dblclick', toggleFull);

function toggleStats() {
  ui.stats.hidden = !ui.stats.hidden;
  setAttr(ui['stats-button'], 'aria-pressed', String(!ui.stats.hidden));
  remembered.set('stats', !ui.stats.hidden);
}
ui['stats-button'].addEventListener('click', toggleStats);
if (remembered.get('stats', false)) toggleStats();

const KEYS = {
  ' ': togglePlay,
  k: togglePlay,
  m: () => setMuted(!video.muted),
  f: toggleFull,
  i: toggleStats,
  ArrowUp: () => setVolume(video.volume + 0.05),
  ArrowDown: () => setVolume(video.volume - 0.05),
  ArrowLeft: () => engine.seek?.(-10),
  ArrowRight: () => engine.seek?.(10),
};
document.addEventListener('keydown', (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  stir();
  // A focused control keeps the keys it uses itself.
  const tag = event.target.tagName;
  if (tag === 'SELECT' || (tag === 'INPUT' && event.key.startsWith('Arrow')) || (event.key === ' ' && ['BUTTON', 'A', 'INPUT'].includes(tag))) return;
  const act = KEYS[event.key.length === 1 ? event.key.toLowerCase() : event.key];
  if (!act) return;
  event.preventDefault();
  act();
});

let quiet;
function stir() {
  player.classList.remove('quiet');
  clearTimeout(quiet);
  if (state === 'playing') quiet = setTimeout(() => player.classList.add('quiet'), QUIET_AFTER);
}
player.addEventListener('pointermove', stir);
player.addEventListener('focusin', stir);

// ---------------------------------------------------------------- statistics

async function watchOver() {
  const asked = engine;
  const s = await asked?.stats();
  if (asked !== engine) return;
  if (!s) {
    setText(ui.latency, '');
    ui.stats.replaceChildren(h('dt', {}, 'Delivery'), h('dd', {}, 'not connected'));
    return;
  }
  const now = performance.now();
  if (s.alive !== alive.mark) alive = { at: now, mark: s.alive };
  const silent = mode === 'webrtc' && now - alive.at > SILENCE;
  if (silent && !video.paused && ['playing', 'connecting'].includes(state)) show('connecting', 'No picture from the publisher right now', 'It goes on by itself when the publisher is back.');
  else if (!silent && mode === 'webrtc' && state === 'connecting' && !video.paused && video.readyState >= 2) show('playing');
  const behind = mode === 'hls' && s.latency > (s.target ?? 0) + NOTABLY_BEHIND;
  ui.live.classList.toggle('on', state === 'playing' && !behind);
  ui.live.disabled = !behind;
  setText(ui['live-text'], behind ? 'Go live' : 'Live');
  if (state === 'playing') setText(ui.latency, Number.isFinite(s.latency) ? format.latency(s.latency) : '');
  if (!ui.stats.hidden) ui.stats.replaceChildren(...s.rows.flatMap(([name, value]) => [h('dt', {}, name), h('dd', {}, value)]));
}
setInterval(() => document.hidden || watchOver().catch(() => {}), 1000);

// ---------------------------------------------------------------- what the server tells

function describe(stream) {
  const watching = stream.viewers?.total ?? 0;
  ui.viewers.hidden = false;
  setText(ui['viewers-text'], format.count(watching, 'viewer'));
  const chips = [];
  if (stream.publisher) chips.push(`${format.protocol(stream.publisher.protocol)}${stream.publisher.agent ? ` · ${format.agent(stream.publisher.agent)}` : ''}`);
  else chips.push('Publisher away');
  chips.push(...(stream.tracks ?? []).map((t) => format.track({ ...t, bitrate: undefined })));
  reconcile(ui.chips, chips.map((text, i) => ({ i, text })), (c) => c.i, () => h('li'), (li, c) => setText(li, c.text));
  showNotes(ui.notes, notesOf(stream));
}

poll(
  5000,
  async () => {
    try {
      describe(await get(streamUrl(path), { key: token }));
    } catch (error) {
      if (error.status === 0) throw error;
      // Not live, or not for us: the player says what matters.
      ui.viewers.hidden = true;
      ui.chips.replaceChildren();
      ui.notes.replaceChildren();
      if (error.status !== 404) throw error;
    }
  },
);

// The session must end on the server too; a page that comes back from the back-forward cache begins anew.
addEventListener('pagehide', () => engine?.stop());
addEventListener('pageshow', (event) => event.persisted && begin(mode));

showSound();
begin(canWebRtc ? 'webrtc' : 'hls');
