// node stay.mjs URL: watches by WHEP and stays; says "playing" at the first pictures, then every half second how many there were so
// far. Never connects a second time. Ends by itself after 60 s.
import { foreignPage, launch } from "./browser.mjs";

const [url] = process.argv.slice(2);
const browser = await launch();
const { page } = await foreignPage(browser, []);
const say = (text) => process.stderr.write(`${text}\n`);
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
  let count = 0;
  const frame = () => {
    count += 1;
    if (count === 10) window.say("playing");
    video.requestVideoFrameCallback(frame);
  };
  video.requestVideoFrameCallback(frame);
  setInterval(() => window.say(`pictures ${count}`), 500);
}, url);
await page.waitForTimeout(60000);
await browser.close();
