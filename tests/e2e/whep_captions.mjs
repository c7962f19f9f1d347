// node whep_captions.mjs SECONDS URL...: plays each WHEP URL, and tells how many coded pictures came and how many captions were in them.
import { foreignPage, main } from "./browser.mjs";

const [seconds, ...urls] = process.argv.slice(2);

await main(async (browser) => {
  const { page, errors } = await foreignPage(browser, []);
  const seen = await page.evaluate(async ([urls, seconds]) => {
    const one = async (url) => {
      const pc = new RTCPeerConnection({ encodedInsertableStreams: true });
      const out = { url, frames: 0, captions: 0 };
      const { receiver } = pc.addTransceiver("video", { direction: "recvonly" });
      const { readable, writable } = receiver.createEncodedStreams();
      const mark = [0xb5, 0x00, 0x31, 0x47, 0x41, 0x39, 0x34, 0x03];
      readable.pipeThrough(new TransformStream({
        transform(frame, controller) {
          const bytes = new Uint8Array(frame.data);
          out.frames += 1;
          for (let at = 0; at + mark.length <= bytes.length; at += 1) {
            if (mark.every((byte, n) => bytes[at + n] === byte)) out.captions += 1;
          }
          controller.enqueue(frame);
        },
      })).pipeTo(writable);
      await pc.setLocalDescription(await pc.createOffer());
      const response = await fetch(url, { method: "POST", headers: { "content-type": "application/sdp" }, body: pc.localDescription.sdp });
      if (response.status !== 201) throw new Error(`WHEP ${response.status}`);
      await pc.setRemoteDescription({ type: "answer", sdp: await response.text() });
      await new Promise((resolve) => setTimeout(resolve, seconds * 1000));
      pc.close();
      return out;
    };
    return Promise.all(urls.map((url) => one(url).catch((error) => ({ url, error: String(error) }))));
  }, [urls, Number(seconds)]);
  return { seen, errors };
});
