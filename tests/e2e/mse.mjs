// node mse.mjs URL: appends the newest whole segment of each track of a live HLS stream (URL: its path) to Media Source Extensions, and
// tells where the browser puts it: `offset` is the wall clock (EXT-X-PROGRAM-DATE-TIME) less the media time of its first sample, in ms.
import { foreignPage, main } from "./browser.mjs";

const [url] = process.argv.slice(2);

await main(async (browser) => {
  const { page, errors } = await foreignPage(browser, []);
  const seen = await page.evaluate(async (url) => {
    const bytes = async (name) => new Uint8Array(await (await fetch(`${url}/${name}`)).arrayBuffer());
    const out = {};
    for (const [track, mime] of [["v", 'video/mp4; codecs="avc1.64001f"'], ["a", 'audio/mp4; codecs="mp4a.40.2"']]) {
      const source = new MediaSource();
      const video = document.createElement("video");
      video.src = URL.createObjectURL(source);
      await new Promise((resolve) => source.addEventListener("sourceopen", resolve, { once: true }));
      const buffer = source.addSourceBuffer(mime);
      const append = async (name) => {
        buffer.appendBuffer(await bytes(name));
        await new Promise((resolve, reject) => {
          buffer.addEventListener("updateend", resolve, { once: true });
          buffer.addEventListener("error", () => reject(new Error(`${name} is refused`)), { once: true });
        });
      };
      const lines = (await (await fetch(`${url}/${track}.m3u8`)).text()).split("\n");
      const last = lines.findLastIndex((line) => line.startsWith("#EXTINF"));
      const before = (tag) => lines.slice(0, last).findLast((line) => line.startsWith(tag)).slice(tag.length);
      await append(before("#EXT-X-MAP:URI=").replaceAll('"', ""));
      await append(lines[last + 1]);
      const [start, end] = [buffer.buffered.start(0) * 1000, buffer.buffered.end(0) * 1000];
      const listed = parseFloat(lines[last].slice("#EXTINF:".length)) * 1000;
      out[track] = { ranges: buffer.buffered.length, offset: Date.parse(before("#EXT-X-PROGRAM-DATE-TIME:")) - start, longer: end - start - listed };
    }
    return out;
  }, url);
  return { ...seen, errors };
});
