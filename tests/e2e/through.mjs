// node through.mjs SECONDS[,MS] PLAYER=URL...: plays everything at once on one page of another origin, and tells how each got through.
// MS: how long the way of each request is at least.
// A browser opens six connections to a host at most, and low-latency players wait for two playlists each: every player has a host name
// of its own.
import { foreignPage, main } from "./browser.mjs";

const [time, ...inputs] = process.argv.slice(2);
const [seconds, latency] = time.split(",");
const scripts = ["hls.js/dist/hls.min.js", "dashjs/dist/modern/umd/dash.all.min.js", "shaka-player/dist/shaka-player.compiled.js"];

await main(async (browser) => {
  const plays = inputs.map((input) => [input.slice(0, input.indexOf("=")), input.slice(input.indexOf("=") + 1)]);
  plays.forEach((play, index) => { play[1] = play[1].replace("//127.0.0.1:", `//player${index}.localhost:`); });
  const { page, errors } = await foreignPage(browser, scripts);
  if (latency) {
    const network = await page.context().newCDPSession(page);
    await network.send("Network.enable");
    await network.send("Network.emulateNetworkConditions", { offline: false, latency: Number(latency), downloadThroughput: -1, uploadThroughput: -1 });
  }
  const seen = await page.evaluate(async ([plays, seconds]) => {
    const whep = async (video, url) => {
      const pc = new RTCPeerConnection();
      const media = new MediaStream();
      pc.ontrack = (event) => { media.addTrack(event.track); video.srcObject = media; video.play().catch(() => {}); };
      pc.addTransceiver("video", { direction: "recvonly" });
      pc.addTransceiver("audio", { direction: "recvonly" });
      await pc.setLocalDescription(await pc.createOffer());
      const response = await fetch(url, { method: "POST", headers: { "content-type": "application/sdp" }, body: pc.localDescription.sdp });
      if (response.status !== 201) throw new Error(`WHEP ${response.status}`);
      await pc.setRemoteDescription({ type: "answer", sdp: await response.text() });
      return async () => {
        const out = {};
        for (const entry of (await pc.getStats()).values()) {
          if (entry.type === "inbound-rtp") out[entry.kind] = { plis: entry.pliCount, freezes: entry.freezeCount, lost: entry.packetsLost, concealed: entry.concealedSamples, samples: entry.totalSamplesReceived };
        }
        return out;
      };
    };
    const one = async ([player, url]) => {
      const video = document.createElement("video");
      video.muted = true;
      video.width = 160;
      document.body.append(video);
      const events = [];
      const latencies = [];
      let latency = () => undefined;
      let stats = async () => undefined;
      const began = performance.now();
      let first = null;
      let frames = 0;
      let lastAt = 0;
      let longestGapMs = 0;
      let stalls = 0;
      let recent = [];
      const sizes = [];
      const count = (now) => {
        first ??= now;
        if (lastAt) longestGapMs = Math.max(longestGapMs, Math.round(now - lastAt));
        lastAt = now;
        frames += 1;
        recent.push(now);
        if (recent.length > 600) recent = recent.slice(-300);
        const size = `${video.videoWidth}x${video.videoHeight}`;
        if (sizes.at(-1) !== size) sizes.push(size);
        video.requestVideoFrameCallback(count);
      };
      video.requestVideoFrameCallback(count);
      video.addEventListener("waiting", () => { if (first !== null) stalls += 1; });
      if (player === "whep") {
        stats = await whep(video, url);
      } else if (player === "hls") {
        const hls = new Hls({ lowLatencyMode: true });
        hls.on(Hls.Events.ERROR, (_, data) => events.push(`${data.fatal ? "FATAL " : ""}${data.details} ${data.error?.message ?? ""} ${data.response?.code ?? ""}`));
        hls.loadSource(url);
        hls.attachMedia(video);
        latency = () => hls.latency;
      } else if (player === "dash") {
        const dash = dashjs.MediaPlayer().create();
        dash.on("error", (event) => events.push(`FATAL ${event.error?.message}`));
        dash.initialize(video, url, true);
        latency = () => dash.getCurrentLiveLatency();
      } else {
        const instance = new shaka.Player();
        await instance.attach(video);
        instance.configure({ streaming: { lowLatencyMode: true } });
        instance.addEventListener("error", (event) => events.push(`FATAL ${event.detail?.code}`));
        await instance.load(url);
        latency = () => instance.getStats().liveLatency;
      }
      // dash.js begins by itself; begun before it listens, it takes the player for paused and never reads the manifest again.
      if (player !== "dash") video.play().catch(() => {});
      const end = began + seconds * 1000;
      while (performance.now() < end) {
        await new Promise((r) => setTimeout(r, 250));
        if (first !== null && performance.now() - first > 5000) latencies.push(latency());
      }
      const now = performance.now();
      latencies.sort((a, b) => a - b);
      return {
        player, url, firstPictureMs: first === null ? null : Math.round(first - began), frames, sizes, longestGapMs, stalls,
        sinceLastMs: Math.round(now - lastAt), lastSecondsFps: recent.filter((at) => at > now - 3000).length / 3,
        latencyP50: latencies[Math.floor(latencies.length / 2)], latencyP95: latencies[Math.floor(latencies.length * 0.95)],
        currentTime: video.currentTime, buffered: Array.from({ length: video.buffered.length }, (_, i) => [video.buffered.start(i), video.buffered.end(i)]),
        error: video.error?.message ?? null, audioBytes: video.webkitAudioDecodedByteCount ?? 0, events: events.slice(0, 20), stats: await stats(),
      };
    };
    return Promise.all(plays.map((play) => one(play).catch((error) => ({ player: play[0], url: play[1], error: String(error), frames: 0 }))));
  }, [plays, Number(seconds)]);
  return { seen, errors };
});
