// The page: starts the worker, and connects it with the sections.

const data = JSON.parse(document.getElementById("data").textContent);

/** Returns functions that talk to the worker. A newer job of one kind replaces an older one, whose promise becomes
    null; the promise of a job that fails is rejected. */
function startWorker() {
  const source = new Blob([document.getElementById("worker").textContent], { type: "text/javascript" });
  const url = URL.createObjectURL(source), worker = new Worker(url);
  const jobs = new Map(), newest = new Map();
  let last = 0;
  worker.onmessage = ({ data: { job, items, done, error, ...answer } }) => {
    const { onItems, resolve, reject } = jobs.get(job) ?? {};
    if (items) onItems?.(items);
    if (!done || !jobs.delete(job)) return;
    if (error) reject(new RangeError(error));
    else resolve(answer);
  };
  const report = ({ message = "" }) => {
    document.body.prepend(element("p", {}, `The model could not be started: ${message}`));
  };
  worker.onerror = report;
  const end = (kind) => {
    const job = newest.get(kind);
    jobs.get(job)?.resolve(null);
    jobs.delete(job);
  };
  const ask = (message, onItems) => new Promise((resolve, reject) => {
    const job = ++last;
    if (["write", "read", "unit"].includes(message.do)) {
      end(message.do);
      newest.set(message.do, job);
    }
    jobs.set(job, { onItems, resolve, reject });
    worker.postMessage({ ...message, job });
  });
  const stop = (kind) => {
    end(kind);
    worker.postMessage({ do: "stop", kind, job: ++last });
  };
  return { ask, stop, report };
}

/** Returns the characters of the vocabulary by id, and their names; bytes that are not ASCII are shown as numbers. */
function vocabularyOf({ vocabulary, unknown, level }) {
  const characters = vocabulary.map((point, id) => (id === unknown ? "\ufffd" : String.fromCodePoint(point)));
  const names = characters.map((character, id) => (id === unknown ? "unknown" : level === "byte" && vocabulary[id] > 126
    ? `0x${vocabulary[id].toString(16)}` : named(character)));
  return { characters, names };
}

/** Returns a promise that is kept when the whole page has arrived: the weights come last. */
function arrived() {
  if (document.readyState !== "loading") return Promise.resolve();
  return new Promise((resolve) => { document.addEventListener("DOMContentLoaded", resolve); });
}

/** Starts the worker at once, so that it is ready when the weights have arrived, and then the sections. */
function start() {
  Object.assign(data, vocabularyOf(data.model));
  document.documentElement.classList.add("has-script");
  const worker = startWorker();
  const loaded = arrived().then(() => {
    const weights = document.getElementById("weights").textContent;
    worker.ask({ do: "load", model: data.model, dtype: data.dtype, weights }).catch(worker.report);
    const read = startReading(worker, data);
    startWriting(worker, data);
    read();
  });
  const after = async (message) => {
    await loaded;
    return worker.ask(message);
  };
  window.charrnn = {
    logits: async (string) => (await after({ do: "logits", string })).logits,
    sample: async (settings = {}) => (await after({ do: "sample", settings })).text,
  };
}

startReplay();
if (data.model) start();
