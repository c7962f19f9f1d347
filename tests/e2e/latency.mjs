// node latency.mjs URL SECONDS: watches headend's own page over HLS; what delay it shows each second (ms), and how often it stood still.
import { launch, main } from "./browser.mjs";

const [url, seconds = "20"] = process.argv.slice(2);

await main(async (browser) => {
  const page = await browser.newPage();
  await page.goto(url);
  await page.click("label:has(input[value=hls])");
  const delays = [];
  for (let second = 0; second < Number(seconds); second += 1) {
    await page.waitForTimeout(1000);
    delays.push(await page.evaluate(() => {
      const video = document.querySelector("video");
      window.__stalls ??= 0;
      if (!window.__listens && video.readyState >= 3) {
        window.__listens = true;
        video.addEventListener("waiting", () => { window.__stalls += 1; });
      }
      const [, number, unit] = document.querySelector("#latency").textContent.match(/^([\d.]+) (ms|s)$/) ?? [];
      return number ? Number(number) * (unit === "s" ? 1000 : 1) : null;
    }));
  }
  return { delays, stalls: await page.evaluate(() => window.__stalls), rate: await page.evaluate(() => document.querySelector("video").playbackRate) };
});
