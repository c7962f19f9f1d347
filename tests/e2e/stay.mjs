// node stay.mjs URL [page]: watches by WHEP and stays; says "playing" at the first pictures, then every half second how many there were
// so far. Never connects a second time. With "page", URL is headend's watch page, which may. Ends by itself after 60 s.
import { foreignPage, launch } from "./browser.mjs";

const [url, what = "whep"] = process.argv.slice(2);
const browser = await launch();
const say = (text) => process.stderr.write(`${text}\n`);

// What both do in the page: counts pictures.
const count = () => {
  const video = document.querySelector("video");
  let count = 0;
  const frame = () => {
    count += 1;
    if (count === 10) window.say("playing");
    video.requestVideoFrameCallback(frame);
  };
  video.requestVideoFrameCallback(frame);
  setInterval(() => {
    window.say(`pictures ${count}`);
    const mode = document.querySelector("input[name=mode]:checked");
    if (mode) window.say(`mode ${mode.value}`);
  }, 500);
};

if (what === "page") {
  const page = await browser.newPage();
  page.on("pageerror", (error) => say(`error ${error}`));
  await page.exposeFunction("say", say);
  await page.goto(url);
  await page.evaluate(count);
  await page.waitForTimeout(60000);
  await browser.close();
  process.exit();
}

const { page } = await foreignPage(browser, []);
await page.exposeFunction("say", say);
await page.evaluate(async (url) => {
  const video = document.querySelector("video");
  const pc = new RTCPeerConnection();
  const media = new MediaStream();
  pc.ontrack = (event) => { media.addTrack(event.track); video.srcObject = media; video.play().catch(() => {}); };
  pc.onconnectionstatechange = () => window.say(pc.connectionState);
  pc.addTransceiver("video", { direction: "recvonly" });
  pc.addTransceiver("audio", { direction: "recvonly" });
  await pc.setLocalDescription(await pc.createOffer());
  const response = await fetch(url, { method: "POST", headers: { "content-type": "application/sdp" }, body: pc.localDescription.sdp });
  await pc.setRemoteDescription({ type: "answer", sdp: await response.text() });
}, url);
await page.evaluate(count);
await page.waitForTimeout(60000);
await browser.close();
