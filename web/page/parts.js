// Small things that all parts of the page share.

export const element = (id) => document.getElementById(id);

export function say(id, text) {
  element(id).textContent = text;
}

export function showProblem(text) {
  const problem = element("problem");
  problem.textContent = text;
  problem.hidden = false;
}

export function hideProblem() {
  element("problem").hidden = true;
}

/** A handler that shows what goes wrong. */
export const guarded = (work) => async (...args) => {
  try {
    return await work(...args);
  } catch (error) {
    showProblem(error.message);
    return undefined;
  }
};

/** A new element with text and a class. */
export function make(tag, text = "", name = "") {
  const made = document.createElement(tag);
  made.textContent = text;
  made.className = name;
  return made;
}

/** Offers bytes as a download. */
export function download(name, bytes) {
  const link = make("a");
  link.href = URL.createObjectURL(new Blob([bytes], { type: "application/octet-stream" }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

/** Files dropped onto an element, folders with all that is in them: [{name, file}]. */
export function onDrop(target, take) {
  target.addEventListener("dragover", (event) => {
    event.preventDefault();
    target.classList.add("over");
  });
  target.addEventListener("dragleave", () => target.classList.remove("over"));
  target.addEventListener("drop", guarded(async (event) => {
    event.preventDefault();
    target.classList.remove("over");
    const entries = [...event.dataTransfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
    const files = [];
    for (const entry of entries) files.push(...(await filesBelow(entry)));
    await take(files);
  }));
}

async function filesBelow(entry) {
  if (entry.isFile) {
    const file = await new Promise((resolve, reject) => entry.file(resolve, reject));
    return [{ name: entry.fullPath.replace(/^\//, ""), file }];
  }
  const reader = entry.createReader();
  const files = [];
  for (;;) {
    const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    if (some.length === 0) return files;
    for (const below of some) files.push(...(await filesBelow(below)));
  }
}

/** The camera, shown by a video element until it is stopped. */
export async function openCamera(video) {
  if (!navigator.mediaDevices) throw new Error("This page may not use the camera: open it over https or from localhost.");
  const stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
  video.srcObject = stream;
  await video.play();
  return () => stream.getTracks().forEach((track) => track.stop());
}

/** The middle square of a video's picture as a PNG file. */
export async function shot(video) {
  const side = Math.min(video.videoWidth, video.videoHeight);
  const canvas = make("canvas");
  canvas.width = canvas.height = Math.min(side, 256);
  const [x, y] = [(video.videoWidth - side) / 2, (video.videoHeight - side) / 2];
  canvas.getContext("2d").drawImage(video, x, y, side, side, 0, 0, canvas.width, canvas.height);
  return await new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
}

export const bytesOf = async (blob) => new Uint8Array(await blob.arrayBuffer());

/** Reports that are copied: by the id of their buttons' row. */
export const reports = new Map();

export function copyButtons() {
  for (const button of document.querySelectorAll("[data-copy]")) {
    button.addEventListener("click", guarded(async () => {
      await navigator.clipboard.writeText(reports.get(button.parentElement.id)[button.dataset.copy]);
      const before = button.textContent;
      button.textContent = "Copied";
      setTimeout(() => (button.textContent = before), 1500);
    }));
  }
}
