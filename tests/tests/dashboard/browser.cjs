// What a person sees and does, in a real browser: node browser.cjs http://127.0.0.1:PORT [folder for screenshots]
"use strict";
const assert = require("node:assert/strict");
const fs = require("node:fs");
const net = require("node:net");
const puppeteer = require("puppeteer-core");

const [, , base, shots] = process.argv;
const axe = fs.readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");
const desktop = { width: 1360, height: 1000 };
const phone = { width: 390, height: 844, deviceScaleFactor: 2, isMobile: true, hasTouch: true };
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const complaints = [];

async function open(browser, path, viewport = desktop, scheme = "light") {
  // A context of its own: nothing that another page has kept.
  const context = await browser.createBrowserContext();
  const page = await context.newPage();
  const complain = (text) => complaints.push(`${path}: ${text}`);
  page.on("console", (message) => ["error", "warn"].includes(message.type()) && !page.isExpected && complain(message.text()));
  page.on("pageerror", (error) => complain(error.message));
  page.on("dialog", (dialog) => { complain(`a dialog: ${dialog.message()}`); dialog.dismiss(); });
  page.on("request", (request) => {
    const url = new URL(request.url());
    if (url.origin !== base && url.protocol !== "data:") complain(`a request to ${url.origin}`);
  });
  await page.emulateMediaFeatures([{ name: "prefers-color-scheme", value: scheme }]);
  await page.setViewport(viewport);
  await page.goto(`${base}${path}`);
  await until(page, () => document.getElementById("live-text").textContent === "Live");
  return page;
}

const until = (page, condition, ...values) => page.waitForFunction(condition, { timeout: 20000, polling: 100 }, ...values);
const state = async (path) => (await fetch(`${base}${path}/state.json`)).json();
const find = (all, name) => all.policies.find((policy) => policy.name === name);

/// The number in the row of a card with this label.
function shown(page, card, label) {
  return page.evaluate((card, label) => {
    const article = [...document.querySelectorAll("article")].find((it) => it.querySelector("h3").textContent === card);
    const dt = [...article.querySelectorAll("dt")].find((it) => it.textContent === label);
    return dt.nextElementSibling.textContent;
  }, card, label);
}

async function press(page, card, text) {
  await page.evaluate((card, text) => {
    const article = [...document.querySelectorAll("article")].find((it) => it.querySelector("h3").textContent === card);
    article.querySelector("details").open = true;
    [...article.querySelectorAll("button")].find((it) => it.textContent === text).click();
  }, card, text);
}

async function numbersMoveAndAreThoseOfTheJson(browser) {
  const page = await open(browser, "/read");
  const paths = () => page.evaluate(() => [...document.querySelectorAll(".plot path")].map((it) => it.getAttribute("d")).join());
  const seen = new Set();
  const charts = new Set();
  for (let second = 0; second < 6; second++) {
    seen.add(await shown(page, "storm", "Rejected"));
    charts.add(await paths());
    await pause(1000);
  }
  assert.ok(charts.size >= 4, "charts move");
  assert.ok(seen.size >= 2, `numbers move: ${[...seen]}`);
  await until(page, () => /rejects? .* requests a second/.test(document.getElementById("headline").textContent));

  // Once nothing moves, page, JSON and scrape say the same.
  await fetch(`${base}/test/load/off`, { method: "POST" });
  await until(page, () => [...document.querySelectorAll("article")].some((it) => it.querySelector("h3").textContent === "storm" && it.querySelector(".status").textContent.includes("no requests")));
  await pause(2500);
  const json = find(await state("/read"), "storm");
  const scrape = await (await fetch(`${base}/metrics`)).text();
  const scraped = (result) => scrape.split("\n").filter((line) => line.startsWith("backpressure_requests_total{") && line.includes('policy="storm"') && line.includes(`result="${result}"`))
    .reduce((total, line) => total + Number(line.split(" ").pop()), 0);
  assert.equal(json.total.admitted, scraped("admitted"));
  assert.equal(json.total.rejected, scraped("shed"));
  assert.ok(json.total.rejected > 500 && json.total.admitted > 100, JSON.stringify(json.total));
  const gauge = (name) => Number(scrape.split("\n").find((line) => line.startsWith(`${name}{policy="storm"}`)).split(" ").pop());
  assert.equal(json.limit.limit, gauge("backpressure_limit"));
  assert.equal(json.limit.in_flight, gauge("backpressure_in_flight"));
  await page.evaluate(() => document.querySelectorAll("details").forEach((it) => { it.open = true; }));
  await pause(1500);
  const rows = await page.evaluate(() => {
    const article = [...document.querySelectorAll("article")].find((it) => it.querySelector("h3").textContent === "storm");
    return [...article.querySelectorAll("details tr")].map((row) => [...row.children].map((it) => it.textContent.replace(/\u202f/g, "")));
  });
  const row = (name) => rows.find((cells) => cells[0] === name);
  assert.equal(Number(row("Admitted")[2]), json.total.admitted);
  assert.equal(Number(row("Rejected")[2]), json.total.rejected);
  assert.equal(await shown(page, "storm", "In flight"), `${json.limit.in_flight} of ${json.limit.limit}`);
  await fetch(`${base}/test/load/on`, { method: "POST" });
  await page.close();
}

async function actionsNeedAnOperator(browser) {
  const reading = await open(browser, "/read");
  assert.equal(await reading.evaluate(() => document.querySelectorAll(".actions").length), 0, "a page that only reads has no actions");
  await reading.close();

  const refused = await open(browser, "/refuse");
  refused.isExpected = true;
  await press(refused, "storm", "Pin the limit");
  await until(refused, () => document.getElementById("toast").textContent === "Not done: you may not do this");
  assert.equal(find(await state("/refuse"), "storm").limit.limit, 4);
  await refused.close();

  const page = await open(browser, "/write");
  await page.evaluate(() => { document.querySelector('input[aria-label="Limit of storm to pin"]').value = "7"; });
  await press(page, "storm", "Pin the limit");
  await until(page, () => document.body.textContent.includes("Pinned to 7: it does not change until it is unpinned."));
  assert.equal(find(await state("/write"), "storm").limit.limit, 7);
  await press(page, "storm", "Unpin");
  // Nothing happens without a second word, and the safe button has the focus.
  await press(page, "storm", "Stop");
  assert.equal(await page.evaluate(() => document.activeElement.id), "dialog-no");
  await page.keyboard.press("Enter");
  await pause(1500);
  assert.notEqual(find(await state("/write"), "storm").status, "stopped");
  await press(page, "storm", "Stop");
  await page.keyboard.press("Tab");
  await page.keyboard.press("Enter");
  await until(page, () => document.getElementById("headline").textContent === "storm: stopped.");
  assert.equal(find(await state("/write"), "storm").status, "stopped");
  await press(page, "storm", "Resume");
  await until(page, () => document.getElementById("journal").textContent.includes("browser: stop"));
  await until(page, () => document.getElementById("headline").textContent !== "storm: stopped.");
  await page.close();
}

async function aPageThatHearsNothingSaysSo(browser) {
  const page = await open(browser, "/read");
  page.isExpected = true;
  await page.setOfflineMode(true);
  // A stream that is open goes on in the emulation: it ends within twenty seconds, and cannot begin again.
  await page.waitForFunction(() => document.getElementById("live-text").textContent === "Not connected", { timeout: 40000, polling: 200 });
  assert.ok(await page.evaluate(() => !document.getElementById("banner").hidden && document.body.classList.contains("is-stale")));
  await page.setOfflineMode(false);
  await until(page, () => document.getElementById("live-text").textContent === "Live" && document.getElementById("banner").hidden);
  await page.close();
}

/// Says of a page whether it is seen, as its browser does when another page is brought to the front.
function show(page, isShown) {
  return page.evaluate((isShown) => {
    Object.defineProperty(document, "hidden", { configurable: true, get: () => !isShown });
    document.dispatchEvent(new Event("visibilitychange"));
  }, isShown);
}

async function aPageThatIsNotSeenHoldsNoConnection(browser) {
  const page = await open(browser, "/read");
  // The state is one second old at most.
  const readersAre = async (count) => {
    const now = async () => (await state("/read")).clients.now;
    for (let turn = 0; turn < 50 && await now() !== count; turn += 1) await pause(100);
    assert.equal(await now(), count);
  };
  await readersAre(1);
  await show(page, false);
  await readersAre(0);
  // Longer than after which a page that is seen connects again.
  await pause(9000);
  await readersAre(0);
  await show(page, true);
  assert.ok(await page.evaluate(() => document.getElementById("banner").hidden), "the service is not blamed for it");
  await until(page, () => document.getElementById("live-text").textContent === "Live");
  await readersAre(1);
  await page.close();
}

/// A proxy before the service whose connections can all die without a word, as in a computer that slept.
async function silentProxy() {
  const pairs = [];
  const { hostname, port } = new URL(base);
  const server = net.createServer((near) => {
    const far = net.connect(Number(port), hostname);
    pairs.push([near, far]);
    [near, far].forEach((socket) => socket.on("error", () => {}));
    near.pipe(far).pipe(near);
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const silence = () => pairs.splice(0).forEach(([near, far]) => { near.unpipe(far); far.unpipe(near); far.destroy(); });
  return { url: `http://127.0.0.1:${server.address().port}`, silence, close: () => server.close() };
}

async function aConnectionThatDiesInSilenceIsReplaced(browser) {
  const proxy = await silentProxy();
  const page = await (await browser.createBrowserContext()).newPage();
  await page.goto(`${proxy.url}/read`);
  await until(page, () => document.getElementById("live-text").textContent === "Live");
  proxy.silence();
  await until(page, () => document.getElementById("live-text").textContent === "Not connected");
  await until(page, () => document.getElementById("live-text").textContent === "Live" && document.getElementById("banner").hidden);
  await page.close();
  proxy.close();
}

async function calmPoliciesOfALongListAreFolded(browser) {
  const page = await open(browser, "/read");
  const nodes = () => page.evaluate(() => [...document.querySelectorAll("#flow a.node b")].map((it) => it.textContent));
  const folded = await nodes();
  assert.ok(folded.length < 20 && folded.includes("storm"), `${folded}`);
  assert.match(await page.evaluate(() => document.querySelector(".fold").textContent), /^\d+ more, all calm$/);
  await page.evaluate(() => document.querySelector(".fold").click());
  assert.ok((await nodes()).length >= 40, "all are shown when asked for");
  await page.evaluate(() => [...document.querySelectorAll(".fold")].find((it) => it.textContent === "Show fewer").click());
  assert.equal((await nodes()).length, folded.length);
  await page.close();
}

async function theKeyboardReachesEverything(browser) {
  const page = await open(browser, "/read");
  await page.keyboard.press("Tab");
  assert.equal(await page.evaluate(() => document.activeElement.className), "skip");
  await page.keyboard.press("Tab");
  assert.equal(await page.evaluate(() => document.activeElement.id), "theme");
  for (const theme of ["light", "dark"]) {
    await page.keyboard.press("Enter");
    assert.equal(await page.evaluate(() => document.documentElement.dataset.theme), theme);
  }
  await page.reload();
  assert.equal(await page.evaluate(() => document.documentElement.dataset.theme), "dark", "the choice is kept");
  await until(page, () => document.querySelector(".plot"));
  await page.focus(".plot");
  await page.keyboard.press("ArrowLeft");
  await page.keyboard.press("ArrowLeft");
  assert.equal(await page.evaluate(() => document.querySelector(".axis span").textContent), "2 s ago");
  await page.close();
}

async function everyLookIsAccessible(browser) {
  for (const [device, viewport] of [["desktop", desktop], ["phone", phone]]) {
    for (const scheme of ["light", "dark"]) {
      const page = await open(browser, "/write", viewport, scheme);
      await page.evaluate(() => document.querySelectorAll("details").forEach((it) => { it.open = true; }));
      await pause(1500);
      await page.evaluate(axe);
      const { violations } = await page.evaluate(() => axe.run(document, { resultTypes: ["violations"] }));
      const faults = violations.map((it) => `${it.id}: ${it.help}: ${it.nodes.slice(0, 3).map((node) => `${node.html.slice(0, 160)} ${node.failureSummary}`).join(" | ")}`);
      assert.deepEqual(faults, [], `${device} ${scheme}`);
      const [inner, scroll] = await page.evaluate(() => [innerWidth, document.documentElement.scrollWidth]);
      assert.ok(scroll <= inner, `${device}: the page is ${scroll} wide in ${inner}`);
      assert.equal(await page.evaluate(() => document.querySelectorAll("main img, main iframe, main b b").length), 0, "names are no markup");
      assert.ok(await page.evaluate(() => document.body.textContent.includes("<img src=x onerror=alert(1)>")), "and are shown as they are");
      if (shots) await page.screenshot({ path: `${shots}/${device}-${scheme}.png`, fullPage: true });
      await page.close();
    }
  }
}

async function main() {
  const browser = await puppeteer.launch({ executablePath: process.env.CHROMIUM || "/usr/bin/chromium", args: ["--no-sandbox", "--disable-gpu"] });
  try {
    for (const check of [numbersMoveAndAreThoseOfTheJson, actionsNeedAnOperator, aPageThatHearsNothingSaysSo, aConnectionThatDiesInSilenceIsReplaced, aPageThatIsNotSeenHoldsNoConnection, calmPoliciesOfALongListAreFolded, theKeyboardReachesEverything, everyLookIsAccessible]) {
      await check(browser);
      console.log(`${check.name}: ok`);
    }
    assert.deepEqual(complaints, [], "no complaint of the browser, and no request to another host");
  } finally {
    await browser.close();
  }
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
