// node watch.mjs URL SECONDS [hls|block-webrtc]: opens headend's own watch page and looks at what it shows.
import { launch, main, observe } from "./browser.mjs";

const [url, seconds = "4", mode = ""] = process.argv.slice(2);

await main(async (browser) => {
  const page = await browser.newPage({ viewport: { width: 1280, height: 800 } });
  const errors = [];
  page.on("pageerror", (error) => errors.push(String(error)));
  page.on("console", (message) => { if (message.type() === "error") errors.push(message.text()); });
  if (mode === "block-webrtc") {
    await page.addInitScript(() => { window.RTCPeerConnection = class { constructor() { throw new Error("WebRTC is switched off"); } }; });
  }
  await page.addInitScript(() => { window.__began = performance.now(); });
  await page.goto(url);
  await page.waitForSelector("video", { state: "attached" });
  const seen = await observe(page, Number(seconds));
  if (process.env.SCREENSHOT) await page.screenshot({ path: process.env.SCREENSHOT });
  return { ...seen, text: (await page.innerText("body")).slice(0, 2000), errors };
});
