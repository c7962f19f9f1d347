// node inside.mjs URL OFFSET COUNT: hls.js players of a live stream's media playlists that begin OFFSET seconds behind the start of the
// segment that is being made, once that has five parts; one after another, in segments that follow each other.
import { foreignPage, main } from "./browser.mjs";

const [url, offset, count] = process.argv.slice(2);

await main(async (browser) => {
  const { page, errors } = await foreignPage(browser, ["hls.js/dist/hls.min.js"]);
  const seen = await page.evaluate(
    async ([url, offset, count]) => {
      const wait = (ms) => new Promise((done) => setTimeout(done, ms));
      const play = async (source, startPosition) => {
        const video = Object.assign(document.createElement("video"), { muted: true });
        document.body.append(video);
        const report = { firstSoundPart: null, stalls: 0, events: [] };
        const hls = new Hls({ lowLatencyMode: true, startPosition });
        hls.on(Hls.Events.ERROR, (_, data) => report.events.push(data.details));
        hls.on(Hls.Events.FRAG_LOADED, (_, { frag, part }) => { if (frag.type === "audio") report.firstSoundPart ??= part?.index ?? "whole"; });
        video.addEventListener("waiting", () => { if (video.currentTime > 0) report.stalls += 1; });
        hls.loadSource(source);
        hls.attachMedia(video);
        video.play().catch(() => {});
        const deadline = performance.now() + 10000;
        while (video.currentTime < startPosition + 0.1 && performance.now() < deadline) await wait(20);
        const from = video.currentTime;
        // Past the end of the segment, and of the three after it.
        await wait(8000);
        report.played = video.currentTime - from;
        hls.destroy();
        video.remove();
        return report;
      };
      const list = async (query) => (await fetch(new URL(`v.m3u8${query}`, url))).text();
      let next = Number([...(await list("")).matchAll(/EXT-X-PART:.*v-(\d+)/g)].at(-1)[1]) + 1;
      const players = [];
      for (let player = 0; player < count; player += 1, next += 1) {
        const durations = (await list(`?_HLS_msn=${next}&_HLS_part=4`)).matchAll(/#EXTINF:([\d.]+)/g);
        const startPosition = [...durations].reduce((sum, [, duration]) => sum + Number(duration), offset);
        // A browser opens six connections to a host.
        const source = new URL(url);
        source.hostname = `player${player}.localhost`;
        players.push(play(source.href, startPosition));
      }
      return Promise.all(players);
    },
    [url, Number(offset), Number(count)],
  );
  return { seen, errors };
});
