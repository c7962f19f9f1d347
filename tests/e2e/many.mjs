// node many.mjs URL COUNT: so many WHEP viewers in one page. For each: the worker that its ICE ufrag names, and pictures.
import { foreignPage, main } from "./browser.mjs";

const [url, count] = process.argv.slice(2);

await main(async (browser) => {
  const { page, errors } = await foreignPage(browser, []);
  const viewers = await page.evaluate(
    async ([url, count]) => {
      const viewers = [];
      for (let i = 0; i < count; i += 1) {
        const pc = new RTCPeerConnection();
        pc.addTransceiver("video", { direction: "recvonly" });
        await pc.setLocalDescription(await pc.createOffer());
        const response = await fetch(url, { method: "POST", headers: { "content-type": "application/sdp" }, body: pc.localDescription.sdp });
        const sdp = await response.text();
        await pc.setRemoteDescription({ type: "answer", sdp });
        viewers.push({ pc, worker: Number.parseInt(sdp.match(/a=ice-ufrag:([0-9a-f]{4})/)[1], 16) });
      }
      const frames = async ({ pc }) => [...(await pc.getStats()).values()].find((e) => e.type === "inbound-rtp")?.framesDecoded ?? 0;
      const deadline = performance.now() + 25000;
      let seen;
      do {
        seen = await Promise.all(viewers.map(async (viewer) => ({ worker: viewer.worker, frames: await frames(viewer) })));
      } while (seen.some((viewer) => viewer.frames < 20) && performance.now() < deadline && (await new Promise((r) => setTimeout(r, 100, true))));
      return seen;
    },
    [url, Number(count)],
  );
  return { viewers, errors };
});
