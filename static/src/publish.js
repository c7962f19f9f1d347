// The publish page: camera or screen to headend over WHIP.

import { $, h, remembered, setAttr, setText } from './lib/dom.js';
import * as format from './lib/format.js';
import { audioConstraints, capture, explain, obstacle, videoConstraints } from './lib/capture.js';
import { readToken, ROOT, shownToken, streamPath } from './lib/path.js';
import { canEncode, WhipPublisher } from './lib/whip.js';

/** While connecting again, a path may still be held by our own lost session for a moment. */
const BUSY_PATIENCE = 8;
/** A minute, one value a second. */
const CHART_LENGTH = 60;
/** What a resolution needs at 30 frames a second to look good, in kbit/s. */
const USUAL_BITRATE = { '640x360': 1000, '1280x720': 2500, '1920x1080': 4500 };

const path = streamPath(location.pathname);
const form = $('#settings');
const video = $('#preview');
const field = (name) => document.getElementById(name);

setText($('#path'), path);
document.title = `Publish to ${path} – headend`;
$('#watch-link').href = `${ROOT}${path}/`;
field('key').value = readToken(shownToken(location.search) ?? '');

let stream = null;
let publisher = null;
let everConnected = false;
let busyCount = 0;
let wakeLock = null;

// ---------------------------------------------------------------- settings

function settings() {
  const [width, height] = field('resolution').value.split('x').map(Number);
  return {
    source: $('input[name=source]:checked').value,
    camera: field('camera').value,
    microphone: field('microphone').value,
    voice: field('voice').checked,
    width,
    height,
    fps: Number(field('fps').value),
    codec: field('codec').value,
    bitrate: Number(field('bitrate').value) * 1000,
  };
}

const KEPT = ['camera', 'microphone', 'resolution', 'fps', 'codec', 'bitrate'];

function restore() {
  const kept = remembered.get('publish', {});
  for (const name of KEPT) {
    const input = field(name);
    // A device that isn't listed (yet) stays the default.
    if (kept[name] !== undefined && (input.type === 'range' || [...input.options].some((o) => o.value === kept[name]))) input.value = kept[name];
  }
  field('voice').checked = kept.voice ?? true;
}

function keep() {
  remembered.set('publish', { ...Object.fromEntries(KEPT.map((name) => [name, field(name).value])), voice: field('voice').checked });
}

function showBitrate() {
  setText(field('bitrate-text'), format.bitrate(settings().bitrate));
  setAttr(field('bitrate'), 'aria-valuetext', format.bitrate(settings().bitrate));
}

function showSource() {
  const { source } = settings();
  field('camera-field').hidden = source !== 'camera';
  setText($('#preview-button span'), source === 'camera' ? 'Turn on camera' : 'Choose a screen');
  setAttr($('#preview-button use'), 'href', source === 'camera' ? '#i-camera' : '#i-screen');
}

async function listDevices() {
  const devices = (await navigator.mediaDevices?.enumerateDevices?.().catch(() => [])) ?? [];
  const fill = (select, kind, fixed) => {
    const chosen = select.value || remembered.get('publish', {})[select.id] || '';
    const found = devices.filter((d) => d.kind === kind && d.deviceId && d.deviceId !== 'default' && d.label);
    select.replaceChildren(...fixed, ...found.map((d) => h('option', { value: d.deviceId }, d.label)));
    select.value = [...select.options].some((o) => o.value === chosen) ? chosen : '';
  };
  fill(field('camera'), 'videoinput', [h('option', { value: '' }, 'Default')]);
  fill(field('microphone'), 'audioinput', [h('option', { value: '' }, 'Default'), h('option', { value: 'none' }, 'None')]);
}

// ---------------------------------------------------------------- picture and sound

async function preview() {
  const why = obstacle();
  if (why) {
    alarm(why);
    return false;
  }
  const before = stream;
  const now = settings();
  try {
    calm();
    // Some cameras open only once: let go of the old tracks first, unless they are on air.
    if (!publisher) release();
    stream = await capture(now);
  } catch (error) {
    const reason = explain(error, now.source);
    if (reason) alarm(reason);
    return false;
  }
  if (publisher) {
    // On air: the session goes on with the new tracks.
    await Promise.all(stream.getTracks().map((track) => publisher.replace(track)));
    before?.getTracks().forEach((track) => track.stop());
    publisher.stream = stream;
  }
  for (const track of stream.getVideoTracks()) {
    track.contentHint = now.source === 'screen' ? 'detail' : 'motion';
    track.addEventListener('ended', () => ended(track));
  }
  video.srcObject = stream;
  video.classList.toggle('mirrored', now.source === 'camera' && stream.getVideoTracks()[0]?.getSettings().facingMode !== 'environment');
  $('#player').dataset.state = 'previewing';
  listen();
  await listDevices();
  return true;
}

function release() {
  stream?.getTracks().forEach((track) => track.stop());
  stream = null;
  video.srcObject = null;
  meterSource?.disconnect();
  meterSource = null;
  showLevel(0);
  $('#player').dataset.state = 'idle';
}

/** The camera was unplugged, or sharing was ended in the browser's own bar. */
function ended(track) {
  if (!stream?.getTracks().includes(track)) return;
  const onAir = publisher !== null;
  if (onAir) stop();
  release();
  alarm({ title: settings().source === 'screen' ? 'Sharing was ended' : 'The camera is gone', text: onAir ? 'Publishing was stopped.' : 'Choose another source.' });
}

let context = null;
let meterSource = null;
/** The level meter. */
function listen() {
  meterSource?.disconnect();
  meterSource = null;
  const [track] = stream.getAudioTracks();
  if (!track) return showLevel(0);
  context ??= new AudioContext();
  context.resume().catch(() => {});
  const analyser = new AnalyserNode(context, { fftSize: 1024 });
  meterSource = new MediaStreamAudioSourceNode(context, { mediaStream: new MediaStream([track]) });
  meterSource.connect(analyser);
  const samples = new Float32Array(analyser.fftSize);
  const source = meterSource;
  const timer = setInterval(() => {
    if (source !== meterSource) return clearInterval(timer);
    if (document.hidden) return;
    analyser.getFloatTimeDomainData(samples);
    const peak = samples.reduce((max, s) => Math.max(max, Math.abs(s)), 0);
    // −60 dBFS to 0 over the whole width.
    showLevel(Math.max(0, 1 + (20 * Math.log10(peak || 1e-6)) / 60));
  }, 100);
}

function showLevel(level) {
  $('#level-bar').style.transform = `scaleX(${level.toFixed(2)})`;
  $('#level').classList.toggle('hot', level > 0.97);
  setAttr($('#level'), 'aria-valuenow', String(Math.round(level * 100)));
}

// ---------------------------------------------------------------- on air

async function start() {
  $('#start').disabled = true;
  const ready = stream !== null || (await preview());
  $('#start').disabled = false;
  if (!ready) return;
  calm();
  everConnected = false;
  busyCount = 0;
  history.length = 0;
  publisher = new WhipPublisher({ url: `${ROOT}${path}/whip`, key: encodeURIComponent(field('key').value.trim()) || null, stream, options: settings, onstate: changed });
  publisher.start();
  controls(true);
  navigator.wakeLock?.request('screen').then((lock) => (wakeLock = lock)).catch(() => {});
}

function stop() {
  publisher?.stop();
  publisher = null;
  wakeLock?.release().catch(() => {});
  wakeLock = null;
  controls(false);
  badge('Off air', '');
}

function controls(onAir) {
  const hadFocus = document.activeElement === $('#start') || document.activeElement === $('#stop');
  $('#start').hidden = onAir;
  $('#stop').hidden = !onAir;
  $('#network').hidden = !onAir;
  // These need a new session.
  field('codec').disabled = onAir;
  field('key').disabled = onAir;
  for (const input of document.querySelectorAll('input[name=source]')) input.disabled = onAir;
  if (hadFocus) $(onAir ? '#stop' : '#start').focus();
}

function changed(state, { error, lost } = {}) {
  if (!publisher) return;
  switch (state) {
    case 'connecting':
      badge(everConnected ? 'Reconnecting …' : 'Connecting …', 'warn');
      break;
    case 'connected':
      everConnected = true;
      busyCount = 0;
      calm();
      badge('On air', 'live');
      break;
    case 'recovering':
      badge('Recovering …', 'warn');
      break;
    case 'waiting': // 404: there is no such endpoint
      stop();
      alarm({ title: 'The server doesn’t take this stream', text: error.message });
      break;
    case 'retrying':
      badge('Reconnecting …', 'warn');
      if (lost) alarm({ title: 'The connection ended', text: 'Connecting again …' });
      else if (error?.status === 409) busy();
      else alarm({ title: error?.code === 'no_connection' ? 'No media connection' : 'The server can’t take the stream now', text: `${sentence(error?.message)} Trying again …` });
      break;
    case 'refused':
      stop();
      alarm(refused(error));
      break;
  }
}

/** Somebody else is on air here, unless it is our own session that got lost. */
function busy() {
  busyCount += 1;
  if (everConnected && busyCount < BUSY_PATIENCE) return alarm({ title: 'Waiting for the former session to end', text: 'Trying again …' });
  stop();
  alarm({ title: 'Somebody is publishing here already', text: `Wait until they stop, or choose another path: replace “${path}” in this page’s address.` });
}

function refused(error) {
  switch (error.status) {
    case 401:
      return { title: 'This stream needs a key', text: 'Enter it in the settings and start again.' };
    case 403:
      return { title: 'The key is not valid for this stream', text: sentence(error.message) };
    case 406:
    case 415:
    case 422:
      return { title: 'The server and this browser have no codec in common', text: sentence(error.message) };
    default:
      return { title: 'Publishing was refused', text: sentence(error.message) };
  }
}

/** The server's words as a sentence; a path at its beginning stays as it is. */
function sentence(text) {
  if (!text) return '';
  const begun = text.startsWith(path) ? text : text[0].toUpperCase() + text.slice(1);
  return `${begun.replace(/\.$/, '')}.`;
}

function badge(text, kind) {
  setText($('#state'), text);
  $('#state').className = `badge ${kind}`;
}

function alarm({ title, text }) {
  $('#alert').hidden = false;
  setText($('#alert-title'), title);
  setText($('#alert-text'), text);
}

function calm() {
  $('#alert').hidden = true;
}

// ---------------------------------------------------------------- what the network does

const history = [];
/** Each session begins small and grows: what limits it then needs no advice. */
const LIMITED_FOR = 8;
let limitedFor = 0;
const LIMITS = { bandwidth: 'the network', cpu: 'this computer', other: 'the browser' };

async function measure() {
  const asked = publisher;
  const s = await asked?.stats();
  if (!asked || asked !== publisher) return;
  history.push(s?.bitrate ?? 0);
  if (history.length > CHART_LENGTH) history.shift();
  draw();
  const facts = [
    ['Sent', s ? format.bitrate(s.bitrate) : '–'],
    ['Possible now', format.bitrate(s?.available)],
    ['Picture', s?.width ? `${s.width}×${s.height}, ${Math.round(s.fps ?? 0)} fps` : '–'],
    ['Round trip', format.latency(s?.rtt)],
    ['Packets lost', format.percent(s?.loss)],
    ['Sent again (NACK)', s ? String(s.nacks) : '–'],
    ['Key frames asked (PLI)', s ? String(s.plis) : '–'],
    ['Codecs', s ? [s.videoCodec, s.audioCodec].filter(Boolean).map(format.codec).join(' + ') || '–' : '–'],
  ];
  const list = $('#network-facts');
  if (list.children.length === 0) list.append(...facts.map(([name]) => h('div', {}, h('dt', {}, name), h('dd'))));
  facts.forEach(([, value], i) => setText(list.children[i].lastChild, value));
  const hint = $('#network-hint');
  limitedFor = s && s.limitation !== 'none' ? limitedFor + 1 : 0;
  const limited = limitedFor >= LIMITED_FOR && LIMITS[s.limitation];
  setAttr(hint, 'data-level', limited ? 'warn' : 'ok');
  setText(hint, limited ? `The picture is held back by ${limited}: choose a lower resolution, frame rate or bitrate.` : s?.loss > 0.03 ? 'Packets are being lost: a lower bitrate or a cable may help.' : s ? 'All is well.' : '');
}

function draw() {
  const canvas = $('#chart');
  const scale = window.devicePixelRatio || 1;
  const [width, height] = [canvas.clientWidth, canvas.clientHeight];
  if (width === 0) return;
  canvas.width = width * scale;
  canvas.height = height * scale;
  const c = canvas.getContext('2d');
  c.scale(scale, scale);
  const top = Math.max(settings().bitrate * 1.2, ...history);
  const x = (i) => width - ((history.length - 1 - i) * width) / (CHART_LENGTH - 1);
  const y = (v) => height - 2 - (v / top) * (height - 8);
  const color = getComputedStyle(canvas).color;
  c.strokeStyle = c.fillStyle = color;
  c.lineWidth = 2;
  c.lineJoin = 'round';
  c.beginPath();
  history.forEach((v, i) => c.lineTo(x(i), y(v)));
  c.stroke();
  c.lineTo(x(history.length - 1), height);
  c.lineTo(x(0), height);
  c.globalAlpha = 0.16;
  c.fill();
  // The bitrate that was set, dashed.
  c.globalAlpha = 0.6;
  c.lineWidth = 1;
  c.setLineDash([4, 4]);
  c.beginPath();
  c.moveTo(0, y(settings().bitrate));
  c.lineTo(width, y(settings().bitrate));
  c.stroke();
}

setInterval(() => measure().catch(() => {}), 1000);

// ---------------------------------------------------------------- wiring

$('#preview-button').addEventListener('click', preview);
$('#start').addEventListener('click', start);
$('#stop').addEventListener('click', stop);
form.addEventListener('submit', (event) => event.preventDefault());
form.addEventListener('input', () => {
  showBitrate();
  keep();
});
for (const input of document.querySelectorAll('input[name=source]')) {
  input.addEventListener('change', () => {
    calm();
    release();
    showSource();
  });
}
for (const name of ['camera', 'microphone', 'voice']) {
  field(name).addEventListener('change', () => {
    if (!stream) return;
    // A track that comes or goes needs a new session; one that changes does not.
    const audioComesOrGoes = (field('microphone').value === 'none') !== (stream.getAudioTracks().length === 0);
    if (settings().source === 'screen' && name !== 'camera') return retakeSound();
    if (publisher && audioComesOrGoes) {
      stop();
      release();
      return void start();
    }
    preview();
  });
}
/** Another microphone without choosing the screen again. */
async function retakeSound() {
  const now = settings();
  const [old] = stream.getAudioTracks();
  try {
    const fresh = now.microphone === 'none' ? null : (await navigator.mediaDevices.getUserMedia({ audio: audioConstraints(now) })).getAudioTracks()[0];
    if (old) {
      stream.removeTrack(old);
      old.stop();
    }
    if (fresh) stream.addTrack(fresh);
    if (publisher && Boolean(old) !== Boolean(fresh)) {
      stop();
      await start();
    } else if (fresh) {
      await publisher?.replace(fresh);
    }
    listen();
  } catch (error) {
    const reason = explain(error, 'camera');
    if (reason) alarm(reason);
  }
}
for (const name of ['resolution', 'fps']) {
  field(name).addEventListener('change', () => {
    const now = settings();
    if (name === 'resolution') {
      field('bitrate').value = USUAL_BITRATE[field('resolution').value];
      showBitrate();
      keep();
      publisher?.setBitrate(settings().bitrate).catch(() => {});
    }
    const [track] = stream?.getVideoTracks() ?? [];
    const constraints = now.source === 'camera' ? videoConstraints(now) : { width: { max: now.width }, height: { max: now.height }, frameRate: { max: now.fps } };
    track?.applyConstraints(constraints).catch((error) => alarm(explain(error, now.source) ?? { title: 'The device can’t do that', text: '' }));
  });
}
field('bitrate').addEventListener('change', () => publisher?.setBitrate(settings().bitrate).catch(() => {}));
navigator.mediaDevices?.addEventListener?.('devicechange', listDevices);

addEventListener('pagehide', () => publisher && stop());
addEventListener('beforeunload', (event) => publisher && event.preventDefault());
document.addEventListener('visibilitychange', () => {
  // The system takes the lock away while the page is hidden.
  if (publisher && !document.hidden) navigator.wakeLock?.request('screen').then((lock) => (wakeLock = lock)).catch(() => {});
});

for (const option of field('codec').options) option.disabled = !canEncode(option.value);
restore();
if (field('codec').selectedOptions[0]?.disabled) field('codec').value = [...field('codec').options].find((o) => !o.disabled)?.value ?? '';
showSource();
showBitrate();
listDevices();
const why = obstacle();
if (why) {
  alarm(why);
  $('#preview-button').disabled = true;
  $('#start').disabled = true;
}
