// The worker as functions that return promises.

/** Starts a worker. `call(name, args, hear)`; `hear(event, bytes)` may return an answer, or a promise of one. */
export function startEngine() {
  const worker = new Worker(new URL("./worker.js", import.meta.url), { type: "module" });
  const waiting = new Map();
  let made = 0;
  worker.onmessage = async ({ data }) => {
    const { id, event, bytes, result, error } = data;
    const request = waiting.get(id);
    if (!request) return;
    if (event !== undefined) {
      worker.postMessage({ id, answer: await request.hear(event, bytes) });
      return;
    }
    waiting.delete(id);
    if (error === undefined) request.resolve(result);
    else request.reject(new Error(error));
  };
  // Out of memory, or a file that did not load.
  worker.onerror = (event) => {
    event.preventDefault();
    for (const request of waiting.values()) request.reject(new Error(event.message || "the worker could not be started"));
    waiting.clear();
  };
  return {
    call: (call, args = [], hear = () => undefined, transfer = []) =>
      new Promise((resolve, reject) => {
        const id = ++made;
        waiting.set(id, { resolve, reject, hear });
        worker.postMessage({ id, call, args }, transfer);
      }),
    stop: () => worker.terminate(),
  };
}
