// node captions.mjs SECONDS URL...: plays each URL with Shaka, switches its captions on, and tells what they said.
import { foreignPage, main } from "./browser.mjs";

const [seconds, ...urls] = process.argv.slice(2);

await main(async (browser) => {
  const { page, errors } = await foreignPage(browser, ["shaka-player/dist/shaka-player.compiled.js"]);
  // A browser opens six connections to a host at most: every player has a host name of its own.
  const places = urls.map((url, index) => url.replace("//127.0.0.1:", `//player${index}.localhost:`));
  const seen = await page.evaluate(async ([urls, seconds]) => {
    const one = async (url) => {
      const video = document.createElement("video");
      video.muted = true;
      document.body.append(video);
      const events = [];
      const said = new Set();
      const player = new shaka.Player();
      await player.attach(video);
      player.configure({ streaming: { lowLatencyMode: true } });
      player.addEventListener("error", (event) => events.push(`FATAL ${event.detail?.code}`));
      await player.load(url);
      video.play().catch(() => {});
      let offered = [];
      const end = performance.now() + seconds * 1000;
      while (performance.now() < end) {
        await new Promise((resolve) => setTimeout(resolve, 200));
        const tracks = player.getTextTracks();
        offered = tracks.map((track) => track.originalTextId);
        if (tracks.length && !tracks.some((track) => track.active)) player.selectTextTrack(tracks[0]);
        for (const track of video.textTracks) {
          for (const cue of track.cues ?? []) said.add(cue.text);
        }
      }
      return { url, offered, said: [...said], events, error: video.error?.message ?? null };
    };
    return Promise.all(urls.map((url) => one(url).catch((error) => ({ url, error: String(error) }))));
  }, [places, Number(seconds)]);
  return { seen, errors };
});
