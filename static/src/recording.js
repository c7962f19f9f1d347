// The page of a recording.

import { $, h, icon, setText } from './lib/dom.js';
import * as format from './lib/format.js';
import { get } from './lib/api.js';
import { hasMse, HlsPlayer } from './lib/hls.js';
import { recordingId, ROOT, shownToken, withToken } from './lib/path.js';

const id = recordingId(location.pathname);
const token = shownToken(location.search);
const mp4 = withToken(`${ROOT}vod/${encodeURIComponent(id)}.mp4`, token);
const video = $('#video');

function show(state, text = '', detail = '') {
  $('#player').dataset.state = state;
  setText($('#message-text'), text);
  setText($('#message-detail'), detail);
}

function playMp4() {
  video.src = mp4;
  video.addEventListener('loadedmetadata', () => show('playing'), { once: true });
  video.addEventListener('error', () => show('refused', 'This recording can’t be played here', 'Download it and open it in another player.'), { once: true });
}

if (hasMse()) {
  const player = new HlsPlayer({
    video,
    url: withToken(`${ROOT}vod/${encodeURIComponent(id)}/index.m3u8`, token),
    onstate(state, { error, failures }) {
      if (state === 'connected') show('playing');
      else if (state === 'refused' && error.status === 404) show('refused', 'There is no such recording', 'It may have been removed to make room for newer ones.');
      else if (state === 'refused' && (error.status === 401 || error.status === 403)) show('refused', 'You may not watch this recording', 'It needs a token: open this page with ?token=… at the end of its address.');
      else if (state === 'refused' || (state === 'retrying' && failures >= 2)) {
        player.stop();
        playMp4();
      }
    },
  });
  player.start();
} else {
  playMp4();
}

$('#download').href = mp4;

function describe(recording) {
  document.title = `${recording.path}, ${format.dateTime(recording.started_at)} – headend`;
  setText($('#path'), recording.path);
  $('#live').hidden = !recording.live;
  const watch = $('#watch');
  watch.hidden = !recording.live;
  watch.href = withToken(`${ROOT}${recording.path}/`, token);
  const facts = [
    ['Started', format.dateTime(recording.started_at)],
    ['Duration', format.clock(recording.duration)],
    ['Size', format.bytes(recording.bytes)],
    ...(recording.tracks ?? []).map((t) => [t.kind === 'video' ? 'Video' : 'Audio', format.track(t)]),
  ];
  $('#facts').replaceChildren(...facts.map(([name, value]) => h('div', {}, h('dt', {}, name), h('dd', {}, value))));
  const notes = [];
  if (recording.state === 'recovered') notes.push('The server stopped unexpectedly while this was recorded; everything up to then is here.');
  if (recording.state === 'failed') notes.push(`Recording stopped early: ${recording.error ?? 'an error'}.`);
  $('#notes').replaceChildren(...notes.map((text) => h('li.warning', {}, icon('warn'), h('p', {}, text))));
}

async function refresh() {
  const recording = await get(`${ROOT}api/v1/recordings/${encodeURIComponent(id)}`, { key: token }).catch(() => null);
  if (!recording) return;
  describe(recording);
  if (recording.live) setTimeout(refresh, 5000);
}
setText($('#path'), 'Recording');
refresh();
