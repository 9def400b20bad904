// Drives the page in headless Chromium, on the CPU or on SwiftShader, as a visitor would.
// usage: page.mjs SITE NODE_MODULES OUT PROGRAM [--gpu]
//   OUT is a folder for pictures of the page, PROGRAM the native program.
import { execFileSync } from "node:child_process";
import { createReadStream, existsSync, mkdirSync, mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { extname, join, resolve } from "node:path";
import { SHAPES, changesOf, largest, nativeLosses, pngOf } from "./native.mjs";

const [site, modules, out, program] = process.argv.slice(2, 6).map((path) => resolve(path));
const device = process.argv.includes("--gpu") ? "gpu" : "cpu";
const { chromium } = createRequire(`${modules}/`)("playwright-core");
mkdirSync(out, { recursive: true });

const TYPES = { ".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".wasm": "application/wasm" };
const server = createServer((request, response) => {
  const path = join(site, decodeURIComponent(new URL(request.url, "http://localhost").pathname).replace(/\/$/, "/index.html"));
  if (!path.startsWith(site) || !existsSync(path) || !statSync(path).isFile()) {
    response.writeHead(404).end();
    return;
  }
  response.writeHead(200, { "content-type": TYPES[extname(path)] ?? "application/octet-stream" });
  createReadStream(path).pipe(response);
});
await new Promise((ready) => server.listen(0, "127.0.0.1", ready));
const address = `http://127.0.0.1:${server.address().port}/?device=${device}`;

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: ["--headless=new", "--no-sandbox", "--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader",
    "--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream"],
});
const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, acceptDownloads: true });
const page = await context.newPage();
let failed = 0;
const report = (name, isGood, detail = "") => {
  failed += isGood ? 0 : 1;
  console.log(`${isGood ? "ok    " : "FAILED"} ${name}${detail && `: ${detail}`}`);
};
const messages = [];
page.on("console", (message) => message.type() === "error" && messages.push(message.text()));
page.on("pageerror", (error) => messages.push(error.message));
const shoot = async (name) => {
  for (const [scheme, width] of [["light", 1280], ["dark", 390]]) {
    await page.emulateMedia({ colorScheme: scheme });
    await page.setViewportSize({ width, height: 900 });
    await page.screenshot({ path: `${out}/${name}-${scheme}.png`, fullPage: true });
  }
  await page.setViewportSize({ width: 1280, height: 900 });
};
const text = (id) => page.locator(`#${id}`).innerText();
const ready = () => page.waitForFunction(() => document.documentElement.dataset.ready === "true", undefined, { timeout: 60_000 });
const problem = async () => ((await page.locator("#problem").isVisible()) ? await text("problem") : "");

/** Trains, reloads, goes on, and takes the weights home; then what can go wrong, and classes of one's own. */
async function trainAsAVisitor() {
  await page.click("#tab-train");
  await page.fill("#train-epochs", "2");
  await page.click("#train-start");
  // Longest task of the page's own thread while it trains.
  await page.evaluate(() => {
    window.longest = 0;
    new PerformanceObserver((list) => {
      for (const entry of list.getEntries()) window.longest = Math.max(window.longest, entry.duration);
    }).observe({ type: "longtask" });
  });
  await page.waitForSelector("#train-epochs-table tbody tr", { timeout: 600_000 });
  const longest = await page.evaluate(() => window.longest);
  report("the page stays smooth", longest <= 50, `longest task ${longest.toFixed(0)} ms`);
  await page.locator("#guesses button").first().click();
  await page.waitForSelector("#layers .maps", { timeout: 120_000 });
  report("layers of a test picture are shown", true);
  await shoot("train");
  const before = await text("train-status");
  await page.reload();
  await ready();
  await page.click("#tab-train");
  await page.waitForSelector("#train-resume:not([hidden])");
  report("a run is kept over a reload", true, `${before} → ${await text("train-resume-text")}`);
  await page.click("#train-resume-go");
  await page.waitForFunction(() => document.querySelector("#train-status").textContent.startsWith("Done"), undefined, { timeout: 600_000 });
  report("it goes on to its end", (await page.locator("#train-epochs-table tbody tr").count()) === 2, await text("train-status"));
  const [saved] = await Promise.all([page.waitForEvent("download"), page.click("#train-weights")]);
  await saved.saveAs(`${out}/weights.safetensors`);
  const shown = await page.locator("#train-epochs-table tbody tr").last().locator("td").nth(4).innerText();
  const evaluated = execFileSync(program, ["eval", "--weights", `${out}/weights.safetensors`, "--data", "synthetic", "--device", "cpu", "--json"]);
  const accuracy = `${(100 * JSON.parse(evaluated).accuracy).toFixed(2)} %`;
  report("the native program finds the same accuracy", accuracy === shown, `${shown} here, ${accuracy} natively`);
  await shoot("trained");

  await page.selectOption("#train-source", "files");
  await page.setInputFiles("#train-archive", { name: "damaged.tar.gz", mimeType: "application/gzip", buffer: Buffer.from([0x1f, 0x8b, 8, 0, 1, 2, 3]) });
  await page.click("#train-start");
  await page.waitForSelector("#problem:not([hidden])");
  report("a damaged archive is said to be one", (await problem()).includes("damaged.tar.gz"), await problem());

  const folder = mkdtempSync(join(tmpdir(), "cifar-gpu-page-"));
  await trainOn("a folder of pictures", "3 classes", () => page.setInputFiles("#train-folder", pictureFolder(folder)));
  await trainOn("CIFAR-10's archive", "50 images to train on, 10 to test, 10 classes", () => page.setInputFiles("#train-archive", archive(folder)));
  rmSync(folder, { recursive: true });

  await page.selectOption("#train-source", "classes");
  for (const [at, name] of ["left", "right"].entries()) {
    const own = page.locator("#train-class-list .class").nth(at);
    await own.locator("input:not([type])").fill(name);
    const pictures = [];
    for (let number = 0; number < 10; number++) pictures.push(await picture(`${number}.png`, 40 * number + 300 * at));
    await own.locator('input[type="file"]').setInputFiles(pictures);
  }
  await page.selectOption("#train-recipe", "practice");
  await page.fill("#train-epochs", "3");
  await trained();
  report("classes of one's own are trained on", (await text("train-data")).includes("2 classes"), await text("train-data"));
}

/** Trains to the end. */
async function trained() {
  await page.evaluate(() => (document.querySelector("#train-status").textContent = ""));
  await page.click("#train-start");
  await page.waitForFunction(() => document.querySelector("#train-status").textContent.startsWith("Done"), undefined, { timeout: 300_000 });
}

/** Trains for an epoch on what `choose` gives the page, which says of it what is `expected`. */
async function trainOn(name, expected, choose) {
  await choose();
  await page.fill("#train-epochs", "1");
  await trained();
  report(`${name} is trained on`, (await text("train-data")).includes(expected), await text("train-data"));
}

/** A folder with a folder of pictures for each of three classes. */
function pictureFolder(folder) {
  const root = join(folder, "colors");
  for (const [plane, name] of ["red", "green", "blue"].entries()) {
    mkdirSync(join(root, name), { recursive: true });
    for (let number = 0; number < 10; number++) {
      const planes = Uint8Array.from({ length: 3072 }, (_, at) => (Math.floor(at / 1024) === plane ? 200 : at + 20 * number) % 256);
      writeFileSync(join(root, name, `${number}.png`), pngOf(planes));
    }
  }
  return root;
}

/** An archive as CIFAR-10's binary version, with ten images in each file. */
function archive(folder) {
  const root = join(folder, "cifar-10-batches-bin");
  mkdirSync(root);
  const records = Buffer.alloc(10 * 3073, 120);
  for (let label = 0; label < 10; label++) records.fill(25 * label, label * 3073 + 1, label * 3073 + 1500)[label * 3073] = label;
  for (const name of ["data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5", "test_batch"]) {
    writeFileSync(join(root, `${name}.bin`), records);
  }
  const file = join(folder, "cifar-10-binary.tar.gz");
  execFileSync("tar", ["-czf", file, "-C", folder, "cifar-10-batches-bin"]);
  return file;
}

/** A picture in another format, pasted; one from the camera; keys; a tab whose memory does not suffice; the page without a network. */
async function tryTheRest() {
  const webp = await page.evaluate(async () => {
    const canvas = new OffscreenCanvas(80, 60);
    canvas.getContext("2d").fillRect(10, 10, 30, 30);
    const blob = await canvas.convertToBlob({ type: "image/webp" });
    const clipboardData = new DataTransfer();
    clipboardData.items.add(new File([blob], "pasted.webp", { type: blob.type }));
    dispatchEvent(new ClipboardEvent("paste", { clipboardData }));
    return blob.type;
  });
  await page.getByRole("heading", { name: "pasted.webp" }).waitFor({ timeout: 120_000 });
  report("a pasted picture is classified", webp === "image/webp", webp);
  await page.click("#try-camera");
  await page.waitForFunction(() => document.querySelector("#try-video").videoWidth > 0);
  await page.click("#try-shot");
  await page.getByRole("heading", { name: "camera" }).waitFor({ timeout: 120_000 });
  await page.click("#try-stop");
  report("a picture of the camera is classified", true);

  const unnamed = await page.evaluate(() =>
    [...document.querySelectorAll("button, input, select, canvas, [role=img]")]
      .filter((element) => !(element.labels?.length || element.textContent.trim() || element.ariaLabel || element.title))
      .map((element) => element.outerHTML));
  report("all that is worked with has a name", unnamed.length === 0, unnamed.join(" "));
  await page.focus("#tab-try");
  await page.keyboard.press("ArrowRight");
  report("tabs follow the arrow keys", await page.locator("#train").isVisible());
  await page.click("#tab-try");

  const reason = await page.evaluate(async () => {
    const { startEngine } = await import("./engine.js");
    const engine = startEngine();
    await engine.call("open", ["cpu"]);
    const failure = await engine.call("shapes", [1_300_000, 100]).catch((error) => error.message);
    engine.stop();
    return failure;
  });
  report("a set that memory does not hold is refused", typeof reason === "string" && reason.includes("memory"), String(reason));
  const trap = await page.evaluate(async () => {
    const { startEngine } = await import("./engine.js");
    const engine = startEngine();
    await engine.call("open", ["cpu"]);
    const failures = [];
    for (const bytes of [3_900_000_000, 10]) {
      const call = engine.call("loadNetwork", ["large", new Uint8Array(bytes)]);
      failures.push(await call.then(() => "nothing", (error) => error.message));
    }
    engine.stop();
    return failures;
  });
  report("a tab without memory says so", trap.every((text) => text.includes("Reload the page")), trap[0]);

  await page.evaluate(async () => await navigator.serviceWorker.ready);
  await page.reload();
  await ready();
  await context.setOffline(true);
  await page.reload();
  await ready();
  report("it works without a network", true, await text("device"));
  await context.setOffline(false);
}

/** Compares every kernel with its twin, and a few steps with the native program. */
async function checkTheGpu() {
  await page.click("#tab-check");
  await page.click("#check-start");
  await page.waitForFunction(() => /checks (passed|failed)/.test(document.querySelector("#check-status").textContent), undefined, { timeout: 1_800_000 });
  report("every kernel is right", (await text("check-status")).startsWith("All"), await text("check-status"));
  await shoot("check");
  const run = { arch: "lenet5", batch: 64, steps: 10 };
  const losses = await page.evaluate(async ([arch, changes, shapes]) => {
    const { startEngine } = await import("./engine.js");
    const engine = startEngine();
    await engine.call("open", ["gpu"]);
    const { images } = await engine.call("shapes", shapes);
    const settings = await engine.call("settings", [arch, "practice", changes]);
    const seen = [];
    await engine.call("train", [images, settings, undefined], (event) => {
      if (event.event === "steps") seen.push(...event.losses);
    });
    engine.stop();
    return seen;
  }, [run.arch, changesOf(run), SHAPES]);
  const folder = mkdtempSync(join(tmpdir(), "cifar-gpu-page-"));
  const difference = largest(losses, nativeLosses(program, folder, run));
  rmSync(folder, { recursive: true });
  report("it trains as the native program does", difference < 1e-5, `${losses.length} losses differ by ${difference.toExponential(1)}`);
}

await page.goto(address);
await ready();
report("it opens", true, await text("device"));

/** A part of the page as a picture in a file. */
const picture = async (name, x = 0) => ({
  name,
  mimeType: "image/png",
  buffer: await page.screenshot({ clip: { x, y: 0, width: 64, height: 48 } }),
});
await page.setInputFiles("#try-files", await picture("title.png"));
await page.waitForSelector("#try-results .bars", { timeout: 300_000 });
report("a picture is classified", true, (await text("try-results")).split("\n").slice(0, 4).join(" "));
await page.setInputFiles("#try-files", { name: "broken.png", mimeType: "image/png", buffer: Buffer.from("no picture") });
await page.waitForSelector("#problem:not([hidden])");
report("a file that is no picture is said to be none", (await problem()).includes("broken.png"), await problem());
await shoot("try");

if (device === "cpu") {
  await tryTheRest();
  await trainAsAVisitor();
} else await checkTheGpu();
report("no error on the console", messages.length === 0, messages.join("; "));
await browser.close();
server.close();
process.exit(failed === 0 ? 0 : 1);
