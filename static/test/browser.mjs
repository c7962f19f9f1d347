// The pages in Chromium, against the mock and a second page that plays the SFU with the browser's own WebRTC.
// `node test/browser.mjs [folder for screenshots]`; needs `npm run build`, ffmpeg, Chromium, and tests/e2e's playwright-core.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { SAMPLE, serve } from './mock.mjs';

const { chromium } = createRequire(new URL('../../tests/e2e/package.json', import.meta.url))('playwright-core');
const shots = process.argv[2];
if (shots) await mkdir(shots, { recursive: true });

const media = await mkdtemp(path.join(tmpdir(), 'headend-pages-'));
const ffmpeg = spawn('ffmpeg', ['-v', 'error', '-re', '-f', 'lavfi', '-i', 'testsrc2=size=640x360:rate=15', '-f', 'lavfi', '-i', 'sine=frequency=440', '-c:v', 'libx264', '-preset', 'ultrafast', '-tune', 'zerolatency', '-pix_fmt', 'yuv420p', '-g', '15', '-c:a', 'aac', '-f', 'hls', '-hls_time', '1', '-hls_list_size', '6', '-hls_segment_type', 'fmp4', '-hls_flags', 'delete_segments+program_date_time', path.join(media, 'index.m3u8')], { stdio: 'inherit' });
const state = { ...structuredClone(SAMPLE), media };
const server = await serve(state);
const base = `http://localhost:${server.address().port}`;
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
  args: ['--no-sandbox', '--disable-gpu', '--disable-background-networking', '--disable-component-update', '--disable-sync', '--use-fake-device-for-media-stream', '--use-fake-ui-for-media-stream', '--allow-loopback-in-peer-connection', '--autoplay-policy=document-user-activation-required', '--disable-features=WebRtcHideLocalIpsWithMdns'],
});

// ---- the SFU's part, in a page of its own

const sfu = await (await browser.newContext()).newPage();
await sfu.goto(`${base}/api/v1/info`);
await sfu.evaluate(() => {
  const canvas = Object.assign(document.body.appendChild(document.createElement('canvas')), { width: 640, height: 360 });
  const c = canvas.getContext('2d');
  setInterval(() => {
    c.fillStyle = `hsl(${(Date.now() / 20) % 360} 60% 45%)`;
    c.fillRect(0, 0, 640, 360);
    c.fillStyle = '#fff';
    c.font = '48px sans-serif';
    c.fillText(new Date().toISOString().slice(11, 23), 180, 195);
  }, 33);
  const audio = new AudioContext();
  const oscillator = audio.createOscillator();
  const out = audio.createMediaStreamDestination();
  oscillator.connect(out);
  oscillator.start();
  const tracks = [...canvas.captureStream(30).getTracks(), ...out.stream.getTracks()];
  const gathered = (pc) => new Promise((resolve) => {
    // After a restart the state is still `complete` from before.
    const look = () => pc.iceGatheringState === 'complete' && pc.localDescription.sdp.includes('a=candidate') && resolve(pc.localDescription.sdp);
    pc.addEventListener('icegatheringstatechange', look);
    look();
  });
  window.sessions = [];
  window.answer = async (sdp, send) => {
    const pc = new RTCPeerConnection();
    sessions.push({ pc, offer: sdp });
    await pc.setRemoteDescription({ type: 'offer', sdp });
    for (const t of send ? pc.getTransceivers() : []) {
      t.direction = 'sendonly';
      await t.sender.replaceTrack(tracks.find((track) => track.kind === t.receiver.track.kind));
    }
    await pc.setLocalDescription();
    return gathered(pc);
  };
  const line = (sdp, name) => sdp.match(new RegExp(`^a=${name}:.*$`, 'm'))[0].trim();
  window.restart = async (fragment) => {
    const { pc, offer } = sessions.at(-1);
    const sdp = offer.replace(/^a=ice-ufrag:.*$/gm, line(fragment, 'ice-ufrag')).replace(/^a=ice-pwd:.*$/gm, line(fragment, 'ice-pwd'));
    await pc.setRemoteDescription({ type: 'offer', sdp });
    await pc.setLocalDescription();
    const mine = await gathered(pc);
    return [line(mine, 'ice-ufrag'), line(mine, 'ice-pwd'), mine.match(/^m=.*$/m)[0].trim(), 'a=mid:0', ...mine.match(/^a=candidate:.*$/gm).map((l) => l.trim()), ''].join('\r\n');
  };
  window.received = async () => {
    const stats = [...(await sessions.at(-1).pc.getStats()).values()];
    return stats.filter((s) => s.type === 'inbound-rtp').map((s) => ({ kind: s.kind, bytes: s.bytesReceived, codec: stats.find((c) => c.id === s.codecId)?.mimeType }));
  };
});

/** What the pages asked of WHIP and WHEP, and how the next POSTs are answered. */
const asked = [];
let mood = 'good';
// A page that is being left sends its DELETE past the route below, to the server.
state.onrequest = ({ method, url, headers }) => method === 'DELETE' && asked.push({ method, url, headers });
async function signalling(route) {
  const request = route.request();
  asked.push({ method: request.method(), url: request.url(), headers: request.headers() });
  const refuse = (status, code, message) => route.fulfill({ status, contentType: 'application/json', headers: { 'Retry-After': '1' }, body: JSON.stringify({ error: { code, message } }) });
  if (request.method() === 'DELETE') return route.fulfill({ status: 200 });
  if (request.method() === 'PATCH') {
    const body = await sfu.evaluate((f) => restart(f), request.postData());
    return route.fulfill({ status: 200, contentType: 'application/trickle-ice-sdpfrag', headers: { ETag: '"2"' }, body });
  }
  if (mood === 'forbidden') return refuse(403, 'forbidden', 'live/cam1 needs another key: the one shown is wrong');
  if (mood === 'missing') return refuse(404, 'not_live', 'live/cam1 is not live');
  if (mood === 'busy') return refuse(409, 'busy', 'live/cam1 is being published already');
  let body = await sfu.evaluate(([sdp, send]) => answer(sdp, send), [request.postData(), request.url().endsWith('/whep')]);
  if (mood === 'blocked') await sfu.evaluate(() => sessions.at(-1).pc.close());
  return route.fulfill({ status: 201, contentType: 'application/sdp', headers: { Location: `${new URL(request.url()).pathname}/s${asked.length}`, ETag: '"1"' }, body });
}

async function open(url, { phone = false, scheme = 'dark' } = {}) {
  const context = await browser.newContext({ viewport: phone ? { width: 390, height: 844 } : { width: 1280, height: 800 }, isMobile: phone, hasTouch: phone, colorScheme: scheme, permissions: ['camera', 'microphone'] });
  await context.addInitScript(() => {
    const Real = window.RTCPeerConnection;
    window.pcs = [];
    window.RTCPeerConnection = class extends Real {
      constructor(...args) {
        super(...args);
        window.pcs.push(this);
      }
    };
  });
  const page = await context.newPage();
  page.errors = [];
  page.on('pageerror', (error) => page.errors.push(error.message));
  page.on('console', (m) => m.type() === 'error' && !m.text().startsWith('Failed to load resource') && page.errors.push(m.text()));
  await page.route(/\/(whip|whep)(\/|$)/, signalling);
  await page.goto(base + url);
  return page;
}

const shot = (page, name, options) => shots && page.screenshot({ path: path.join(shots, `${name}.png`), ...options });
const playing = (page) => page.waitForFunction(() => document.querySelector('#player').dataset.state === 'playing' && document.querySelector('video').videoWidth > 0, null, { timeout: 15_000 });
const moves = async (page) => {
  const frames = () => page.evaluate(() => document.querySelector('video').getVideoPlaybackQuality().totalVideoFrames);
  const before = await frames();
  await page.waitForFunction((n) => document.querySelector('video').getVideoPlaybackQuality().totalVideoFrames > n + 5, before, { timeout: 10_000 });
};
const message = (page, text) => page.waitForFunction((t) => document.querySelector('#message-text').textContent.includes(t), text, { timeout: 10_000 });
const count = (method) => asked.filter((a) => a.method === method).length;
async function close(page) {
  assert.deepEqual(page.errors, []);
  await page.context().close();
}

const tests = {
  async 'WebRTC plays, tells its delay, comes back after the session was ended, and DELETEs'() {
    const page = await open('/live/cam1/?token=s3cret');
    await playing(page);
    await moves(page);
    assert.equal(asked[0].headers.authorization, 'Bearer s3cret');
    await page.keyboard.press('i');
    await page.waitForFunction(() => /^\d+ ms$/.test(document.querySelector('#latency').textContent));
    await page.waitForTimeout(2200);
    await shot(page, 'watch-webrtc');
    await sfu.evaluate(() => sessions.at(-1).pc.close());
    await page.waitForFunction(() => window.pcs.length === 2, null, { timeout: 15_000 });
    await playing(page);
    await moves(page);
    const before = count('DELETE');
    await page.goto(`${base}/`);
    await page.waitForTimeout(500);
    assert.equal(count('DELETE'), before + 1);
    await close(page);
  },

  async 'ICE is restarted by PATCH when the connection is interrupted'() {
    const page = await open('/live/cam1/');
    await playing(page);
    const before = count('PATCH');
    const ufrag = await page.evaluate(() => {
      const pc = window.pcs[0];
      Object.defineProperty(pc, 'connectionState', { configurable: true, get: () => 'disconnected' });
      pc.dispatchEvent(new Event('connectionstatechange'));
      return pc.remoteDescription.sdp.match(/a=ice-ufrag:(.*)/)[1];
    });
    await page.waitForTimeout(2100);
    await page.evaluate(() => delete window.pcs[0].connectionState);
    await page.waitForFunction((old) => window.pcs[0].remoteDescription.sdp.match(/a=ice-ufrag:(.*)/)[1] !== old, ufrag, { timeout: 5000 });
    assert.equal(count('PATCH'), before + 1);
    assert.equal(asked.find((a) => a.method === 'PATCH').headers['if-match'], '*');
    await playing(page);
    await moves(page);
    assert.equal(await page.evaluate(() => window.pcs.length), 1);
    await close(page);
  },

  async 'not live yet: waits, then plays by itself'() {
    mood = 'missing';
    const page = await open('/live/cam1/');
    await message(page, 'Not live yet');
    mood = 'good';
    await playing(page);
    await close(page);
  },

  async 'refused: says so, and tries again when asked'() {
    mood = 'forbidden';
    const page = await open('/live/cam1/?token=wrong');
    await message(page, 'You may not watch');
    await shot(page, 'watch-refused');
    mood = 'good';
    await page.click('#again');
    await playing(page);
    await close(page);
  },

  async 'HLS takes over where WebRTC does not get through; switching by hand'() {
    mood = 'blocked';
    const page = await open('/live/cam1/');
    const start = Date.now();
    await page.waitForFunction(() => document.querySelector('input[value=hls]').checked, null, { timeout: 8000 });
    await playing(page);
    assert.ok(Date.now() - start < 9000, `took ${Date.now() - start} ms`);
    await moves(page);
    await page.keyboard.press('i');
    await page.waitForTimeout(2500);
    assert.match(await page.textContent('#latency'), /\d/);
    await shot(page, 'watch-hls');
    mood = 'good';
    await page.click('label:has(input[value=webrtc])');
    await playing(page);
    await moves(page);
    await page.click('label:has(input[value=hls])');
    await page.waitForFunction(() => document.querySelector('video').srcObject === null, null, { timeout: 5000 });
    await playing(page);
    await moves(page);
    await close(page);
  },

  async 'without a gesture it plays silently and offers sound'() {
    const page = await open('/live/cam1/');
    // Looking into the page counts as a gesture for Chromium: leave it alone until it plays.
    await page.waitForTimeout(4000);
    assert.equal(await page.evaluate(() => document.querySelector('video').muted), true);
    await playing(page);
    await shot(page, 'watch-silent');
    await page.click('#unmute');
    assert.equal(await page.evaluate(() => document.querySelector('video').muted), false);
    assert.equal(await page.isVisible('#unmute'), false);
    await moves(page);
    await close(page);
  },

  async 'keys and buttons'() {
    const page = await open('/live/cam1/');
    await playing(page);
    const is = (what) => page.evaluate((w) => document.querySelector('video')[w], what);
    const muted = await is('muted');
    await page.keyboard.press('m');
    assert.equal(await is('muted'), !muted);
    await page.keyboard.press('k');
    assert.equal(await is('paused'), true);
    await page.keyboard.press(' ');
    await page.waitForFunction(() => !document.querySelector('video').paused);
    await page.keyboard.press('ArrowDown');
    assert.ok((await is('volume')) < 1);
    await page.keyboard.press('f');
    await page.waitForFunction(() => document.fullscreenElement !== null);
    await close(page);
  },

  async 'phone'() {
    const page = await open('/live/cam1/', { phone: true, scheme: 'light' });
    await playing(page);
    await page.click('#stats-button');
    await page.waitForTimeout(1500);
    assert.ok((await page.evaluate(() => document.documentElement.scrollWidth - innerWidth)) <= 0);
    await shot(page, 'watch-phone');
    await close(page);
  },

  async 'publishing: H.264 or VP8 arrives, statistics, stop'() {
    for (const [codec, mime] of [['video/VP8', 'video/VP8'], ['video/H264', 'video/H264']]) {
      const page = await open('/live/cam2/publish?key=k1');
      await page.selectOption('#codec', codec);
      await page.click('#start');
      await page.waitForFunction(() => document.querySelector('#state').textContent === 'On air', null, { timeout: 10_000 });
      await page.waitForTimeout(5000);
      const got = await sfu.evaluate(() => received());
      assert.equal(got.find((t) => t.kind === 'video').codec, mime);
      assert.ok(got.every((t) => t.bytes > 1000), JSON.stringify(got));
      assert.equal(asked.at(-1).headers.authorization, 'Bearer k1');
      assert.match(await page.textContent('#network-facts'), /Sent[\d.]+ [kM]bit\/s/);
      await shot(page, `publish-${codec.slice(6)}`, { fullPage: true });
      const before = count('DELETE');
      await page.click('#stop');
      await page.waitForFunction(() => document.querySelector('#state').textContent === 'Off air');
      await page.waitForTimeout(200);
      assert.equal(count('DELETE'), before + 1);
      await close(page);
    }
  },

  async 'publishing: refusals are explained, losses repaired'() {
    mood = 'busy';
    const page = await open('/live/cam2/publish', { phone: true });
    await page.click('#start');
    await page.waitForFunction(() => document.querySelector('#alert-title').textContent.includes('publishing here already'));
    await shot(page, 'publish-busy-phone', { fullPage: true });
    mood = 'forbidden';
    await page.click('#start');
    await page.waitForFunction(() => document.querySelector('#alert-title').textContent.includes('key is not valid'));
    mood = 'good';
    await page.click('#start');
    await page.waitForFunction(() => document.querySelector('#state').textContent === 'On air');
    await sfu.evaluate(() => sessions.at(-1).pc.close());
    await page.waitForFunction(() => document.querySelector('#state').textContent.startsWith('Reconnecting'));
    await page.waitForFunction(() => document.querySelector('#state').textContent === 'On air', null, { timeout: 10_000 });
    await close(page);
  },

  async 'a recording plays'() {
    const page = await open(`/vod/${state.recordings[2].id}/`);
    await page.waitForFunction(() => document.querySelector('video').readyState >= 2, null, { timeout: 10_000 });
    await page.waitForTimeout(500);
    await shot(page, 'recording', { fullPage: true });
    await close(page);
  },

  async 'the dashboard follows'() {
    const page = await open('/');
    await page.waitForSelector('.stream');
    assert.equal(await page.locator('.stream').count(), 3);
    assert.equal(await page.locator('#recordings .row').count(), 25);
    await page.click('#more');
    await page.waitForFunction(() => document.querySelectorAll('#recordings .row').length === 30);
    await page.focus('.stream[data-key="live/cam1"] footer a');
    const streams = state.streams;
    state.streams = streams.slice(0, 1);
    await page.waitForFunction(() => document.querySelectorAll('.stream').length === 1);
    assert.ok(await page.evaluate(() => document.activeElement.closest('.stream') !== null), 'the focus stays');
    assert.match(await page.textContent('#announce'), /event\/audio has ended/);
    assert.equal(await page.locator('#recordings .row').count(), 30);
    state.down = true;
    await page.waitForFunction(() => document.querySelector('#connection').dataset.state === 'lost');
    state.down = false;
    state.streams = [];
    await page.waitForSelector('#empty:not([hidden])', { timeout: 10_000 });
    state.streams = streams;
    await close(page);
  },
};

let failed = 0;
for (const [name, run] of Object.entries(tests)) {
  if (process.env.ONLY && !name.includes(process.env.ONLY)) continue;
  mood = 'good';
  asked.length = 0;
  try {
    await run();
    console.log(`ok      ${name}`);
  } catch (error) {
    failed += 1;
    console.log(`FAILED  ${name}\n${error.stack}`);
  }
}
await browser.close();
server.close();
ffmpeg.kill();
await rm(media, { recursive: true, force: true });
process.exit(failed ? 1 : 0);
