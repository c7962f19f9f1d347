// node restart.mjs URL: watches by WHEP, restarts ICE by PATCH (RFC 9725 section 4.3.3), and sees whether pictures go on over the new
// generation.
import { foreignPage, main } from "./browser.mjs";

const [url] = process.argv.slice(2);

await main(async (browser) => {
  const { page, errors } = await foreignPage(browser, []);
  const seen = await page.evaluate(async (url) => {
    const video = document.querySelector("video");
    const pc = new RTCPeerConnection();
    const media = new MediaStream();
    pc.ontrack = (event) => { media.addTrack(event.track); video.srcObject = media; video.play().catch(() => {}); };
    pc.addTransceiver("video", { direction: "recvonly" });
    pc.addTransceiver("audio", { direction: "recvonly" });
    await pc.setLocalDescription(await pc.createOffer());
    const created = await fetch(url, { method: "POST", headers: { "content-type": "application/sdp" }, body: pc.localDescription.sdp });
    const answer = await created.text();
    await pc.setRemoteDescription({ type: "answer", sdp: answer });
    const until = async (what, condition) => {
      const deadline = performance.now() + 20000;
      while (!(await condition())) {
        if (performance.now() > deadline) throw new Error(`waited for ${what}: ${pc.connectionState}`);
        await new Promise((r) => setTimeout(r, 20));
      }
    };
    const report = async () => [...(await pc.getStats()).values()];
    const frames = async () => (await report()).find((e) => e.type === "inbound-rtp" && e.kind === "video")?.framesDecoded ?? 0;
    const ufrag = async () => {
      const all = await pc.getStats();
      const transport = [...all.values()].find((e) => e.type === "transport");
      return transport.iceLocalUsernameFragment;
    };
    const pair = async () => {
      const all = await pc.getStats();
      const transport = [...all.values()].find((e) => e.type === "transport");
      const selected = all.get(transport.selectedCandidatePairId);
      return { port: all.get(selected.localCandidateId).port, bytes: selected.bytesReceived };
    };
    await until("pictures", async () => (await frames()) > 5);
    const before = await ufrag();
    const oldPort = (await pair()).port;
    const states = [];
    pc.onconnectionstatechange = () => states.push(pc.connectionState);

    pc.restartIce();
    const offer = await pc.createOffer();
    await pc.setLocalDescription(offer);
    const line = (name) => offer.sdp.match(new RegExp(`^a=${name}:.*$`, "m"))[0];
    const fragment = `${line("ice-ufrag")}\r\n${line("ice-pwd")}\r\n${offer.sdp.match(/^m=.*$/m)[0]}\r\n${line("mid")}\r\n`;
    const location = new URL(created.headers.get("location"), url).href;
    const etag = created.headers.get("etag");
    const headers = { "content-type": "application/trickle-ice-sdpfrag", "if-match": etag };
    const patched = await fetch(location, { method: "PATCH", headers, body: fragment });
    const theirs = await patched.text();
    const replace = (sdp, name) => sdp.replace(new RegExp(`^a=${name}:.*$`, "gm"), theirs.match(new RegExp(`^a=${name}:.*$`, "m"))[0]);
    await pc.setRemoteDescription({ type: "answer", sdp: replace(replace(answer, "ice-ufrag"), "ice-pwd") });
    await until("the new generation", async () => (await ufrag()) !== before && pc.iceConnectionState === "connected");
    const had = await frames();
    const connected = performance.now();
    await until("pictures on the new path", async () => (await pair()).port !== oldPort && (await pair()).bytes > 50000);
    const followed = performance.now() - connected;
    await until("pictures after the restart", async () => (await frames()) > had + 20);
    const stale = await fetch(location, { method: "PATCH", headers, body: fragment });
    const ended = await fetch(location, { method: "DELETE" });
    return { patched: patched.status, newEtag: patched.headers.get("etag") !== etag, stale: stale.status, ended: ended.status, followed, states };
  }, url);
  return { ...seen, errors };
});
