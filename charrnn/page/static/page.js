// The page: starts the worker, and connects it with the sections.

const data = JSON.parse(document.getElementById("data").textContent);

/** Returns functions that talk to the worker. A newer job of one kind replaces an older one, whose promise becomes null. */
function startWorker() {
  const source = new Blob([document.getElementById("worker").textContent], {type: "text/javascript"});
  const url = URL.createObjectURL(source), worker = new Worker(url);
  const jobs = new Map(), newest = new Map();
  let last = 0;
  worker.onmessage = ({data: {job, items, done, ...answer}}) => {
    const {onItems, resolve} = jobs.get(job) ?? {};
    if (items) onItems?.(items);
    if (done && jobs.delete(job)) resolve(answer);
  };
  worker.onerror = (event) => document.body.prepend(element("p", {}, `The model could not be started: ${event.message ?? ""}`));
  const end = (kind) => {
    const job = newest.get(kind);
    jobs.get(job)?.resolve(null);
    jobs.delete(job);
  };
  const ask = (message, onItems) => new Promise((resolve) => {
    const job = ++last;
    if (["write", "read", "unit"].includes(message.do)) {
      end(message.do);
      newest.set(message.do, job);
    }
    jobs.set(job, {onItems, resolve});
    worker.postMessage({...message, job});
  });
  const stop = (kind) => {
    end(kind);
    worker.postMessage({do: "stop", kind, job: ++last});
  };
  return {ask, stop};
}

/** Returns the characters of the vocabulary by id, and their names; bytes that are not ASCII are shown as numbers. */
function vocabularyOf({vocabulary, unknown, level}) {
  const characters = vocabulary.map((point, id) => (id === unknown ? "\ufffd" : String.fromCodePoint(point)));
  const names = characters.map((character, id) => (id === unknown ? "unknown" : level === "byte" && vocabulary[id] > 126
    ? `0x${vocabulary[id].toString(16)}` : named(character)));
  return {characters, names};
}

startReplay();
if (data.model) {
  Object.assign(data, vocabularyOf(data.model));
  document.documentElement.classList.add("has-script");
  const worker = startWorker();
  window.charrnn = {
    logits: async (string) => (await worker.ask({do: "logits", string})).logits,
    sample: async (settings = {}) => (await worker.ask({do: "sample", settings})).text,
  };
  worker.ask({do: "load", model: data.model, dtype: data.dtype, weights: document.getElementById("weights").textContent});
  const read = startReading(worker, data);
  startWriting(worker, data);
  read();
}
