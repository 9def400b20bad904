// Trains and classifies with the page's own library in Node, on Dawn, the WebGPU of Chromium, and compares with the native program.
// usage: node.mjs SITE NODE_MODULES PROGRAM WEIGHTS
//   SITE is what scripts/web built, PROGRAM the native one, WEIGHTS a folder of weights files.
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { SHAPES, changesOf, largest, nativeLogits, nativeLosses } from "./native.mjs";

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

const RUNS = [
  { arch: "lenet5", batch: 64, steps: 20, tolerance: 1e-5, again: true },
  { arch: "resnet20", batch: 8, steps: 3, tolerance: 1e-5 },
  { arch: "ygnet", batch: 4, steps: 3, tolerance: 1e-5 },
];
/** Trains as the page does: all losses, the last checkpoint and the weights. */
async function trained(engine, run, checkpoint, more = {}) {
  const images = library.Images.shapes(...SHAPES);
  const seen = { losses: [] };
  const settings = library.settings(run.arch, "practice", JSON.stringify({ ...changesOf(run), ...more }));
  await library.train(engine, images, settings, checkpoint, async (json, bytes) => {
    const { event, losses } = JSON.parse(json);
    if (event === "steps") seen.losses.push(...losses);
    if (event === "checkpoint" || event === "weights") seen[event] = Buffer.from(bytes);
    await new Promise((turn) => setTimeout(turn, 0));
  });
  images.free();
  return seen;
}

const engine = await library.Engine.gpu(vendor, description);
console.log(`adapter: ${JSON.parse(engine.describe()).device}`);
for (const run of RUNS) {
  const first = await trained(engine, run);
  const difference = largest(first.losses, nativeLosses(program, folder, run));
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

const images = [1, 2, 3, 4].map((seed) => Uint8Array.from({ length: 3072 }, (_, at) => (at * at * 31 * seed + at * 7) % 256));
const cpu = library.Engine.cpu();
for (const name of ["lenet5", "resnet20", "ygnet"]) {
  const bytes = readFileSync(join(weights, `${name}.safetensors`));
  const logits = async (on) => [...(await library.Network.load(on, name, bytes).logits(Buffer.concat(images)))];
  const expected = nativeLogits(program, folder, join(weights, `${name}.safetensors`), images);
  for (const [device, actual] of [["Dawn", await logits(engine)], ["the page's CPU", await logits(cpu)]]) {
    const difference = Math.max(...actual.map((value, at) => Math.abs(value - expected[at])));
    const isGood = actual.length === expected.length && difference < 1e-4;
    report(`${name}.safetensors on ${device}`, isGood, `logits differ by ${difference.toExponential(1)} of the native ones`);
  }
}

const lost = library.Engine.gpu(vendor, description).then(async (other) => {
  other.lose();
  await trained(other, RUNS[0]);
});
const reason = await lost.then(() => "nothing", (error) => String(error.message ?? error));
report("a lost GPU", reason.includes("lost"), reason);
process.exit(failed === 0 ? 0 : 1);
