// node sync.mjs whep|hls|dash|shaka URL SECONDS: how far apart a viewer sees flashes and hears beeps that are made at the same time.
import { foreignPage, main } from "./browser.mjs";

const [player, url, seconds = "6"] = process.argv.slice(2);
const scripts = {
  whep: [],
  hls: ["hls.js/dist/hls.min.js"],
  dash: ["dashjs/dist/modern/umd/dash.all.min.js"],
  shaka: ["shaka-player/dist/shaka-player.compiled.js"],
}[player];

const worklet = `registerProcessor("onsets", class extends AudioWorkletProcessor {
  constructor() { super(); this.loudUntil = -1; }
  process([input]) {
    const samples = input[0] ?? [];
    for (let i = 0; i < samples.length; i += 1) {
      if (Math.abs(samples[i]) < 0.1) continue;
      const at = currentTime + i / sampleRate;
      if (at > this.loudUntil) this.port.postMessage(at);
      this.loudUntil = at + 0.05;
    }
    return true;
  }
});`;

await main(async (browser) => {
  const { page, errors } = await foreignPage(browser, scripts, "", "http://player.localhost");
  const seen = await page.evaluate(async ([player, url, seconds, worklet]) => {
    const video = document.querySelector("video");
    video.muted = player === "whep"; // a muted element plays no sound that could be measured; a MediaStream has its own
    let pc;
    if (player === "whep") {
      pc = new RTCPeerConnection();
      const media = new MediaStream();
      pc.ontrack = (event) => { media.addTrack(event.track); video.srcObject = media; video.play().catch(() => {}); };
      pc.addTransceiver("video", { direction: "recvonly" });
      pc.addTransceiver("audio", { direction: "recvonly" });
      await pc.setLocalDescription(await pc.createOffer());
      const response = await fetch(url, { method: "POST", headers: { "content-type": "application/sdp" }, body: pc.localDescription.sdp });
      const body = await response.text();
      if (response.status !== 201) return { status: response.status, body };
      await pc.setRemoteDescription({ type: "answer", sdp: body });
    } else if (player === "hls") {
      const hls = new Hls({ lowLatencyMode: true });
      hls.loadSource(url);
      hls.attachMedia(video);
    } else if (player === "dash") {
      dashjs.MediaPlayer().create().initialize(video, url, true);
    } else {
      const instance = new shaka.Player();
      await instance.attach(video);
      await instance.load(url);
    }
    // dash.js begins by itself; begun before it listens, it takes the player for paused and never reads the manifest again.
    if (player !== "dash") video.play().catch(() => {});
    const flashes = [];
    const beeps = [];
    let frames = 0;
    let bright = true;
    const canvas = new OffscreenCanvas(16, 16);
    const draw = canvas.getContext("2d", { willReadFrequently: true });
    const frame = (now, metadata) => {
      frames += 1;
      draw.drawImage(video, 0, 0, 16, 16);
      const pixels = draw.getImageData(0, 0, 16, 16).data;
      let sum = 0;
      for (let i = 0; i < pixels.length; i += 4) sum += pixels[i + 1];
      const is = sum / 256 > 200;
      if (is && !bright) flashes.push(metadata.expectedDisplayTime);
      bright = is;
      video.requestVideoFrameCallback(frame);
    };
    video.requestVideoFrameCallback(frame);
    const deadline = performance.now() + 25000;
    while (frames === 0 && performance.now() < deadline) await new Promise((r) => setTimeout(r, 20));
    const context = new AudioContext({ latencyHint: "interactive" });
    await context.audioWorklet.addModule(URL.createObjectURL(new Blob([worklet], { type: "text/javascript" })));
    const node = new AudioWorkletNode(context, "onsets");
    const input = player === "whep" ? context.createMediaStreamSource(video.srcObject) : context.createMediaElementSource(video);
    input.connect(node);
    node.connect(context.destination);
    node.port.onmessage = ({ data: at }) => {
      // From the context's clock to the page's, by what is being processed just now.
      beeps.push(performance.now() - (context.currentTime - at) * 1000);
    };
    const began = performance.now();
    const settle = player === "whep" ? 8000 : 2000;
    const startFrames = frames;
    await new Promise((r) => setTimeout(r, seconds * 1000));
    const elapsed = (performance.now() - began) / 1000;
    const apart = flashes
      // A viewer begins with pictures from the cache, which lag behind; Chromium holds sound back for them, and then moves it by
      // at most 80 ms a second.
      .filter((at) => at > began + settle)
      .map((flash) => beeps.map((beep) => beep - flash).sort((a, b) => Math.abs(a) - Math.abs(b))[0])
      .filter((ms) => ms !== undefined)
      .map(Math.round);
    const sorted = [...apart].sort((a, b) => a - b);
    let freezes = 0;
    const stats = {};
    if (pc) {
      for (const entry of (await pc.getStats()).values()) {
        if (entry.type !== "inbound-rtp") continue;
        freezes += entry.freezeCount ?? 0;
        stats[entry.kind] = { playout: entry.estimatedPlayoutTimestamp, target: Math.round((1000 * entry.jitterBufferTargetDelay) / entry.jitterBufferEmittedCount), plis: entry.pliCount, lost: entry.packetsLost, jitterBufferMs: Math.round((1000 * entry.jitterBufferDelay) / entry.jitterBufferEmittedCount) };
      }
    }
    return {
      flashes: flashes.length, beeps: beeps.length, apart, median: sorted[Math.floor(sorted.length / 2)],
      fps: (frames - startFrames) / elapsed, freezes, width: video.videoWidth, height: video.videoHeight, stats,
    };
  }, [player, url, Number(seconds), worklet]);
  return { player, ...seen, errors };
});
