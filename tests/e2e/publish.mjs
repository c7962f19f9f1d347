// node publish.mjs URL SECONDS [CODEC]: publishes Chromium's fake camera by WHIP, without headend's page. Ends with DELETE, earlier on
// SIGTERM. Says "publishing" when the media connection stands, "deleted STATUS" at the end. With WAIT=1 in the environment it says "ready"
// when the browser is up, and begins on SIGUSR2: starting a browser takes seconds on a busy machine. SIZE=160x90 makes small pictures.
import { foreignPage, main } from "./browser.mjs";

const [url, seconds = "10", codec = "H264"] = process.argv.slice(2);

const begin = new Promise((resolve) => process.once("SIGUSR2", resolve));
const [width, height] = (process.env.SIZE ?? "640x360").split("x").map(Number);
const told = new Promise((resolve) => process.once("SIGTERM", resolve));

await main(async (browser) => {
  // getUserMedia wants a secure origin: localhost counts as one.
  const page = await browser.newPage();
  const errors = [];
  page.on("pageerror", (error) => errors.push(String(error)));
  await page.goto(new URL("/healthz", url).href);
  if (process.env.WAIT) {
    process.stderr.write("ready\n");
    await begin;
  }
  const session = await page.evaluate(
    async ([url, codec, width, height]) => {
      const media = await navigator.mediaDevices.getUserMedia({ video: { width, height, frameRate: 30 }, audio: true });
      const pc = new RTCPeerConnection();
      window.__pc = pc;
      for (const track of media.getTracks()) {
        const transceiver = pc.addTransceiver(track, { direction: "sendonly", streams: [media] });
        if (track.kind === "video") {
          const all = RTCRtpSender.getCapabilities("video").codecs;
          transceiver.setCodecPreferences(all.filter((c) => c.mimeType.toLowerCase() === `video/${codec.toLowerCase()}` || c.mimeType === "video/rtx"));
        }
      }
      await pc.setLocalDescription(await pc.createOffer());
      const response = await fetch(url, { method: "POST", headers: { "content-type": "application/sdp" }, body: pc.localDescription.sdp });
      const body = await response.text();
      if (response.status !== 201) return { status: response.status, body };
      await pc.setRemoteDescription({ type: "answer", sdp: body });
      window.__location = new URL(response.headers.get("location"), url).href;
      return { status: 201 };
    },
    [url, codec, width, height],
  );
  if (session.status !== 201) return { ...session, errors };
  await page.waitForFunction(() => window.__pc.connectionState === "connected");
  process.stderr.write("publishing\n");
  await Promise.race([page.waitForTimeout(Number(seconds) * 1000), told]);
  const stats = await page.evaluate(async () => {
    const out = {};
    for (const entry of (await window.__pc.getStats()).values()) {
      if (entry.type === "outbound-rtp") {
        out[entry.kind] = { packets: entry.packetsSent, frames: entry.framesEncoded, keyFrames: entry.keyFramesEncoded, plis: entry.pliCount, nacks: entry.nackCount };
      }
      if (entry.type === "remote-inbound-rtp") out[`${entry.kind}Remote`] = { lost: entry.packetsLost, rtt: entry.roundTripTime };
    }
    const response = await fetch(window.__location, { method: "DELETE" });
    return { ...out, ended: response.status };
  });
  process.stderr.write(`deleted ${stats.ended}\n`);
  return { ...session, stats, errors };
});
