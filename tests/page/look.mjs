// Looks at the operator's page as a person does: with a keyboard, on a telephone, in the dark, without a script.
// Arguments: the URL, a directory for pictures, and the program of Chromium. Says what it saw as one JSON object.
import { chromium } from "playwright-core";

const [url, pictures, program] = process.argv.slice(2);
const browser = await chromium.launch({
  executablePath: program,
  args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--no-first-run"],
});
const seen = { complaints: [], foreign: [] };

async function open(options) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, ...options });
  const page = await context.newPage();
  page.on("console", (message) => { if (message.type() === "error") seen.complaints.push(message.text()); });
  page.on("pageerror", (error) => seen.complaints.push(error.message));
  page.on("request", (request) => { if (!request.url().startsWith(url)) seen.foreign.push(request.url()); });
  const answer = await page.goto(url);
  seen.policy = answer.headers()["content-security-policy"];
  return page;
}

const text = (page, id) => page.locator(`#${id}`).innerText();

async function sections(page) {
  const all = {};
  for (const id of await page.locator("main > section").evaluateAll((found) => found.map((one) => one.id))) {
    all[id] = await text(page, id);
  }
  return all;
}

const page = await open({});
// The rate is the script's, and needs two answers.
await page.waitForFunction(() => /[1-9][\d.]* [KMG]iB\/s/.test(document.getElementById("throughput").innerText));
// What happens meanwhile is shown without another load.
console.error("ready");
await page.waitForFunction(() => document.getElementById("refusals").innerText.includes("impostor"));
seen.sections = await sections(page);
seen.fresh = await page.locator("#fresh").innerText();
await page.screenshot({ path: `${pictures}/page.png`, fullPage: true });

// Each wide table can be reached and scrolled with the keyboard, and keeps the focus while the page updates itself.
seen.reached = [];
for (let n = 0; n < 12; n += 1) {
  await page.keyboard.press("Tab");
  seen.reached.push(await page.evaluate(() => document.activeElement.getAttribute("aria-labelledby")
    || document.activeElement.getAttribute("href") || ""));
}
await page.locator("[aria-labelledby=served-caption]").focus();
const before = await text(page, "throughput");
await page.waitForFunction((old) => document.getElementById("throughput").innerText !== old, before);
seen.focus = await page.evaluate(() => document.activeElement.getAttribute("aria-labelledby"));

const dark = await open({ colorScheme: "dark" });
const paper = (of) => of.evaluate(() => getComputedStyle(document.body).backgroundColor);
seen.paper = { light: await paper(page), dark: await paper(dark) };
await dark.screenshot({ path: `${pictures}/page-dark.png`, fullPage: true });

const small = await open({ viewport: { width: 390, height: 844 }, isMobile: true, hasTouch: true });
seen.small = await small.evaluate(() => ({ wide: document.documentElement.scrollWidth, room: innerWidth }));
await small.screenshot({ path: `${pictures}/page-telephone.png`, fullPage: true });

const still = await open({ javaScriptEnabled: false });
seen.still = { state: await text(still, "state"), disks: await text(still, "disks") };

await browser.close();
console.log(JSON.stringify(seen));
