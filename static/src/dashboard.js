// The dashboard: what is live and what was recorded.

import { $, copy, h, icon, reconcile, setAttr, setText } from './lib/dom.js';
import * as format from './lib/format.js';
import { get, poll } from './lib/api.js';
import { notesOf, showNotes } from './lib/notes.js';
import { ROOT, shownToken, withToken } from './lib/path.js';

const REFRESH = 2000;

const key = shownToken(location.search);
const page = (url) => withToken(url, key);

// ---------------------------------------------------------------- streams

function makeStream({ path }) {
  return h(
    'article.panel.stream',
    { 'aria-label': path },
    h('header', {}, h('h3', {}, h('a', { href: page(`${ROOT}${path}/`) }, path)), h('span.badge.source'), h('span.since')),
    h('ul.tracks', { 'aria-label': 'Tracks' }),
    h('ul.notes', { 'aria-label': 'Notes' }),
    h('footer', {}, h('a.button.small', { href: page(`${ROOT}${path}/`), 'aria-label': `Watch ${path}` }, icon('play'), h('span', {}, 'Watch')), h('span.watching', {}, icon('eye'), h('span.viewers'))),
  );
}

function updateStream(card, stream) {
  const { publisher, tracks = [], viewers } = stream;
  const source = $('.source', card);
  setText(source, publisher ? format.protocol(publisher.protocol) : 'Publisher away');
  source.className = `badge source ${publisher ? 'live' : 'warn'}`;
  source.title = publisher ? [format.agent(publisher.agent), publisher.remote].filter(Boolean).join(' · ') : 'The stream goes on if its publisher comes back in time.';
  setText($('.since', card), `for ${format.span(Date.now() - stream.started_at_ms)}`);
  $('.since', card).title = format.dateTime(stream.started_at_ms);
  reconcile($('.tracks', card), tracks.map((track, i) => ({ ...track, i })), (t) => `${t.i}${t.kind}`, makeTrack, updateTrack);
  showNotes($('.notes', card), notesOf(stream));
  const by = Object.entries(viewers?.by_protocol ?? {}).map(([name, n]) => `${n} ${format.protocol(name)}`);
  setText($('.viewers', card), [format.count(viewers?.total ?? 0, 'viewer'), by.join(', ')].filter(Boolean).join(': '));
}

function makeTrack({ kind }) {
  return h('li', {}, h('span.kind', {}, kind === 'video' ? 'Video' : 'Audio'), h('span', {}, h('span.what'), h('span.lost')));
}

function updateTrack(item, track) {
  setText($('.what', item), format.track(track));
  const lost = track.lost > 0 ? track.lost / (track.lost + track.packets) : 0;
  setText($('.lost', item), lost >= 0.0005 ? ` · ${format.percent(lost)} lost` : '');
  item.title = track.codec_string ?? '';
}

let known = null;
function announceChanges(streams) {
  const paths = new Set(streams.map((s) => s.path));
  if (known) {
    const began = [...paths].filter((p) => !known.has(p)).map((p) => `${p} is live`);
    const ended = [...known].filter((p) => !paths.has(p)).map((p) => `${p} has ended`);
    if (began.length + ended.length > 0) setText($('#announce'), [...began, ...ended].join('. '));
  }
  known = paths;
}

function showStreams(streams) {
  streams.sort((a, b) => a.path.localeCompare(b.path));
  reconcile($('#streams'), streams, (s) => s.path, makeStream, updateStream);
  $('#empty').hidden = streams.length > 0;
  const total = (of) => streams.reduce((sum, s) => sum + of(s), 0);
  setText($('#total-streams'), String(streams.length));
  setText($('#total-viewers'), String(total((s) => s.viewers?.total ?? 0)));
  setText($('#total-bitrate'), format.bitrate(total((s) => (s.tracks ?? []).reduce((sum, t) => sum + (t.bitrate ?? 0), 0))));
  announceChanges(streams);
}

// ---------------------------------------------------------------- recordings

/** Pages beyond the first, shown on demand; they no longer change. */
let older = [];
/** Where the pages shown so far end; undefined before the first answer. */
let next;

function makeRecording(recording) {
  const { id, path, urls } = recording;
  const watch = page(`${ROOT}vod/${id}/`);
  const when = format.dateTime(recording.started_at);
  return h(
    'div.row',
    { role: 'row' },
    h('span.name', { role: 'cell' }, h('a', { href: watch }, path), h('span.badge')),
    h('span.started', { role: 'cell' }, when),
    h('span.duration', { role: 'cell' }),
    h('span.size', { role: 'cell' }),
    h(
      'span.links',
      { role: 'cell' },
      h('a.button.small', { href: watch, 'aria-label': `Watch ${path} of ${when}` }, icon('play'), h('span', {}, 'Watch')),
      h('a.button.small', { href: page(`${ROOT}vod/${id}.mp4`), download: true, 'aria-label': `Download ${path} of ${when} as MP4` }, icon('download'), h('span', {}, 'MP4')),
    ),
  );
}

function updateRecording(row, recording) {
  const badge = $('.badge', row);
  const [text, kind] = recording.live ? ['Live', 'live'] : recording.state === 'recovered' ? ['Recovered', 'warn'] : recording.state === 'failed' ? ['Incomplete', 'warn'] : ['', ''];
  badge.hidden = !text;
  badge.className = `badge ${kind}`;
  badge.title = recording.error ?? '';
  setText(badge, text);
  setText($('.duration', row), format.clock(recording.duration));
  setText($('.size', row), format.bytes(recording.bytes));
}

let newest = [];
function showRecordings() {
  const first = new Set(newest.map((r) => r.id));
  const all = [...newest, ...older.filter((r) => !first.has(r.id))];
  reconcile($('#recordings'), all, (r) => r.id, makeRecording, updateRecording);
  $('#recordings-panel').hidden = all.length === 0;
  $('#no-recordings').hidden = all.length > 0;
  $('#more').hidden = !next;
  setText($('#total-recordings'), `${all.length}${next ? '+' : ''}`);
}

/** One page answers most questions; more come on demand. */
const PAGE = 25;
const recordingsUrl = (cursor) => `${ROOT}api/v1/recordings?limit=${PAGE}${cursor ? `&cursor=${encodeURIComponent(cursor)}` : ''}`;

async function refreshRecordings() {
  const { items, next: cursor } = await get(recordingsUrl(), { key });
  // What new recordings push off the first page stays in sight.
  const now = new Set(items.map((r) => r.id));
  if (older.length > 0 || next === null) older = [...newest.filter((r) => !now.has(r.id) && cursor), ...older];
  newest = items;
  if (older.length === 0) next = cursor ?? null;
  showRecordings();
}

$('#more').addEventListener('click', async (event) => {
  const button = event.currentTarget;
  button.disabled = true;
  try {
    const answer = await get(recordingsUrl(next), { key });
    older = [...older, ...answer.items];
    next = answer.next ?? null;
    showRecordings();
  } catch (error) {
    setText($('#announce'), error.message);
  }
  button.disabled = false;
});

// ---------------------------------------------------------------- what to type in, and the connection

function showGuide(info) {
  const host = location.hostname;
  const port = info.rtmp_port ?? 1935;
  // 0: RTMP is turned off.
  for (const way of document.querySelectorAll('.rtmp')) way.hidden = port === 0;
  const server = `rtmp://${host}${port === 1935 ? '' : `:${port}`}/live`;
  setText($('#obs-server'), server);
  setText(
    $('#ffmpeg'),
    `ffmpeg -re -f lavfi -i testsrc2=size=1280x720:rate=30 -f lavfi -i sine=frequency=440:sample_rate=48000 -c:v libx264 -preset veryfast -tune zerolatency -pix_fmt yuv420p -g 60 -b:v 2500k -c:a aac -f flv ${server}/cam1`,
  );
  if (info.version) setText($('#version'), info.version);
}

function showConnection(state, text) {
  setAttr($('#connection'), 'data-state', state);
  setText($('#connection-text'), text);
}

for (const button of document.querySelectorAll('[data-copy]')) {
  setAttr(button, 'aria-label', `Copy ${button.dataset.copy === 'ffmpeg' ? 'the ffmpeg command' : button.dataset.copy === 'obs-key' ? 'the stream key' : 'the server'}`);
  button.addEventListener('click', () => copy(button, $(`#${button.dataset.copy}`).textContent));
}

let informed = false;
showGuide({});

poll(
  REFRESH,
  async () => {
    if (!informed) {
      showGuide(await get(`${ROOT}api/v1/info`, { key }).catch(() => ({})));
      informed = true;
    }
    const [streams] = await Promise.all([get(`${ROOT}api/v1/streams`, { key }), refreshRecordings()]);
    showStreams(streams.items);
    $('#main').removeAttribute('data-loading');
    showConnection('ok', 'Connected');
  },
  (error) => showConnection('lost', error.status === 401 || error.status === 403 ? 'Not allowed: a token is needed' : error.status ? error.message : 'Server unreachable, trying again …'),
);
