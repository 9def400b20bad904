// Trains and classifies with the page's own library in Node, on Dawn, the WebGPU of Chromium, and compares with the native program.
// usage: node.mjs SITE NODE_MODULES PROGRAM WEIGHTS
//   SITE is what scripts/web built, PROGRAM the native one, WEIGHTS a folder of weights files.
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { pathToFileURL } from "node:url";

const [site, modules, program, weights] = process.argv.slice(2).map((path) => resolve(path));
const { create, globals } = createRequire(`${modules}/`)("webgpu");
Object.assign(globalThis, globals);
// wgpu asks what kind of global object it is on.
globalThis.WorkerGlobalScope = class {
  static [Symbol.hasInstance]() {
    return true;
  }
};
Object.defineProperty(globalThis, "navigator", { value: { gpu: create([]) }, configurable: true });

const library = await import(pathToFileURL(`${site}/pkg/cifar_gpu_web.js`));
await library.default({ module_or_path: readFileSync(`${site}/pkg/cifar_gpu_web_bg.wasm`) });
const adapter = await navigator.gpu.requestAdapter();
if (!adapter) throw new Error("Dawn finds no adapter: it needs Mesa 25 or newer");
const { vendor, description } = adapter.info;
const folder = mkdtempSync(join(tmpdir(), "cifar-gpu-web-"));
process.on("exit", () => rmSync(folder, { recursive: true }));

let failed = 0;
const report = (name, isGood, detail) => {
  failed += isGood ? 0 : 1;
  console.log(`${isGood ? "ok    " : "FAILED"} ${name}: ${detail}`);
};

// With a higher rate, Adam makes whole steps of gradients that are nearly zero: rounding differences grow tenfold in a few steps.
const RUNS = [
  { arch: "lenet5", batch: 64, steps: 20, tolerance: 1e-5, again: true },
  { arch: "resnet20", batch: 8, steps: 3, tolerance: 1e-5 },
  { arch: "ygnet", batch: 4, steps: 3, tolerance: 1e-5 },
];
const RATE = 1e-4;
/** As many shapes as the native program draws, since a set depends on its size. */
const SHAPES = [10_000, 2_000];

/** The losses of the native program's steps on the CPU. */
function nativeLosses({ arch, batch, steps }) {
  const run = join(folder, arch);
  const settings = `--recipe practice --optimizer adam --lr ${RATE} --batch-size ${batch} --epochs 1`;
  const limits = `--limit-train ${batch * steps} --limit-test 8 --log-every 1 --device cpu --quiet`;
  execFileSync(program, `train --arch ${arch} --data synthetic ${settings} ${limits} --out ${run}`.split(" "));
  const lines = readFileSync(join(run, "metrics.jsonl"), "utf8").trim().split("\n").map((line) => JSON.parse(line));
  return lines.filter((line) => "loss" in line).map((line) => line.loss);
}

/** Trains as the page does: all losses, the last checkpoint and the weights. */
async function trained(engine, { arch, batch, steps }, checkpoint, more = {}) {
  const images = library.Images.shapes(...SHAPES);
  const changes = { optimizer: "adam", lr: RATE, batch_size: batch, epochs: 1, limit_train: batch * steps, limit_test: 8, ...more };
  const seen = { losses: [] };
  const settings = library.settings(arch, "practice", JSON.stringify(changes));
  await library.train(engine, images, settings, checkpoint, async (json, bytes) => {
    const { event, losses } = JSON.parse(json);
    if (event === "steps") seen.losses.push(...losses);
    if (event === "checkpoint" || event === "weights") seen[event] = Buffer.from(bytes);
    await new Promise((turn) => setTimeout(turn, 0));
  });
  images.free();
  return seen;
}

const largest = (actual, expected) =>
  actual.length === expected.length
    ? Math.max(...actual.map((value, at) => Math.abs(value - expected[at]) / Math.max(1, Math.abs(expected[at]))))
    : Infinity;

const engine = await library.Engine.gpu(vendor, description);
console.log(`adapter: ${JSON.parse(engine.describe()).device}`);
for (const run of RUNS) {
  const first = await trained(engine, run);
  const difference = largest(first.losses, nativeLosses(run));
  report(run.arch, difference < run.tolerance, `${first.losses.length} losses differ by ${difference.toExponential(1)} of the native CPU's`);
  if (!run.again) continue;
  const second = await trained(engine, run);
  report(`${run.arch}, again`, second.weights.equals(first.weights), "the same bits");
  // Stopped in the middle, and gone on with from its checkpoint.
  const half = await trained(engine, run, undefined, { max_steps: run.steps / 2 });
  const rest = await trained(engine, run, half.checkpoint);
  report(`${run.arch}, resumed`, rest.weights.equals(first.weights), `${half.losses.length} and ${rest.losses.length} steps, the same bits`);
}
const broken = await trained(engine, RUNS[0], Buffer.from("no checkpoint")).catch((error) => String(error.message ?? error));
report("a damaged checkpoint", typeof broken === "string" && broken.includes("checkpoint"), broken);

const planes = Uint8Array.from({ length: 4 * 3072 }, (_, at) => (at * at * 31 + at * 7) % 256);
const cpu = library.Engine.cpu();
for (const name of ["lenet5", "ygnet"]) {
  const bytes = readFileSync(join(weights, `${name}.safetensors`));
  const logits = async (on) => await library.Network.load(on, name, bytes).logits(planes);
  const [actual, expected] = [await logits(engine), await logits(cpu)];
  const difference = Math.max(...actual.map((value, at) => Math.abs(value - expected[at])));
  report(`${name}.safetensors`, difference < 1e-4, `logits differ by ${difference.toExponential(1)} of the CPU's`);
}

const lost = library.Engine.gpu(vendor, description).then(async (other) => {
  other.lose();
  await trained(other, RUNS[0]);
});
const reason = await lost.then(() => "nothing", (error) => String(error.message ?? error));
report("a lost GPU", reason.includes("lost"), reason);
process.exit(failed === 0 ? 0 : 1);
