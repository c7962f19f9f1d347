// node whep.mjs URL SECONDS [tcp]: watches a WHEP endpoint from another origin with nothing but the browser's own WebRTC;
// with "tcp" as if UDP were blocked.
import { foreignPage, main, observe } from "./browser.mjs";

const [url, seconds = "4", mode = ""] = process.argv.slice(2);

await main(async (browser) => {
  const { page, errors } = await foreignPage(browser, []);
  const session = await page.evaluate(async ([url, mode]) => {
    const video = document.querySelector("video");
    const pc = new RTCPeerConnection();
    window.__pc = pc;
    const media = new MediaStream();
    pc.ontrack = (event) => { media.addTrack(event.track); video.srcObject = media; video.play().catch(() => {}); };
    pc.addTransceiver("video", { direction: "recvonly" });
    pc.addTransceiver("audio", { direction: "recvonly" });
    await pc.setLocalDescription(await pc.createOffer());
    window.__began = performance.now();
    const response = await fetch(url, { method: "POST", headers: { "content-type": "application/sdp" }, body: pc.localDescription.sdp });
    const body = await response.text();
    if (response.status !== 201) return { status: response.status, body };
    const reachable = mode === "tcp" ? body.replace(/^a=candidate:\S+ \d+ udp .*\r\n/gim, "") : body;
    await pc.setRemoteDescription({ type: "answer", sdp: reachable });
    return { status: 201, location: response.headers.get("location"), etag: response.headers.get("etag") };
  }, [url, mode]);
  if (session.status !== 201) return { ...session, errors };
  const seen = await observe(page, Number(seconds));
  // How loud it is at its loudest within a second and a half, and the loudest frequency then: what the viewer hears.
  const sound = await page.evaluate(async () => {
    const stream = document.querySelector("video").srcObject;
    if (!stream?.getAudioTracks().length) return null;
    const context = new AudioContext();
    const analyser = context.createAnalyser();
    analyser.fftSize = 8192;
    context.createMediaStreamSource(stream).connect(analyser);
    await new Promise((r) => setTimeout(r, 700));
    let heard = { rms: 0, hertz: 0 };
    for (let i = 0; i < 8; i += 1) {
      const wave = new Float32Array(analyser.fftSize);
      analyser.getFloatTimeDomainData(wave);
      const bins = new Float32Array(analyser.frequencyBinCount);
      analyser.getFloatFrequencyData(bins);
      const loudest = bins.indexOf(Math.max(...bins));
      const rms = Math.sqrt(wave.reduce((sum, x) => sum + x * x, 0) / wave.length);
      if (rms > heard.rms) heard = { rms, hertz: (loudest * context.sampleRate) / analyser.fftSize };
      await new Promise((r) => setTimeout(r, 100));
    }
    return heard;
  });
  const stats = await page.evaluate(async () => {
    const out = {};
    const all = await window.__pc.getStats();
    for (const entry of all.values()) {
      if (entry.type === "transport") {
        const remote = all.get(all.get(entry.selectedCandidatePairId).remoteCandidateId);
        out.remote = { protocol: remote.protocol, address: remote.address, port: remote.port };
      }
      if (entry.type === "inbound-rtp") {
        out[entry.kind] = {
          packets: entry.packetsReceived, lost: entry.packetsLost, nacks: entry.nackCount, plis: entry.pliCount, frames: entry.framesDecoded,
          freezes: entry.freezeCount, jitterBufferMs: (1000 * entry.jitterBufferDelay) / entry.jitterBufferEmittedCount,
          energy: entry.totalAudioEnergy, concealed: entry.concealedSamples, samples: entry.totalSamplesReceived,
        };
      }
    }
    return out;
  });
  const ended = await page.evaluate(async (location) => (await fetch(location, { method: "DELETE" })).status, new URL(session.location, url).href);
  return { ...session, ...seen, sound, stats, ended, errors };
});
