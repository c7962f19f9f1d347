// node boundary.mjs URL COUNT LAST: Shaka players that come when a segment of a live HLS stream, whose last part is number LAST, has just
// ended, one after another.
import { foreignPage, main } from "./browser.mjs";

const [url, count, last] = process.argv.slice(2);

await main(async (browser) => {
  const { page, errors } = await foreignPage(browser, ["shaka-player/dist/shaka-player.compiled.js"]);
  const seen = await page.evaluate(
    async ([url, count, lastPart]) => {
      const wait = (ms) => new Promise((done) => setTimeout(done, ms));
      const list = async (query) => (await fetch(new URL(`v.m3u8${query}`, url))).text();
      shaka.polyfill.installAll();
      const reports = [];
      for (let index = 0; index < count; index += 1) {
        const next = Number([...(await list("")).matchAll(/EXT-X-PART:.*v-(\d+)/g)].at(-1)[1]) + 1;
        // When its last part is there, and when it is listed as a whole.
        await list(`?_HLS_msn=${next}${index % 2 ? "" : `&_HLS_part=${lastPart}`}`);
        await wait((index % 4) * 20);
        const video = Object.assign(document.createElement("video"), { muted: true });
        document.body.append(video);
        const player = new shaka.Player();
        const report = { events: [] };
        player.addEventListener("error", (event) => report.events.push(event.detail?.code));
        await player.attach(video);
        player.configure({ streaming: { lowLatencyMode: true } });
        video.play().catch(() => {});
        await player.load(url).catch((error) => report.events.push(error.code));
        const frames = () => video.getVideoPlaybackQuality().totalVideoFrames;
        const deadline = performance.now() + 4000;
        while (frames() < 30 && performance.now() < deadline) await wait(20);
        reports.push({ ...report, frames: frames() });
        await player.destroy();
        video.remove();
      }
      return reports;
    },
    [url, Number(count), Number(last)],
  );
  return { seen, errors };
});
