// The page: what is chosen and shown. All computing is done in the worker.
import { startEngine } from "./engine.js";
import { element, guarded, hideProblem, say, showProblem, copyButtons } from "./parts.js";
import { setUpTry } from "./try.js";
import { setUpTrain } from "./train.js";
import { setUpReports } from "./reports.js";

const engine = startEngine();

function setUpTabs() {
  const tabs = [...document.querySelectorAll('[role="tab"]')];
  const choose = (chosen) => {
    for (const tab of tabs) {
      const isChosen = tab === chosen;
      tab.setAttribute("aria-selected", String(isChosen));
      tab.tabIndex = isChosen ? 0 : -1;
      element(tab.getAttribute("aria-controls")).hidden = !isChosen;
    }
    hideProblem();
    dispatchEvent(new Event("resize"));
  };
  for (const [at, tab] of tabs.entries()) {
    tab.addEventListener("click", () => choose(tab));
    tab.addEventListener("keydown", (event) => {
      const move = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (!move) return;
      const next = tabs[(at + move + tabs.length) % tabs.length];
      next.focus();
      choose(next);
    });
  }
}

/** The GPU, or else the CPU. */
async function open() {
  const wanted = new URLSearchParams(location.search).get("device") ?? (navigator.gpu ? "gpu" : "cpu");
  try {
    return await engine.call("open", [wanted]);
  } catch (error) {
    if (wanted === "cpu") throw error;
    showProblem(`The GPU cannot be used: ${error.message}. The CPU is used instead.`);
    return await engine.call("open", ["cpu"]);
  }
}

setUpTabs();
guarded(async () => {
  const device = await open();
  const why = device.is_gpu
    ? device.is_software ? " – a software renderer, not a real GPU" : ""
    : " – this browser offers no WebGPU, so the same kernels' twins run on one thread of the CPU, which is slow";
  say("device", device.device.replace(/, BrowserWebGpu, ?\)/, ", WebGPU)") + why);
  setUpTry(engine, device);
  setUpTrain(engine, device);
  setUpReports(engine, device);
  copyButtons();
  document.documentElement.dataset.ready = "true";
})();
if ("serviceWorker" in navigator && location.protocol !== "file:") {
  navigator.serviceWorker.register("offline.js").catch(() => {});
}
