// node pages.mjs SCENARIO BASE PATH: headend's own pages as a person uses them, in one browser. Says what it saw as JSON.
import { launch, report } from "./browser.mjs";

const [scenario, base, path] = process.argv.slice(2);
const PATIENCE = 30000;

const errors = [];
async function open(browser, address, options = {}, before = undefined) {
  const page = await (await browser.newContext({ viewport: { width: 1280, height: 800 }, permissions: ["camera", "microphone"], ...options })).newPage();
  page.setDefaultTimeout(PATIENCE);
  page.on("pageerror", (error) => errors.push(`${address}: ${error}`));
  page.on("console", (message) => {
    // A stream that is not live is asked for and answered by 404, which Chromium itself logs.
    if (message.type() === "error" && !/status of 404/.test(message.text())) errors.push(`${address}: ${message.text()}`);
  });
  if (before) await page.addInitScript(before);
  // `base` may be a folder.
  await page.goto(new URL(address.startsWith(new URL(base).pathname) ? address : address.slice(1), base).href);
  return page;
}

const playing = (page) => page.waitForFunction(() => {
  const video = document.querySelector("video");
  return video.getVideoPlaybackQuality().totalVideoFrames > 10 && !video.paused && document.querySelector("#player").dataset.state === "playing";
});
const mode = (page) => page.evaluate(() => document.querySelector("input[name=mode]:checked").value);

// Names, landmarks, language, contrast, and no scrolling sideways.
const audit = () => {
  const problems = [];
  const seen = (element) => element.checkVisibility({ checkOpacity: false, checkVisibilityCSS: true });
  if (!document.documentElement.lang) problems.push("no lang");
  if (document.querySelectorAll("main").length !== 1) problems.push("not one main landmark");
  if (document.querySelectorAll("h1").length !== 1) problems.push("not one h1");
  if (!document.title) problems.push("no title");
  if (document.documentElement.scrollWidth > innerWidth) problems.push(`${document.documentElement.scrollWidth} px wide in ${innerWidth}`);
  for (const control of document.querySelectorAll("a[href], button, input, select")) {
    const text = control.getAttribute("aria-label") ?? control.innerText ?? "";
    const label = [...(control.labels ?? [])].map((l) => l.textContent).join("");
    if (seen(control) && !text.trim() && !label.trim() && !control.title) problems.push(`without a name: ${control.outerHTML.slice(0, 80)}`);
  }
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const rgba = (color) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = color;
    canvas.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data;
    return { r, g, b, a: a / 255 };
  };
  const over = (top, below) => Object.fromEntries(["r", "g", "b"].map((c) => [c, top[c] * top.a + below[c] * (1 - top.a)]).concat([["a", 1]]));
  const luminance = (c) => [c.r, c.g, c.b].map((v) => v / 255).map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)).reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    // What lies on a picture has whatever is in the picture behind it.
    if (!walker.currentNode.data.trim() || !seen(element) || element.closest(".player, .visually-hidden, noscript, option, :disabled")) continue;
    const layers = [];
    for (let e = element; e; e = e.parentElement) layers.unshift(rgba(getComputedStyle(e).backgroundColor));
    const behind = layers.reduce((below, top) => over(top, below), { r: 255, g: 255, b: 255, a: 1 });
    const style = getComputedStyle(element);
    const [light, dark] = [luminance(over(rgba(style.color), behind)), luminance(behind)].sort((a, b) => b - a);
    const ratio = (light + 0.05) / (dark + 0.05);
    const large = parseFloat(style.fontSize) >= 24 || (parseFloat(style.fontSize) >= 18.66 && Number(style.fontWeight) >= 700);
    if (ratio < (large ? 3 : 4.5)) problems.push(`contrast ${ratio.toFixed(2)}: ${walker.currentNode.data.trim().slice(0, 40)}`);
  }
  return problems;
};

const scenarios = {
  // A viewer with WebRTC as it should be: sound by a click, the keys, the dashboard, the recording.
  async watch(browser) {
    const page = await open(browser, `/${path}/`);
    await playing(page);
    const began = await mode(page);
    if (await page.isVisible("#unmute")) await page.click("#unmute");
    const muted = await page.evaluate(() => document.querySelector("video").muted);
    const sound = await page.waitForFunction(async () => {
      const track = document.querySelector("video").srcObject.getAudioTracks()[0];
      window.__context ??= new AudioContext();
      if (!window.__analyser) {
        window.__analyser = window.__context.createAnalyser();
        window.__context.createMediaStreamSource(new MediaStream([track])).connect(window.__analyser);
      }
      const wave = new Float32Array(window.__analyser.fftSize);
      window.__analyser.getFloatTimeDomainData(wave);
      return Math.sqrt(wave.reduce((sum, x) => sum + x * x, 0) / wave.length) > 0.01;
    }).then(() => true, () => false);
    const keys = {};
    const video = (what) => page.evaluate((what) => document.querySelector("video")[what], what);
    await page.keyboard.press("m");
    keys.mute = await video("muted");
    await page.keyboard.press("m");
    keys.unmute = !(await video("muted"));
    const volume = await video("volume");
    await page.keyboard.press("ArrowDown");
    keys.quieter = (await video("volume")) < volume;
    await page.keyboard.press("ArrowUp");
    keys.louder = (await video("volume")) >= volume;
    await page.keyboard.press(" ");
    keys.pause = await video("paused");
    await page.keyboard.press("k");
    await page.waitForFunction(() => !document.querySelector("video").paused);
    await page.keyboard.press("i");
    keys.statistics = await page.isVisible("#stats");
    await page.keyboard.press("f");
    keys.full = await page.waitForFunction(() => document.fullscreenElement !== null).then(() => true);
    await page.keyboard.press("f");
    keys.leave = await page.waitForFunction(() => document.fullscreenElement === null).then(() => true);
    const problems = { watch: await page.evaluate(audit) };
    await page.setViewportSize({ width: 360, height: 740 });
    problems.watchPhone = await page.evaluate(audit);
    const dashboard = await open(browser, "/");
    await dashboard.waitForFunction((path) => document.querySelector("#streams").innerText.includes(path), path);
    await dashboard.waitForFunction((path) => document.querySelector("#recordings").innerText.includes(path), path);
    problems.dashboard = await dashboard.evaluate(audit);
    await dashboard.setViewportSize({ width: 360, height: 740 });
    problems.dashboardPhone = await dashboard.evaluate(audit);
    return { mode: began, muted, sound, keys, problems };
  },

  // A browser that lets pages begin without sound only: pictures at once, and a button for the sound.
  async silent(browser) {
    // As browsers do it. Chromium's own policy can't be used: what this script evaluates in the page counts as a gesture.
    const policy = () => {
      let clicked = false;
      addEventListener("click", () => { clicked = true; }, true);
      const play = HTMLMediaElement.prototype.play;
      HTMLMediaElement.prototype.play = function () {
        if (this.muted || clicked) return play.call(this);
        this.pause();
        return Promise.reject(new DOMException("play() needs a user gesture", "NotAllowedError"));
      };
      document.addEventListener("DOMContentLoaded", () => { document.querySelector("video").autoplay = false; });
    };
    const page = await open(browser, `/${path}/`, {}, policy);
    await playing(page);
    const video = (what) => page.evaluate((what) => document.querySelector("video")[what], what);
    await page.waitForSelector("#unmute", { state: "visible" });
    const before = await video("muted");
    const problems = { silent: await page.evaluate(audit) };
    await page.click("#unmute");
    await page.waitForSelector("#unmute", { state: "hidden" });
    const after = await video("muted");
    const frames = (page) => page.evaluate(() => document.querySelector("video").getVideoPlaybackQuality().totalVideoFrames);
    const seen = await frames(page);
    await page.waitForFunction((seen) => document.querySelector("video").getVideoPlaybackQuality().totalVideoFrames > seen + 10, seen);
    return { before, after, paused: await video("paused"), mode: await mode(page), problems };
  },

  // WebRTC forbidden, or a network that lets no media through: HLS by itself.
  async fallback(browser) {
    const forbidden = () => { window.RTCPeerConnection = class { constructor() { throw new Error("WebRTC is switched off"); } }; };
    const blocked = () => {
      const original = RTCPeerConnection.prototype.setRemoteDescription;
      RTCPeerConnection.prototype.setRemoteDescription = function (description) {
        // Port 9 discards.
        const sdp = description.sdp.replace(/^(a=candidate:\S+ \d+ \S+ \d+ )\S+ \d+/gim, "$1127.0.0.1 9");
        return original.call(this, { type: description.type, sdp });
      };
    };
    const seen = {};
    for (const [name, before] of [["forbidden", forbidden], ["blocked", blocked]]) {
      const began = Date.now();
      const page = await open(browser, `/${path}/`, {}, before);
      await page.waitForFunction(() => document.querySelector("input[name=mode]:checked").value === "hls");
      const switched = Date.now() - began;
      await playing(page);
      seen[name] = { switched, playing: Date.now() - began };
      await page.context().close();
    }
    return seen;
  },

  // The watch page waits; the publish page's button makes it play.
  async publish(browser) {
    const watch = await open(browser, `/${path}/`);
    await watch.waitForFunction(() => document.querySelector("#player").dataset.state === "waiting");
    const problems = { waiting: await watch.evaluate(audit) };
    const publish = await open(browser, `/${path}/publish`);
    problems.publish = await publish.evaluate(audit);
    await publish.setViewportSize({ width: 360, height: 740 });
    problems.publishPhone = await publish.evaluate(audit);
    await publish.click("#start");
    await publish.waitForFunction(() => /air/i.test(document.querySelector("#state").innerText) && !/off/i.test(document.querySelector("#state").innerText));
    await playing(watch);
    const state = await publish.innerText("#state");
    const began = await mode(watch);
    await publish.click("#stop");
    await publish.waitForFunction(() => /off air/i.test(document.querySelector("#state").innerText));
    return { state, mode: began, problems };
  },

  // A finished recording, found on the dashboard.
  async recording(browser) {
    const dashboard = await open(browser, "/");
    await dashboard.waitForFunction((path) => document.querySelector("#recordings").innerText.includes(path), path);
    const href = await dashboard.evaluate(() => [...document.querySelectorAll("#recordings a")].map((a) => a.getAttribute("href")).find((href) => !/\.\w+$/.test(href)));
    const page = await open(browser, href);
    await page.waitForFunction(() => document.querySelector("video").readyState >= 1);
    await page.evaluate(() => document.querySelector("video").play());
    await page.waitForFunction(() => document.querySelector("video").currentTime > 1);
    const problems = { recording: await page.evaluate(audit) };
    await page.setViewportSize({ width: 360, height: 740 });
    problems.recordingPhone = await page.evaluate(audit);
    const download = await page.evaluate(async () => (await fetch(document.querySelector("#download").href, { headers: { range: "bytes=0-99" } })).status);
    return { href, download, duration: await page.evaluate(() => document.querySelector("video").duration), problems };
  },
};

const browser = await launch();
try {
  report({ ...(await scenarios[scenario](browser)), errors });
} catch (error) {
  report({ error: String(error?.stack ?? error), errors });
} finally {
  await browser.close();
}
