// Starts Debian's Chromium for the tests, and prints what a test found as one line of JSON.
import { chromium } from "playwright-core";
import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));

export async function launch() {
  return chromium.launch({
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    headless: true,
    handleSIGTERM: false, // scripts end in order
    args: [
      "--no-sandbox",
      "--disable-gpu",
      "--disable-quic",
      "--no-first-run",
      "--disable-background-networking",
      "--disable-component-update",
      "--disable-sync",
      // The made-up origin of foreignPage counts as public; asking whether it may reach loopback is not what is tested.
      "--disable-features=LocalNetworkAccessChecks",
      "--autoplay-policy=no-user-gesture-required",
      "--allow-loopback-in-peer-connection",
      "--use-fake-device-for-media-stream",
      "--use-fake-ui-for-media-stream",
    ],
  });
}

// A page of another origin, with scripts from node_modules: what a customer's own site is to headend.
// Under .localhost it is a secure context too, which AudioWorklet asks for.
export async function foreignPage(browser, scripts, html = "", origin = "http://player.test") {
  const page = await browser.newPage({ viewport: { width: 960, height: 600 } });
  const errors = [];
  page.on("pageerror", (error) => errors.push(String(error)));
  await page.route(`${origin}/**`, (route) => {
    const path = new URL(route.request().url()).pathname;
    if (path === "/") {
      const tags = scripts.map((name) => `<script src="/${name}"></script>`).join("");
      return route.fulfill({ contentType: "text/html", body: `<!doctype html><title>test</title>${tags}${html}<video id="v" muted playsinline></video>` });
    }
    return route.fulfill({ contentType: "text/javascript", body: readFileSync(join(here, "node_modules", path)) });
  });
  await page.goto(`${origin}/`);
  return { page, errors };
}

// Watches a <video> for a while: when its first picture came, how far it played, how often it stood still.
export async function observe(page, seconds) {
  return page.evaluate(async (seconds) => {
    const video = document.querySelector("video");
    const began = performance.now();
    let first = null;
    let stalls = 0;
    let frames = 0;
    let lastFrameAt = null;
    let longestGap = 0;
    const count = (now) => {
      if (first === null) first = now;
      if (lastFrameAt !== null) longestGap = Math.max(longestGap, now - lastFrameAt);
      lastFrameAt = now;
      frames += 1;
      video.requestVideoFrameCallback(count);
    };
    video.requestVideoFrameCallback(count);
    video.addEventListener("waiting", () => { if (first !== null) stalls += 1; });
    const deadline = began + 20000;
    while (first === null && performance.now() < deadline) await new Promise((r) => setTimeout(r, 20));
    if (first === null) {
      return { played: 0, error: video.error?.message ?? "no picture within 20 s", readyState: video.readyState, currentTime: video.currentTime };
    }
    const startTime = video.currentTime;
    const startFrames = frames;
    const startAt = performance.now();
    await new Promise((r) => setTimeout(r, seconds * 1000));
    const elapsed = (performance.now() - startAt) / 1000;
    return {
      firstPictureMs: Math.round(first - (window.__began ?? began)),
      played: video.currentTime - startTime,
      elapsed,
      fps: (frames - startFrames) / elapsed,
      stalls,
      longestGapMs: Math.round(longestGap),
      width: video.videoWidth,
      height: video.videoHeight,
      audio: Boolean(video.webkitAudioDecodedByteCount > 0 || video.srcObject?.getAudioTracks().length),
      audioBytes: video.webkitAudioDecodedByteCount ?? 0,
    };
  }, seconds);
}

export function report(result) {
  process.stdout.write(`${JSON.stringify(result)}\n`);
}

export async function main(run) {
  const browser = await launch();
  try {
    report(await run(browser));
  } catch (error) {
    report({ error: String(error?.stack ?? error) });
    process.exitCode = 1;
  } finally {
    await browser.close();
  }
}
