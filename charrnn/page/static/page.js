// The start of the page: the worker, and then the sections, which talk to it.

const data = JSON.parse(document.getElementById("data").textContent);

/** Say at the top of the page why the model does not run. */
function report(message) {
  const line = document.getElementById("failure") ?? element("p", { id: "failure", role: "alert" });
  document.body.prepend(line);
  line.textContent = message;
}

/** Return functions that send messages to the worker. A newer job replaces an older one of the same kind, whose promise
    resolves to null. The promise of a job that fails is rejected. */
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
  worker.onerror = ({ message = "unknown error" }) => report(`The model stopped: ${message}`);
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
  return { ask, stop };
}

/** Return the names of the characters by id; bytes that are not ASCII are shown as numbers. */
function namesOf({ vocabulary, unknown, level }) {
  return vocabulary.map((point, id) => (id === unknown ? "unknown"
    : level === "byte" && point > 126 && point < 256 ? `0x${point.toString(16)}` : named(String.fromCodePoint(point))));
}

/** Return a promise that is resolved when the whole page has arrived: the weights come last. */
function arrived() {
  if (document.readyState !== "loading") return Promise.resolve();
  return new Promise((resolve) => { document.addEventListener("DOMContentLoaded", resolve); });
}

/** Start the worker at once, so that it is ready when the weights have arrived, and then the sections. Without a worker,
    the page is shown as without JavaScript. */
function start() {
  const failed = ({ message }) => report(`The model could not be started: ${message}`);
  let worker;
  try {
    worker = startWorker();
  } catch (error) {
    failed(error);
    return;
  }
  data.names = namesOf(data.model);
  document.documentElement.classList.add("has-script");
  const loaded = arrived().then(() => {
    const weights = document.getElementById("weights").textContent;
    worker.ask({ do: "load", model: data.model, dtype: data.dtype, weights }).catch(failed);
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

/** In the frame of a notebook, a link to a section would load the notebook: scroll to the section instead. */
function scrollInFrame(event) {
  const { hash } = event.target;
  if (!hash || window === window.top) return;
  event.preventDefault();
  document.querySelector(hash).scrollIntoView();
}

startReplay();
document.querySelector("nav").addEventListener("click", scrollInFrame);
if (data.model) start();
