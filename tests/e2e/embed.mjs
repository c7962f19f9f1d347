// node embed.mjs FILE SERVER PATH SECONDS [block-webrtc]: opens an HTML file as a page of another origin, with the scripts that it
// takes from a CDN out of node_modules, and looks at what its <video> plays.
import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { main, observe } from "./browser.mjs";

const [file, server, path, seconds = "3", mode = ""] = process.argv.slice(2);
const modules = join(dirname(fileURLToPath(import.meta.url)), "node_modules");

await main(async (browser) => {
  const page = await browser.newPage({ viewport: { width: 960, height: 640 } });
  const errors = [];
  page.on("pageerror", (error) => errors.push(String(error)));
  await page.route("https://cdn.jsdelivr.net/npm/**", (route) => {
    // …/npm/NAME@VERSION/FILE
    const [, name, version, inside] = new URL(route.request().url()).pathname.match(/^\/npm\/([^@]+)@([^/]+)\/(.+)$/);
    const installed = JSON.parse(readFileSync(join(modules, name, "package.json"))).version;
    if (installed !== version) errors.push(`${name}: the page names ${version}, the tests have ${installed}`);
    return route.fulfill({ contentType: "text/javascript", body: readFileSync(join(modules, name, inside)) });
  });
  await page.route("http://embed.test/**", (route) => route.fulfill({ contentType: "text/html", body: readFileSync(file, "utf8") }));
  if (mode === "block-webrtc") {
    await page.addInitScript(() => { window.RTCPeerConnection = class { constructor() { throw new Error("WebRTC is switched off"); } }; });
  }
  await page.goto(`http://embed.test/?server=${encodeURIComponent(server)}&path=${path}`);
  await page.waitForSelector("video", { state: "attached" });
  const seen = await observe(page, Number(seconds));
  return { ...seen, text: await page.innerText("body"), errors };
});
