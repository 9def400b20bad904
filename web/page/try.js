// Try it: pictures in, classes out.
import { barsOf, mapsOf, pictureOf } from "./charts.js";
import { bytesOf, element, guarded, make, onDrop, openCamera, shot } from "./parts.js";

/** Pictures that stay on the page. */
const MOST_SHOWN = 20;

export function setUpTry(engine) {
  let network;
  let closeCamera;

  const load = async (name, bytes) => {
    if (network) await engine.call("free", [network.network]);
    network = await engine.call("loadNetwork", [name, bytes]);
  };
  const shipped = async () => {
    const name = element("try-network").value;
    const answer = await fetch(`weights/${name}.safetensors`);
    if (!answer.ok) throw new Error(`weights/${name}.safetensors cannot be loaded: ${answer.status} ${answer.statusText}`);
    await load(`${name}.safetensors`, new Uint8Array(await answer.arrayBuffer()));
  };

  const classify = async (name, blob) => {
    if (!network) await shipped();
    const { network: handle, classes, height, width, channels } = network;
    const planes = await engine.call("planes", [handle, name, await bytesOf(blob)]);
    const start = performance.now();
    const { probabilities, layers, values } = await engine.call("observe", [handle, planes]);
    const milliseconds = performance.now() - start;
    const card = make("article", "", "card answer");
    const picture = pictureOf(planes, height, width, channels);
    picture.className = "picture";
    picture.setAttribute("role", "img");
    picture.setAttribute("aria-label", `${name}, as the network sees it`);
    const right = make("div");
    right.append(make("h3", name), barsOf(classes, probabilities), make("p", `${milliseconds.toFixed(1)} ms, with all layers read back`, "faint"));
    const first = layers.find((layer) => layer.shape.length === 3);
    if (first) {
      const maps = make("div", "", "maps");
      maps.append(...mapsOf(values, first.shape));
      right.append(make("p", `What the filters of the first convolution answer (${first.shape[2]} filters)`, "faint"), maps);
    }
    card.append(picture, right);
    const results = element("try-results");
    results.prepend(card);
    while (results.children.length > MOST_SHOWN) results.lastChild.remove();
  };
  const classifyAll = async (files) => {
    for (const { name, file } of files) await classify(name, file);
  };

  element("try-network").addEventListener("change", guarded(shipped));
  element("try-weights").addEventListener("change", guarded(async ({ target }) => {
    const [file] = target.files;
    if (file) await load(file.name, await bytesOf(file));
  }));
  element("try-files").addEventListener("change", guarded(async ({ target }) => {
    await classifyAll([...target.files].map((file) => ({ name: file.name, file })));
    target.value = "";
  }));
  onDrop(element("try-drop"), classifyAll);
  addEventListener("paste", guarded(async (event) => {
    if (element("try").hidden) return;
    await classifyAll([...event.clipboardData.files].map((file) => ({ name: file.name || "pasted picture", file })));
  }));
  element("try-camera").addEventListener("click", guarded(async () => {
    element("try-live").hidden = false;
    try {
      closeCamera = await openCamera(element("try-video"));
    } catch (error) {
      element("try-live").hidden = true;
      throw error;
    }
  }));
  element("try-shot").addEventListener("click", guarded(async () => classify("camera", await shot(element("try-video")))));
  element("try-stop").addEventListener("click", () => {
    closeCamera?.();
    element("try-live").hidden = true;
  });
}
