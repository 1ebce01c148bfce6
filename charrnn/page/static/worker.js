// The worker runs the network, so that the page can be used while it computes. It follows network.js.
// The page sends messages { do, job, ... }; every answer contains the number of its job, and the last one
// { done: true }, with { error } if the job failed.

const SLICE = 25;  // milliseconds of work before new messages are handled
const MOST_FLOATS = 2 ** 25;  // the hidden states that are kept of a text, 128 MB
const MOST_CHARACTERS = 200_000;  // the page has an element for each

let model, network, text;
let lastIds = [];  // the ids of the newest text of "write", its prime included
let lastText;  // what has been read of the newest text of "read": ids, the state before them, hidden states after each id
const newest = {};  // the number of the newest job of each kind; it replaces the older ones

const channel = new MessageChannel(), waiting = [];
channel.port1.onmessage = () => waiting.shift()();

/** Return a promise that is resolved after the messages that have arrived by now. */
function messages() {
  return new Promise((resolve) => {
    waiting.push(resolve);
    channel.port2.postMessage(0);
  });
}

/** Return `isReplaced`, which handles messages once per slice and returns whether a newer job has replaced this one; `add`
    collects items, and `send` posts them. */
function slices(kind, job) {
  newest[kind] = job;
  let items = [], end = performance.now() + SLICE;
  const send = (more = {}) => {
    postMessage({ job, items, ...more });
    items = [];
  };
  const isReplaced = async () => {
    if (performance.now() < end) return false;
    if (items.length) send();
    await messages();
    end = performance.now() + SLICE;
    return newest[kind] !== job;
  };
  return { add: (item) => items.push(item), send, isReplaced };
}

/** Read an id, and return a copy of the logits, because another job can use the network before they are needed. */
const step = (id, state, knobs) => network.step(id, state, knobs).slice();

/** Return the most likely ids with their probabilities, the most likely first. */
function mostLikely(p, count) {
  const best = [];
  for (let id = 0; id < p.length; id++) {
    if (best.length === count && p[id] <= p[best[count - 1]]) continue;
    let k = best.length;
    while (k > 0 && p[best[k - 1]] < p[id]) k--;
    best.splice(k, 0, id);
    best.length = Math.min(best.length, count);
  }
  return best.filter((id) => p[id] > 0).map((id) => [id, p[id]]);
}

/** Return the characters of a string as the model reads it. */
const charactersOf = (string) => Array.from(text.normalize(string));

/**
 * Write `length` characters after `prime` or, with `keep`, after the first `keep` ids of the newest text; then the first
 * id is `next`.
 * Each item is one character: its first index among the ids, its text, its bits and the five most likely ids in its place.
 */
async function write({ job, prime, keep, next, length, temperature, topK, topP, seed, knobs }) {
  const slice = slices("write", job);
  const isNew = prime !== undefined;
  const ids = isNew ? Array.from(text.primed(prime)) : lastIds.slice(0, keep);
  const left = isNew ? charactersOf(prime).filter((character) => text.encode(character).some((id) => id < 0)).length : 0;
  lastIds = ids;
  const state = network.initialState();
  const uniform = random(seed), { unknown } = text;
  let logits;
  for (const id of ids) {
    logits = step(id, state, knobs);
    if (await slice.isReplaced()) return;
  }
  const collect = text.decoder();
  let item = null, count = 0;
  while (count < length || item) {
    if (count > length + 4) break;  // bytes that do not become a character
    const all = probabilities(logits, { unknown });
    const id = !count && next !== undefined ? next
      : draw(probabilities(logits, { temperature, topK, topP, unknown }), uniform());
    item ??= { at: ids.length, bits: 0, p: 1, options: mostLikely(all, 5) };
    item.bits -= Math.log2(all[id]);
    item.p *= all[id];
    ids.push(id);
    count++;
    item.text = collect(id);
    if (item.text) {
      slice.add(item);
      item = null;
    }
    if (await slice.isReplaced()) return;
    logits = step(id, state, knobs);
  }
  slice.send({ done: true, left });
}

/** Return the value of a unit or gate after the last step. */
function valueOf({ layer, part, unit }, state) {
  if (part in state[layer]) return state[layer][part][unit];
  return network.gates[layer][GATES[model.cell].indexOf(part) * model.hidden_size + unit];
}

/** Read a text. Each item is one character: its text, its bits (null if it is unknown), and the value of `shade`. */
async function read({ job, string, shade }) {
  const slice = slices("read", job);
  const most = Math.floor(MOST_FLOATS / (model.hidden_size * model.layers));
  const all = Array.from(text.marked(text.normalize(string))), encoded = [];
  let count = 0;
  for (const character of all.slice(0, MOST_CHARACTERS)) {
    const ids = text.encode(character).filter((id) => id >= 0);
    count += ids.length;
    if (count > most) break;
    encoded.push(ids);
  }
  const state = network.initialState();
  const hidden = state.map(() => new Float32Array(Math.min(count, most) * model.hidden_size));
  const ids = [], ends = [];  // ends: for each character, the index of its last id
  let logits = step(text.start, state), value = 0, bits = 0, known = 0, unknown = 0;
  const first = structuredClone(state);
  lastText = { first, ids, hidden, ends };
  for (let k = 0; k < encoded.length; k++) {
    const isKnown = encoded[k].length && !encoded[k].includes(text.unknown);
    const item = { text: all[k], bits: isKnown ? 0 : null };
    for (const id of encoded[k]) {
      if (isKnown) item.bits += surprisal(logits, id) / Math.LN2;
      logits = step(id, state);
      state.forEach((layer, number) => hidden[number].set(layer.hidden, ids.length * model.hidden_size));
      ids.push(id);
    }
    ends.push(ids.length - 1);
    if (shade && encoded[k].length) value = valueOf(shade, state);  // later, another job can have used the network
    if (shade) item.value = value;
    if (isKnown) {
      bits += item.bits;
      known += encoded[k].length;
    } else {
      unknown++;
    }
    slice.add(item);
    if (await slice.isReplaced()) return;
  }
  slice.send({ done: true, bits, known, unknown, cut: all.length - encoded.length });
}

/** Post the values of a unit or gate after each character that has been read of the newest text of "read". */
function unit({ job, shade }) {
  const { first, ids, hidden, ends } = lastText;
  const values = network.activation(shade.layer, shade.part, shade.unit, ids, hidden, first);
  postMessage({ job, done: true, values: ends.map((index) => (index < 0 ? 0 : values[index])) });
}

/** Do what a message asks for. */
function answer(data) {
  if (!network && data.do !== "load") throw new Error("the model could not be started");
  switch (data.do) {
    case "load":
      model = data.model;
      text = new Text(model);
      network = new Network(model, weightsFrom(data.weights, data.dtype));
      return postMessage({ job: data.job, done: true });
    case "write": return write(data);
    case "read": return read(data);
    case "unit": return unit(data);
    case "stop": newest[data.kind] = data.job; return;
    case "logits": return postMessage({ job: data.job, done: true, logits: logitsOf(network, text, data.string) });
    case "sample": return postMessage({ job: data.job, done: true, text: sampleFrom(network, text, data.settings) });
  }
}

onmessage = async ({ data }) => {
  try {
    await answer(data);
  } catch (error) {
    postMessage({ job: data.job, done: true, error: error.message });
  }
};
