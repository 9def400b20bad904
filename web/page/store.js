// The browser's storage: runs with their settings, checkpoints, metrics and the files they were trained on.

const NAME = "cifar-gpu";
const RUNS = "runs";

function open() {
  return new Promise((resolve, reject) => {
    const request = indexedDB.open(NAME, 1);
    request.onupgradeneeded = () => request.result.createObjectStore(RUNS, { keyPath: "id" });
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}

async function within(mode, work) {
  const database = await open();
  try {
    return await new Promise((resolve, reject) => {
      const transaction = database.transaction(RUNS, mode);
      const request = work(transaction.objectStore(RUNS));
      // A write counts once the transaction is complete.
      transaction.oncomplete = () => resolve(request.result);
      transaction.onabort = () => reject(transaction.error);
      transaction.onerror = () => reject(transaction.error);
    });
  } finally {
    database.close();
  }
}

/** Saves a run: {id, config, source, epochs, losses, checkpoint, step}. */
export const saveRun = (run) => within("readwrite", (runs) => runs.put(run));
export const loadRun = (id) => within("readonly", (runs) => runs.get(id));
export const removeRun = (id) => within("readwrite", (runs) => runs.delete(id));
