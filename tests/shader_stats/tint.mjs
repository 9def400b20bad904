// Compiles shader variants with Tint, the compiler of Chromium's WebGPU, and creates their pipelines with the limits that every
// browser gives. `scripts/tint` calls it.
// usage: node tint.mjs VARIANTS.json MODULES     MODULES is the folder node_modules with the package `webgpu`

import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { resolve } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

// Processes that create many pipelines have crashed in some drivers.
const PER_PROCESS = 60;
// After so many variants that fail the rest is left out.
const MOST_FAILURES = 20;
// Dawn's stand-in for a driver: Tint and all of WebGPU's checks, with any feature, and nothing runs.
const BACKEND = process.env.DAWN_BACKEND ?? 'null';

const [file, modules, first] = process.argv.slice(2);
const variants = JSON.parse(readFileSync(file, 'utf8'));

// How many of a chunk compile before one does not; that one is told of.
async function compile(chunk) {
  const entry = createRequire(resolve(modules, 'x.js')).resolve('webgpu');
  const { create, globals } = await import(pathToFileURL(entry));
  Object.assign(globalThis, globals);
  const adapter = await create([`backend=${BACKEND}`]).requestAdapter();
  if (!adapter) throw new Error(`Dawn finds no adapter of its backend ${BACKEND}`);
  const wanted = ['shader-f16', 'subgroups'];
  const missing = wanted.filter((feature) => !adapter.features.has(feature));
  if (missing.length) throw new Error(`the adapter lacks ${missing.join(', ')}`);
  // No limits are asked for: those of every browser hold.
  const device = await adapter.requestDevice({ requiredFeatures: wanted });
  let done = 0;
  for (const { kernel, constants, source, bindings } of chunk) {
    device.pushErrorScope('validation');
    const module = device.createShaderModule({ code: source });
    const entries = bindings.map((type, binding) => ({ binding, visibility: 4 /* compute */, buffer: { type } }));
    const bindGroupLayouts = [device.createBindGroupLayout({ entries })];
    const layout = device.createPipelineLayout({ bindGroupLayouts });
    device.createComputePipeline({ layout, compute: { module } });
    const message = (await device.popErrorScope())?.message;
    if (message) {
      console.error(`${kernel} ${constants}: ${message}\n`);
      // Dawn stands a few errors in a process.
      break;
    }
    done += 1;
  }
  return done;
}

if (first !== undefined) {
  const done = await compile(variants.slice(Number(first), Number(first) + PER_PROCESS));
  // Dawn keeps the process alive.
  process.stdout.write(`${done}\n`, () => process.exit(0));
} else {
  if (variants.length === 0) throw new Error('there are no variants');
  let failed = 0;
  let start = 0;
  while (start < variants.length && failed < MOST_FAILURES) {
    const own = [fileURLToPath(import.meta.url), file, modules, String(start)];
    const { status, signal, stdout } = spawnSync(process.execPath, own, { stdio: ['ignore', 'pipe', 'inherit'], encoding: 'utf8' });
    if (status !== 0) {
      console.error(`error: variants from ${start} on: the process ended with ${signal ?? status}`);
      process.exit(1);
    }
    const end = Math.min(start + PER_PROCESS, variants.length);
    start += Number(stdout.trim().split('\n').at(-1));
    if (start < end) {
      failed += 1;
      start += 1;
    }
  }
  const rest = variants.length - start;
  console.log(`${start - failed} of ${variants.length} variants compile, ${failed} do not` + (rest ? `, ${rest} were not tried` : ''));
  process.exit(failed ? 1 : 0);
}
