// node join.mjs URL SECONDS: what a viewer sees and hears in the first seconds after joining by WHEP, told per second: how far beeps
// are from the flashes that are made at the same time, and how far behind sound and pictures are.
import { foreignPage, main } from "./browser.mjs";

const [url, seconds = "10"] = process.argv.slice(2);

const worklet = `registerProcessor("onsets", class extends AudioWorkletProcessor {
  constructor() { super(); this.loudUntil = -1; this.heard = false; }
  process([input]) {
    const samples = input[0] ?? [];
    for (let i = 0; i < samples.length; i += 1) {
      const level = Math.abs(samples[i]);
      if (!this.heard && level > 0.01) { this.heard = true; this.port.postMessage(["sound", currentTime + i / sampleRate]); }
      if (level < 0.3) continue;
      const at = currentTime + i / sampleRate;
      if (at > this.loudUntil) this.port.postMessage(["beep", at]);
      this.loudUntil = at + 0.05;
    }
    return true;
  }
});`;

await main(async (browser) => {
  const { page, errors } = await foreignPage(browser, [], "", "http://player.localhost");
  const seen = await page.evaluate(async ([url, seconds, worklet]) => {
    const video = document.querySelector("video");
    const context = new AudioContext({ latencyHint: "interactive" });
    await context.audioWorklet.addModule(URL.createObjectURL(new Blob([worklet], { type: "text/javascript" })));
    const node = new AudioWorkletNode(context, "onsets");
    node.connect(context.destination);
    const [flashes, beeps, samples] = [[], [], []];
    let [frames, bright, firstPicture, firstSound] = [0, true, null, null];
    // From the context's clock to the page's, by what is being processed just now.
    node.port.onmessage = ({ data: [what, at] }) => {
      const when = performance.now() - (context.currentTime - at) * 1000;
      if (what === "beep") beeps.push(when);
      else firstSound = when;
    };
    const canvas = new OffscreenCanvas(16, 16);
    const draw = canvas.getContext("2d", { willReadFrequently: true });
    const frame = (now, metadata) => {
      frames += 1;
      firstPicture ??= now;
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
    const pc = new RTCPeerConnection();
    const media = new MediaStream();
    pc.ontrack = (event) => {
      media.addTrack(event.track);
      if (event.track.kind === "audio") context.createMediaStreamSource(media).connect(node);
      video.srcObject = media;
      video.play().catch(() => {});
    };
    pc.addTransceiver("video", { direction: "recvonly" });
    pc.addTransceiver("audio", { direction: "recvonly" });
    await pc.setLocalDescription(await pc.createOffer());
    const began = performance.now();
    const response = await fetch(url, { method: "POST", headers: { "content-type": "application/sdp" }, body: pc.localDescription.sdp });
    const body = await response.text();
    if (response.status !== 201) return { status: response.status, body };
    await pc.setRemoteDescription({ type: "answer", sdp: body });
    const last = {};
    while (performance.now() - began < seconds * 1000) {
      await new Promise((r) => setTimeout(r, 500));
      const sample = { t: Math.round(performance.now() - began) };
      const playout = {};
      for (const entry of (await pc.getStats()).values()) {
        if (entry.type !== "inbound-rtp") continue;
        const before = last[entry.kind] ?? { jitterBufferDelay: 0, jitterBufferEmittedCount: 0, jitterBufferTargetDelay: 0, framesDecoded: 0, concealedSamples: 0 };
        const emitted = entry.jitterBufferEmittedCount - before.jitterBufferEmittedCount;
        sample[entry.kind] = [
          Math.round((1000 * (entry.jitterBufferDelay - before.jitterBufferDelay)) / emitted),
          Math.round((1000 * (entry.jitterBufferTargetDelay - before.jitterBufferTargetDelay)) / emitted),
          entry.kind === "video" ? entry.framesDecoded : entry.concealedSamples,
        ];
        playout[entry.kind] = entry.estimatedPlayoutTimestamp;
        last[entry.kind] = entry;
      }
      if (playout.audio && playout.video) sample.apart = Math.round(playout.video - playout.audio);
      samples.push(sample);
    }
    const apart = flashes
      .map((flash) => [Math.round(flash - began), beeps.map((beep) => beep - flash).sort((a, b) => Math.abs(a) - Math.abs(b))[0]])
      .filter(([, ms]) => ms !== undefined && Math.abs(ms) < 500)
      .map(([at, ms]) => [at, Math.round(ms)]);
    const all = { beeps: beeps.map((at) => Math.round(at - began)), flashes: flashes.map((at) => Math.round(at - began)) };
    return { firstPictureMs: Math.round(firstPicture - began), firstSoundMs: firstSound && Math.round(firstSound - began), apart, ...all, samples };
  }, [url, Number(seconds), worklet]);
  return { ...seen, errors };
});
