// Train: images, a network and a recipe are chosen, and training is followed, paused, stopped and gone on with.
import { confusionOf, drawCurves, mapsOf, pictureOf, barsOf } from "./charts.js";
import { bytesOf, download, element, guarded, make, onDrop, openCamera, say, shot } from "./parts.js";
import { loadRun, removeRun, saveRun } from "./store.js";

/** The one run that the browser keeps. */
const RUN = "last";
/** The built-in shapes, as many as natively. */
const SHAPES = [10_000, 2_000];
/** Milliseconds between checkpoints within an epoch. */
const CHECKPOINT_INTERVAL = 30_000;
/** Points of the loss's curve; with more, every second one is left out. */
const MOST_POINTS = 1500;
/** Test pictures that are shown. */
const SHOWN = 24;

export function setUpTrain(engine) {
  let source = { kind: "shapes" };
  let run;
  let state = "idle";
  let wake;
  let commands = [];

  const setState = (next) => {
    state = next;
    element("train-start").disabled = next !== "idle";
    element("train-pause").disabled = next === "idle";
    element("train-pause").textContent = next === "paused" ? "Go on" : "Pause";
    element("train-stop").disabled = next === "idle";
  };

  /** The files of a source, as the worker takes them. */
  const loadImages = async () => {
    if (source.kind === "shapes") return await engine.call("shapes", SHAPES);
    const files = [];
    for (const { name, file } of source.files) files.push({ name, bytes: await bytesOf(file) });
    return await engine.call("files", [source.name, files], undefined, files.map((file) => file.bytes.buffer));
  };

  const take = (name, files) => {
    if (files.length === 0) return;
    source = { kind: "files", name, files };
    say("train-data", `${name}: ${files.length} ${files.length === 1 ? "file" : "files"}, read when training starts`);
  };

  const show = () => {
    drawCurves(element("chart-loss"), [{ name: "training", points: run.losses }]);
    const accuracies = (key) => run.epochs.map((epoch) => [epoch.epoch, 100 * epoch[key]]);
    drawCurves(element("chart-accuracy"), [
      { name: "test, %", points: accuracies("test_accuracy") },
      { name: "training, %", points: accuracies("train_accuracy") },
    ], { low: 0, high: 100 });
    const table = make("table");
    const head = table.createTHead().insertRow();
    for (const text of ["Epoch", "Training loss", "Training accuracy", "Test loss", "Test accuracy", "Images/s"]) {
      head.append(Object.assign(make("th", text), { scope: "col" }));
    }
    const body = table.createTBody();
    for (const epoch of run.epochs.slice(-10)) {
      const percent = (share) => `${(100 * share).toFixed(2)} %`;
      const cells = [epoch.epoch, epoch.train_loss.toFixed(4), percent(epoch.train_accuracy), epoch.test_loss.toFixed(4),
        percent(epoch.test_accuracy), epoch.images_per_second.toFixed(0)];
      body.insertRow().append(...cells.map((text) => make("td", String(text))));
    }
    element("train-epochs-table").replaceChildren(table);
  };

  const showGuesses = (set, guesses) => {
    const shown = set.pictures.map(({ planes, label }, index) => {
      const button = make("button");
      button.type = "button";
      const guess = guesses[index];
      const isWrong = guess && guess[0] !== label;
      button.append(pictureOf(planes, set.height, set.width, set.channels));
      button.append(make("span", guess ? `${set.classes[guess[0]]} ${(100 * guess[1]).toFixed(0)} %` : set.classes[label], isWrong ? "wrong" : ""));
      button.title = `true class: ${set.classes[label]}`;
      button.addEventListener("click", () => {
        commands.push(`observe ${index}`);
        if (state === "idle") say("train-status", "Layers are shown while training is under way.");
        if (state === "paused") resume();
      });
      return button;
    });
    element("guesses").replaceChildren(...shown);
  };

  const showLayers = (set, { image, answer }, bytes) => {
    const values = new Float32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4);
    const parts = [make("h3", `Test picture ${image + 1}, ${set.classes[set.pictures[image]?.label]}`), barsOf(set.classes, answer.probabilities)];
    let start = 0;
    for (const { name, shape } of answer.layers) {
      const count = shape.reduce((a, b) => a * b, 1);
      if (shape.length === 3) {
        const maps = make("div", "", "maps");
        maps.append(...mapsOf(values.subarray(start, start + count), shape, 16));
        parts.push(make("p", `${name}, ${shape.join(" × ")}`, "faint"), maps);
      }
      start += count;
    }
    element("layers").replaceChildren(...parts);
  };

  const resume = () => {
    setState("running");
    wake?.();
    wake = undefined;
  };

  /** Follows training to its end. */
  const follow = async (set) => {
    let saved = performance.now();
    let drawn = 0;
    const progress = { step: 0, total: 0, images: 0, since: performance.now() };
    const hear = async (event, bytes) => {
      switch (event.event) {
        case "started":
          progress.total = event.total_steps;
          say("train-status", `${event.parameters.toLocaleString()} parameters, ${event.total_steps.toLocaleString()} steps`);
          break;
        case "tuned":
          say("train-status", `${event.layer}: ${event.plan}`);
          break;
        case "steps": {
          event.losses.forEach((loss, at) => run.losses.push([event.step - event.losses.length + at + 1, loss]));
          if (run.losses.length > MOST_POINTS) run.losses = run.losses.filter((_, at) => at % 2 === 0);
          progress.images += event.images;
          const now = performance.now();
          const speed = (1000 * progress.images) / (now - progress.since);
          say("train-status", `epoch ${event.epoch}, step ${event.step} of ${progress.total}, loss ${event.loss.toFixed(4)}, ${speed.toFixed(0)} images/s`);
          if (now - drawn > 500) {
            show();
            drawn = performance.now();
          }
          if (state === "paused") {
            await new Promise((resolve) => (wake = resolve));
            Object.assign(progress, { images: 0, since: performance.now() });
          }
          if (state === "stopping") return "stop";
          if (commands.length > 0) return commands.shift();
          if (now - saved > CHECKPOINT_INTERVAL) {
            saved = now;
            return "checkpoint";
          }
          break;
        }
        case "epoch":
          run.epochs.push(event.metrics);
          element("confusion").replaceChildren(confusionOf(event.confusion, set.classes));
          showGuesses(set, event.guesses);
          show();
          Object.assign(progress, { images: 0, since: performance.now() });
          break;
        case "checkpoint":
          Object.assign(run, { checkpoint: bytes, step: event.step });
          await saveRun(run).catch((error) => say("train-data", `The checkpoint could not be saved: ${error.message}`));
          break;
        case "observed":
          showLayers(set, event, bytes);
          break;
        case "weights":
          run.weights = bytes;
          element("train-weights").disabled = false;
          break;
      }
      return undefined;
    };
    await engine.call("train", [set.images, run.config, run.checkpoint], hear);
  };

  const start = async () => {
    hidePrompt();
    setState("running");
    let set;
    try {
      say("train-status", "Reading the images…");
      set = await loadImages();
      say("train-data", [`${set.train} images to train on, ${set.test} to test, ${set.classes.length} classes`, ...set.notes].join("; "));
      set.pictures = await engine.call("testImages", [set.images, SHOWN]);
      showGuesses(set, []);
      await follow(set);
      say("train-status", state === "stopping" ? `Stopped after step ${run.step}; the run is kept.` : `Done: ${run.epochs.length} epochs.`);
    } catch (error) {
      say("train-status", "");
      const rescue = run?.checkpoint ? ` The run is kept up to step ${run.step}: reload the page to go on.` : "";
      throw new Error(error.message + rescue);
    } finally {
      if (set) await engine.call("free", [set.images]).catch(() => {});
      setState("idle");
      await offer();
    }
  };

  /** Offers to go on with the run that the browser keeps. */
  const offer = async () => {
    const kept = await loadRun(RUN).catch(() => undefined);
    const isComplete = kept && kept.epochs.length >= kept.config.epochs;
    element("train-resume").hidden = !kept || isComplete;
    if (kept) say("train-resume-text", `A run of ${kept.config.arch} is kept, at step ${kept.step}.`);
    if (kept?.weights) {
      run ??= kept;
      element("train-weights").disabled = false;
    }
  };
  const hidePrompt = () => (element("train-resume").hidden = true);

  element("train-form").addEventListener("submit", guarded(async (event) => {
    event.preventDefault();
    const [arch, recipe] = [element("train-arch").value, element("train-recipe").value];
    if (element("train-source").value === "shapes") source = { kind: "shapes" };
    else if (element("train-source").value === "classes") source = await classes.source();
    else if (source.kind !== "files") throw new Error("Choose a folder or an archive first.");
    const config = await engine.call("settings", [arch, recipe, { epochs: Number(element("train-epochs").value) }]);
    run = { id: RUN, config, source, epochs: [], losses: [], step: 0 };
    element("train-weights").disabled = true;
    await start();
  }));
  element("train-pause").addEventListener("click", () => (state === "paused" ? resume() : setState("paused")));
  element("train-stop").addEventListener("click", () => {
    setState("stopping");
    wake?.();
    wake = undefined;
  });
  element("train-weights").addEventListener("click", () => download(`${run.config.arch}.safetensors`, run.weights));
  element("train-resume-go").addEventListener("click", guarded(async () => {
    run = await loadRun(RUN);
    source = run.source;
    show();
    await start();
  }));
  element("train-resume-drop").addEventListener("click", guarded(async () => {
    await removeRun(RUN);
    hidePrompt();
  }));
  element("train-source").addEventListener("change", ({ target }) => {
    element("train-files").hidden = target.value !== "files";
    element("train-classes").hidden = target.value !== "classes";
    element("train-recipe").value = target.value === "shapes" ? "practice" : "fast";
    if (target.value === "classes") classes.begin();
  });
  element("train-archive").addEventListener("change", ({ target }) => {
    const [file] = target.files;
    if (file) take(file.name, [{ name: file.name, file }]);
  });
  element("train-folder").addEventListener("change", ({ target }) => {
    const files = [...target.files].map((file) => ({ name: file.webkitRelativePath || file.name, file }));
    take(files[0]?.name.split("/")[0] ?? "folder", files);
  });
  onDrop(element("train-files"), async (files) => take(files[0]?.name.split("/")[0] ?? "files", files));
  const redraw = () => run && !element("train").hidden && show();
  addEventListener("resize", redraw);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);

  const classes = ownClasses();
  setState("idle");
  guarded(offer)();
}

/** Classes of one's own, from the camera and from pictures. */
function ownClasses() {
  const list = [];
  let closeCamera;

  const add = () => {
    const own = { name: `class ${list.length + 1}`, files: [] };
    list.push(own);
    const row = make("div", "", "class card drop");
    const label = make("label", "Name");
    const name = Object.assign(make("input"), { value: own.name });
    name.addEventListener("input", () => (own.name = name.value));
    label.append(name);
    const count = make("span", "no pictures yet", "faint");
    const put = (files) => {
      own.files.push(...files);
      count.textContent = `${own.files.length} pictures`;
    };
    const camera = Object.assign(make("button", "Hold to record"), { type: "button" });
    let timer;
    const record = guarded(async () => {
      const video = element("train-video");
      if (video.hidden) {
        video.hidden = false;
        closeCamera = await openCamera(video);
      }
      clearInterval(timer);
      timer = setInterval(async () => put([await shot(video)]), 100);
    });
    const release = () => clearInterval(timer);
    camera.addEventListener("pointerdown", record);
    for (const end of ["pointerup", "pointerleave", "blur", "keyup"]) camera.addEventListener(end, release);
    camera.addEventListener("keydown", (event) => {
      if (event.key === " " && !event.repeat) record();
    });
    const pick = make("label", "Pictures ", "file");
    const input = Object.assign(make("input"), { type: "file", accept: "image/*", multiple: true });
    input.addEventListener("change", () => put([...input.files]));
    pick.append(input);
    onDrop(row, async (files) => put(files.map(({ file }) => file)));
    row.append(label, camera, pick, count);
    element("train-class-list").append(row);
  };
  element("train-add-class").addEventListener("click", add);
  return {
    begin() {
      while (list.length < 2) add();
    },
    async source() {
      closeCamera?.();
      element("train-video").hidden = true;
      const names = new Set(list.map(({ name }) => name.trim()));
      if (names.size < list.length || names.has("")) throw new Error("Each class needs a name of its own.");
      const empty = list.find(({ files }) => files.length < 2);
      if (empty) throw new Error(`${empty.name} needs at least two pictures: one of ten is kept for testing.`);
      const ending = (file) => (file.type === "image/jpeg" ? "jpg" : file.type.split("/")[1] || "png");
      const files = list.flatMap(({ name, files: own }) =>
        own.map((file, at) => ({ name: `${name.trim().replaceAll("/", "-")}/${String(at).padStart(5, "0")}.${ending(file)}`, file })));
      return { kind: "files", name: "own classes", files };
    },
  };
}
