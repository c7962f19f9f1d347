// node many.mjs URL COUNT [both|stay]: so many WHEP viewers in one page. For each: the worker that its ICE ufrag names, and pictures.
// With "both" they take sound, too. With "stay" they stay, and it is told twice a second how many pictures the one with the fewest
// has seen so far, for each worker: "pictures 12 10".
import { foreignPage, main } from "./browser.mjs";

const [url, count, how = ""] = process.argv.slice(2);

await main(async (browser) => {
  const { page, errors } = await foreignPage(browser, []);
  await page.exposeFunction("say", (text) => process.stderr.write(`${text}\n`));
  const viewers = await page.evaluate(
    async ([url, count, how]) => {
      const viewers = [];
      for (let i = 0; i < count; i += 1) {
        const pc = new RTCPeerConnection();
        pc.addTransceiver("video", { direction: "recvonly" });
        if (how === "both") pc.addTransceiver("audio", { direction: "recvonly" });
        await pc.setLocalDescription(await pc.createOffer());
        const response = await fetch(url, { method: "POST", headers: { "content-type": "application/sdp" }, body: pc.localDescription.sdp });
        const sdp = await response.text();
        await pc.setRemoteDescription({ type: "answer", sdp });
        viewers.push({ pc, worker: Number.parseInt(sdp.match(/a=ice-ufrag:([0-9a-f]{4})/)[1], 16) });
      }
      const frames = async ({ pc }) => [...(await pc.getStats()).values()].find((e) => e.type === "inbound-rtp" && e.kind === "video")?.framesDecoded ?? 0;
      for (const began = performance.now(); how === "stay" && performance.now() < began + 60000; ) {
        const least = {};
        for (const viewer of viewers) least[viewer.worker] = Math.min(least[viewer.worker] ?? Infinity, await frames(viewer));
        window.say(`pictures ${Object.values(least).join(" ")}`);
        await new Promise((r) => setTimeout(r, 500));
      }
      const deadline = performance.now() + 25000;
      let seen;
      do {
        seen = await Promise.all(viewers.map(async (viewer) => ({ worker: viewer.worker, frames: await frames(viewer) })));
      } while (seen.some((viewer) => viewer.frames < 20) && performance.now() < deadline && (await new Promise((r) => setTimeout(r, 100, true))));
      return seen;
    },
    [url, Number(count), how],
  );
  return { viewers, errors };
});
