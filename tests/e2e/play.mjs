// node play.mjs PLAYER URL SECONDS: plays an HLS or DASH URL with hls.js, dash.js or Shaka from another origin.
import { foreignPage, main, observe } from "./browser.mjs";

const [player, url, seconds = "6"] = process.argv.slice(2);
const scripts = {
  hls: ["hls.js/dist/hls.min.js"],
  dash: ["dashjs/dist/modern/umd/dash.all.min.js"],
  shaka: ["shaka-player/dist/shaka-player.compiled.js"],
}[player];

await main(async (browser) => {
  const { page, errors } = await foreignPage(browser, scripts);
  const outside = [];
  page.on("request", (request) => {
    const host = new URL(request.url()).hostname;
    if (!["127.0.0.1", "localhost", "player.test"].includes(host) && !request.url().startsWith("blob:")) outside.push(request.url());
  });
  await page.evaluate(
    async ([player, url]) => {
      const video = document.querySelector("video");
      window.__fatal = [];
      window.__began = performance.now();
      if (player === "hls") {
        const hls = new Hls({ lowLatencyMode: true });
        hls.on(Hls.Events.ERROR, (_, data) => { window.__fatal.push(`${data.fatal ? "FATAL " : ""}${data.details}`); });
        hls.loadSource(url);
        hls.attachMedia(video);
        window.__latency = () => hls.latency;
      } else if (player === "dash") {
        const dash = dashjs.MediaPlayer().create();
        dash.on("error", (event) => window.__fatal.push(`FATAL ${event.error?.message}`));
        dash.initialize(video, url, true);
        window.__latency = () => dash.getCurrentLiveLatency();
      } else {
        shaka.polyfill.installAll();
        const instance = new shaka.Player();
        await instance.attach(video);
        instance.configure({ streaming: { lowLatencyMode: true } });
        instance.addEventListener("error", (event) => window.__fatal.push(`FATAL ${event.detail?.code}`));
        await instance.load(url);
        window.__latency = () => instance.getStats().liveLatency;
      }
      // dash.js begins by itself; begun before it listens, it takes the player for paused and never reads the manifest again.
      if (player !== "dash") video.play().catch(() => {});
    },
    [player, url],
  );
  const seen = await observe(page, Number(seconds));
  const { fatal, latency } = await page.evaluate(() => ({ fatal: window.__fatal, latency: window.__latency?.() }));
  return { player, ...seen, latency, events: fatal, errors, outside };
});
