// Runs the library in a thread of its own. A request is {id, call, arguments}; its answer {id, result} or {id, error}; what happens
// meanwhile is told as {id, event, bytes}. A request may be held up by answering an event late: {id, answer}.
import { asLibrarys, filesAsLibrarys } from "./pictures.js";
import init, { Engine, Images, Network, bench, check, settings, train } from "./pkg/cifar_gpu_web.js";

let engine;
const objects = new Map();
let objectsMade = 0;
const answers = new Map();

const keep = (object) => {
  objects.set(++objectsMade, object);
  return objectsMade;
};

/** The adapter that the library will open, as the browser describes it. */
async function adapterInfo() {
  const adapter = await navigator.gpu?.requestAdapter({ powerPreference: "high-performance" });
  if (!adapter) return undefined;
  const { vendor, architecture, device, description } = adapter.info;
  const name = description || [vendor, architecture, device].filter(Boolean).join(" ") || "unnamed GPU";
  return { vendor, name };
}

const calls = {
  async open(_hear, kind) {
    await init();
    const info = kind === "cpu" ? undefined : await adapterInfo();
    engine?.free();
    engine = info ? await Engine.gpu(info.vendor, info.name) : Engine.cpu();
    return JSON.parse(engine.describe());
  },
  lose: () => engine.lose(),
  loadNetwork(_hear, name, bytes) {
    const network = Network.load(engine, name, bytes);
    return { network: keep(network), ...JSON.parse(network.describe()) };
  },
  planes: async (_hear, network, name, bytes) => objects.get(network).planes(name, await asLibrarys(bytes)),
  logits: (_hear, network, planes) => objects.get(network).logits(planes),
  async observe(_hear, network, planes) {
    const observed = await objects.get(network).observe(planes);
    const answer = { ...JSON.parse(observed.answer), values: observed.take_values() };
    observed.free();
    return answer;
  },
  shapes(_hear, train, test) {
    const images = Images.shapes(train, test);
    return { images: keep(images), ...JSON.parse(images.describe()) };
  },
  async files(_hear, name, files) {
    await filesAsLibrarys(files);
    const images = Images.files(name, files.map((file) => file.name), files.map((file) => file.bytes));
    return { images: keep(images), ...JSON.parse(images.describe()) };
  },
  testImages(_hear, images, count) {
    const set = objects.get(images);
    const shown = [];
    for (let index = 0; index < count; index++) {
      const planes = set.test_image(index);
      if (!planes) break;
      shown.push({ planes, label: set.test_label(index) });
    }
    return shown;
  },
  free(_hear, object) {
    objects.get(object)?.free();
    objects.delete(object);
  },
  settings: (_hear, arch, recipe, changes) => JSON.parse(settings(arch, recipe, JSON.stringify(changes))),
  train: (hear, images, config, checkpoint) =>
    train(engine, objects.get(images), JSON.stringify(config), checkpoint, hear),
  check: (hear) => check(engine, hear),
  bench: async (_hear, arch, mode, batch, steps) => JSON.parse(await bench(engine, arch, mode, batch, steps)),
};

/** Why the library can no longer be used: after a trap, nothing that it holds can be relied on. */
let end;

/** Tells an event, and waits for its answer; the event loop turns meanwhile. */
const teller = (id) => (json, bytes) =>
  new Promise((resolve) => {
    answers.set(id, resolve);
    postMessage({ id, event: JSON.parse(json), bytes }, bytes ? [bytes.buffer] : []);
  });

self.onmessage = async ({ data }) => {
  const { id, call, args, answer } = data;
  if (call === undefined) {
    answers.get(id)?.(answer);
    answers.delete(id);
    return;
  }
  try {
    if (end) throw end;
    postMessage({ id, result: await calls[call](teller(id), ...args) });
  } catch (error) {
    if (error instanceof WebAssembly.RuntimeError) {
      end = new Error(`The library ended (${error.message}): most likely this tab has no more memory. Reload the page.`);
    }
    const reason = end ?? error;
    postMessage({ id, error: String(reason?.message ?? reason) });
  }
};
