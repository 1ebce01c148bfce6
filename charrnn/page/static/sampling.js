"use strict";
/* The choice of the next character, and texts: read and written by a Network (network.js).

It uses the names of charrnn/inference/sampling.py, so that the two can be compared. V vocabulary. */

/** Return the probabilities (V) of the next characters; as `distribution` of charrnn/inference/sampling.py, but of one row
    of logits, and the id `unknown` gets 0. Throws RangeError if a setting is out of range or a logit is NaN. */
function probabilities(logits, { temperature = 1, topK = null, topP = null, unknown = null } = {}) {
  if (!(temperature >= 0 && temperature < Infinity)) throw new RangeError("temperature must be a number of at least 0");
  if (topK !== null && !(Number.isInteger(topK) && topK >= 1)) throw new RangeError("topK must be an integer above 0");
  if (topP !== null && !(topP > 0 && topP <= 1)) throw new RangeError("topP must be above 0 and at most 1");
  const p = Float64Array.from(logits, (logit, id) => id === unknown ? -Infinity : logit);
  const most = p.reduce((a, b) => Math.max(a, b));
  if (Number.isNaN(most)) throw new RangeError("the model computes NaN; its weights are not finite");
  const scale = (values, sum) => values.forEach((value, id) => { values[id] = value / sum; });
  const total = (values) => values.reduce((a, b) => a + b);
  if (temperature === 0) {
    const best = p.indexOf(most);
    return p.map((_, id) => id === best ? 1 : 0);
  }
  p.forEach((logit, id) => { p[id] = Math.exp((logit - most) / temperature); });
  scale(p, total(p));
  if (topK === null && topP === null) return p;
  const order = Uint32Array.from(p, (_, id) => id).sort((a, b) => p[b] - p[a] || a - b);
  const descending = Float64Array.from(order, (id) => p[id]);
  if (topK !== null) {
    descending.fill(0, topK);
    scale(descending, total(descending));
  }
  if (topP !== null && topP < 1) {
    let sum = 0, kept = 0;
    while (kept < descending.length && sum < topP * (1 - 1e-12)) sum += descending[kept++];
    descending.fill(0, kept);
    scale(descending, total(descending));
  }
  order.forEach((id, rank) => { p[id] = descending[rank]; });
  return p;
}

/** Return the id at which the cumulative distribution of `p` exceeds `uniform`, a number of [0, 1). */
function draw(p, uniform) {
  const sums = p.slice();
  for (let id = 1; id < sums.length; id++) sums[id] += sums[id - 1];
  const drawn = uniform * sums[sums.length - 1];
  const found = sums.findIndex((sum) => sum > drawn);
  return found < 0 ? p.findLastIndex((value) => value > 0) : found;
}

/** Return a function that returns random numbers of [0, 1), the same for the same seed, an integer of 0 to 2^53 - 1. The
    generator is sfc32 (Chris Doty-Humphrey, PractRand, https://pracrand.sourceforge.net), seeded as there. */
function random(seed) {
  let a = 0, b = seed | 0, c = seed / 2 ** 32 | 0, counter = 1;
  const next = () => {
    const result = a + b + counter | 0;
    counter = counter + 1 | 0;
    a = b ^ b >>> 9;
    b = c + (c << 3) | 0;
    c = (c << 21 | c >>> 11) + result | 0;
    return result >>> 0;
  };
  for (let k = 0; k < 12; k++) next();
  return () => ((next() >>> 5) * 2 ** 26 + (next() >>> 6)) / 2 ** 53;  // 53 bits, as many as a float64 has
}

/** Return the negative log-probability of `id` in nats. */
function surprisal(logits, id) {
  const most = logits.reduce((a, b) => Math.max(a, b));
  return Math.log(logits.reduce((sum, logit) => sum + Math.exp(logit - most), 0)) + most - logits[id];
}

/** Yield the logits (V) after each character of `string` (byte, in a model of bytes) that the model reads as a prime. They
    are NaN for characters before the first one that it can read; a later one that it cannot read leaves them unchanged. */
function* reading(network, text, string) {
  const state = network.initialState();
  let logits = new Float32Array(network.logits.length).fill(NaN);
  if (text.end !== null) logits = network.step(text.start, state).slice();
  for (const id of text.encode(string)) {
    if (id >= 0) logits = network.step(id, state).slice();
    yield logits;
  }
}

/** Yield `prime`, then each generated character as soon as it is complete; as `LanguageModel.stream` of
    charrnn/inference/language_model.py. For each id of the prime, "" is yielded. A model of documents writes one
    document. Without a seed, each text is different. Throws RangeError if a setting is out of range. */
function* writing(network, text, settings = {}) {
  const mark = text.end === null ? "" : text.characters[text.end];
  const { length = 1000, seed = Math.floor(Math.random() * 2 ** 32), until = "" } = settings;
  let prime = text.normalize(settings.prime ?? "");
  if (mark) {
    if (prime.endsWith(mark)) prime = prime.slice(0, -1);
    if (prime.includes(mark)) throw new RangeError("prime contains several documents; the model generates one at a time");
  }
  const state = network.initialState(), uniform = random(seed), decode = text.decoder(), end = text.encode(until);
  const written = [];
  let logits;
  yield prime;
  for (const id of text.primed(prime)) {
    yield "";
    logits = network.step(id, state);
  }
  while (written.length < length) {
    const id = draw(probabilities(logits, { ...settings, unknown: text.unknown }), uniform());
    written.push(id);
    if (text.characters[id] !== END) yield decode(id);
    if (id === text.end) break;
    if (end.length && end.every((value, k) => value === written[written.length - end.length + k])) break;
    logits = network.step(id, state);
  }
  yield decode();
}

/** Return the logits after each character of `string`, an array of Float32Arrays (V); see `reading`. */
function logitsOf(network, text, string) {
  return [...reading(network, text, string)];
}

/** Return a text: `prime` and what follows it. `settings` are { prime, length, temperature, topK, topP, until, seed }. */
function sampleFrom(network, text, settings) {
  return [...writing(network, text, settings)].join("");
}

/** Return a promise of all values of a generator; every 25 ms, the browser can handle events. */
async function inSlices(values) {
  const collected = [];
  let end = performance.now() + 25;
  for (const value of values) {
    collected.push(value);
    if (performance.now() < end) continue;
    await new Promise((resolve) => { setTimeout(resolve); });
    end = performance.now() + 25;
  }
  return collected;
}
