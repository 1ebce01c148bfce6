"use strict";
/* The network in the page: weights, text <-> ids, and one step of the network.

It uses the names of the Python code, so that the two can be compared: the equations are in charrnn/nn/cells/, the shapes in
charrnn/nn/model.py. H hidden units, G gates, D input of a layer, E embedding, V vocabulary, N characters of a text.
Sums are computed in float64 and stored in float32.

A classic script without dependencies, which also works inside a worker. */

const GATES = { lstm: "ifog", lnlstm: "fog", gru: "rzn", rnn: "h" };  // a letter for each block of H columns of weights

/** Return the weights in `base64`, little-endian "float16" or "float32", as a Float32Array. */
function weightsFrom(base64, dtype) {
  let bytes;
  if (Uint8Array.fromBase64) {
    bytes = Uint8Array.fromBase64(base64);
  } else {
    const binary = atob(base64);
    bytes = new Uint8Array(binary.length);
    for (let k = 0; k < bytes.length; k++) bytes[k] = binary.charCodeAt(k);
  }
  if (dtype === "float32") return new Float32Array(bytes.buffer);
  if (globalThis.Float16Array) return new Float32Array(new Float16Array(bytes.buffer));
  const table = new Float32Array(65536);  // the value of each bit pattern: sign 1 bit, exponent 5 bits, fraction 10 bits
  for (let bits = 0; bits < 65536; bits++) {
    const exponent = bits >> 10 & 31;
    const fraction = (bits & 1023) / 1024;
    const size = exponent === 31 ? (fraction ? NaN : Infinity)
      : exponent ? (1 + fraction) * 2 ** (exponent - 15) : fraction * 2 ** -14;
    table[bits] = bits & 32768 ? -size : size;
  }
  return new Float32Array(new Uint16Array(bytes.buffer)).map((bits) => table[bits]);
}

const END = "\ud800";  // the end mark of a document, unless documents are lines; as charrnn/config.py

/** Characters <-> ids, with the text settings of a model; as charrnn/text/vocabulary.py, decoding.py and documents.py. */
class Text {
  constructor(model) {
    this.model = model;
    this.start = model.start;  // the id that is read before the first character of a text
    this.unknown = model.unknown;  // the id of all characters that are not in the vocabulary, or null
    this.end = model.end;  // the id that ends a document, or null if the text is continuous
    this.isBytes = model.level === "byte";
    this.characters = model.vocabulary.map((point, id) => id === model.unknown ? "\ufffd" : String.fromCodePoint(point));
    this.ids = new Map(model.vocabulary.map((point, id) => [point, id]));
  }

  /** Return `string` as the model reads it. Normal forms and lower case are those of the browser: its version of Unicode
      may be newer or older than Python's, which matters only for characters that one of them does not know. */
  normalize(string) {
    const { end, normalize, lowercase } = this.model;
    if (end !== null) string = string.replaceAll("\r\n", "\n");
    if (normalize !== "none") string = string.normalize(normalize);
    return lowercase ? string.toLowerCase() : string;
  }

  /** Return `string` with an end mark after each document; as `mark_ends` of charrnn/text/documents.py. */
  marked(string) {
    if (this.characters[this.end] !== END) return string;
    const { documents } = this.model, separator = this.normalize(this.model.separator ?? "");
    const isParagraphs = documents === "paragraphs", space = "[^\\S\\n]*\\n";
    const escaped = separator.replace(/[\\^$.*+?()[\]{}|/]/g, "\\$&");
    const inside = separator ? `|${escaped}` : isParagraphs ? `|\\n${space}` : "";
    const after = isParagraphs ? space : "\\n";
    const pattern = new RegExp(`(?<!\\n)\\n*(?:${END}${inside})(?:${END}${inside}|${after})*`, "gu");
    return (END + string + (isParagraphs ? "\n" : "") + END).replace(pattern, END).slice(1);
  }

  /** Return the ids of `string`, one for each character or byte; -1 if it is unknown and the model has no such id. */
  encode(string) {
    string = this.normalize(string);
    const points = this.isBytes ? new TextEncoder().encode(string) : Array.from(string, (c) => c.codePointAt(0));
    return Int32Array.from(points, (point) => this.ids.get(point) ?? this.unknown ?? -1);
  }

  /** Return the ids that the model reads before it writes what follows `string`: without characters that it cannot read;
      `start` comes first in a model of documents, and if no other id remains. */
  primed(string) {
    const ids = this.encode(string).filter((id) => id >= 0);
    return this.end !== null || !ids.length ? Int32Array.of(this.start, ...ids) : ids;
  }

  /** Return the string of `ids`. Unknown characters and invalid UTF-8 become U+FFFD. */
  decode(ids) {
    const decode = this.decoder();
    return Array.from(ids, (id) => decode(id)).join("") + decode();
  }

  /** Return a function that returns the characters that the next id completes: for bytes there may be none, or several.
      Called without an id at the end, it returns what an incomplete character becomes. */
  decoder() {
    const name = (id) => this.characters[id] ?? "\ufffd";
    if (!this.isBytes) return (id) => id === undefined ? "" : name(id);
    const decoder = new TextDecoder("utf-8", { ignoreBOM: true });
    const byte = (id) => id === this.unknown ? 0xff : this.model.vocabulary[id] ?? 0xff;  // 0xff is invalid everywhere
    return (id) => {
      if (id === undefined) return decoder.decode();
      return this.characters[id] === END ? END : decoder.decode(Uint8Array.of(byte(id)), { stream: true });
    };
  }
}

/** The names and shapes of the parameters, in the order of the weights; as `parameter_shapes` of charrnn/nn/model.py. */
function parameterShapes({ cell, layers, hidden_size, embedding_size, vocabulary }) {
  const shapes = {};
  const columns = GATES[cell].length * hidden_size;
  let inputs = vocabulary.length;
  if (embedding_size) shapes["embedding/w"] = [inputs, embedding_size];
  inputs = embedding_size || inputs;
  for (let k = 0; k < layers; k++) {
    shapes[`layer${k}/w_x`] = [inputs, columns];
    shapes[`layer${k}/w_h`] = [hidden_size, columns];
    if (cell === "lnlstm") shapes[`layer${k}/gain`] = [4 * hidden_size];
    shapes[`layer${k}/b`] = [cell === "lnlstm" ? 4 * hidden_size : columns];
    if (cell === "gru") shapes[`layer${k}/b_h`] = [hidden_size];
    inputs = hidden_size;
  }
  shapes["output/w"] = [hidden_size, vocabulary.length];
  shapes["output/b"] = [vocabulary.length];
  return shapes;
}

/** Return `w` (rows, columns) in the layout that `addProduct` reads: blocks of 8 columns, [columns / 8][rows][8], the last
    one filled with zeros. JavaScript multiplies in float64; float64 weights need not be converted each time. */
function inBlocks(w, rows, columns) {
  const blocks = new Float64Array(Math.ceil(columns / 8) * rows * 8);
  for (let j = 0; j < columns; j++) {
    for (let k = 0, at = (j >> 3) * rows * 8 + (j & 7); k < rows; k++, at += 8) blocks[at] = w[k * columns + j];
  }
  return blocks;
}

/** out <- out + x w, where w is `blocks` and the length of `out` is a multiple of 8. Eight sums in local variables make
    one pass over x for eight columns; the weights are read in their order in memory. */
function addProduct(out, x, blocks) {
  const rows = x.length, values = new Float64Array(x);
  for (let j = 0, at = 0; j < out.length; j += 8) {
    let s0 = 0, s1 = 0, s2 = 0, s3 = 0, s4 = 0, s5 = 0, s6 = 0, s7 = 0;
    for (let k = 0; k < rows; k++, at += 8) {
      const value = values[k];
      s0 += value * blocks[at];
      s1 += value * blocks[at + 1];
      s2 += value * blocks[at + 2];
      s3 += value * blocks[at + 3];
      s4 += value * blocks[at + 4];
      s5 += value * blocks[at + 5];
      s6 += value * blocks[at + 6];
      s7 += value * blocks[at + 7];
    }
    out[j] += s0;
    out[j + 1] += s1;
    out[j + 2] += s2;
    out[j + 3] += s3;
    out[j + 4] += s4;
    out[j + 5] += s5;
    out[j + 6] += s6;
    out[j + 7] += s7;
  }
}

/** Return zeros for `addProduct`: a view of `size` numbers of a buffer whose length is a multiple of 8. */
function padded(size) {
  return new Float32Array(Math.ceil(size / 8) * 8).subarray(0, size);
}

/** Return the buffer of an array that `padded` made, with the padding. */
function whole(view) {
  return new Float32Array(view.buffer);
}

const sigmoid = (x) => 1 / (1 + Math.exp(-x));

/** Return gain (a - mean(a)) / sqrt(var(a) + 1e-5) + b for each number of `a` (H); `gain` and `b` have a block of H numbers
    for each gate and the cell, of which only the one with the index `block` is used. */
function normalized(a, { gain, b }, block) {
  let mean = 0, variance = 0;
  for (const value of a) mean += value / a.length;
  for (const value of a) variance += (value - mean) ** 2 / a.length;
  const scale = 1 / Math.sqrt(variance + 1e-5);
  const first = block * a.length;
  return a.map((value, u) => gain[first + u] * (value - mean) * scale + b[first + u]);
}

/** The cells: one step of one layer. `gates` (G*H) is x W_x + b (lnlstm: without b), and becomes the activations of the
    gates; `product` is h W_h. `turn(parts, values)` changes units as `knobs` says: `values` has a block of H numbers for
    each of `parts`. */
const CELLS = {
  /** h' = tanh(x W_x + h W_h + b) */
  rnn({ gates, product }, { hidden }, turn) {
    for (let j = 0; j < gates.length; j++) gates[j] = Math.tanh(gates[j] + product[j]);
    turn("h", gates);
    hidden.set(gates);
  },

  /** i, f, o = sigmoid(x W_x + h W_h + b);  g = tanh(x W_x + h W_h + b);  c' = f c + i g;  h' = o tanh(c') */
  lstm({ gates, product }, { hidden, cell }, turn) {
    const size = hidden.length;
    for (let j = 0; j < 3 * size; j++) gates[j] = sigmoid(gates[j] + product[j]);
    for (let j = 3 * size; j < 4 * size; j++) gates[j] = Math.tanh(gates[j] + product[j]);
    turn("ifog", gates);
    for (let u = 0; u < size; u++) cell[u] = gates[size + u] * cell[u] + gates[u] * gates[3 * size + u];
    turn(["cell"], cell);
    for (let u = 0; u < size; u++) hidden[u] = gates[2 * size + u] * Math.tanh(cell[u]);
  },

  /** f, o = sigmoid(N(x W_x + h W_h));  g = tanh(N(x W_x + h W_h));  c' = f c + (1 - f) g;  h' = o tanh(N(c')) */
  lnlstm({ gates, product, gain, b }, { hidden, cell }, turn) {
    const size = hidden.length;
    for (let j = 0; j < gates.length; j++) gates[j] += product[j];
    for (let block = 0; block < 3; block++) {
      const values = gates.subarray(block * size, (block + 1) * size);
      values.set(normalized(values, { gain, b }, block).map(block < 2 ? sigmoid : Math.tanh));
    }
    turn("fog", gates);
    for (let u = 0; u < size; u++) cell[u] = gates[2 * size + u] + gates[u] * (cell[u] - gates[2 * size + u]);
    turn(["cell"], cell);
    const values = normalized(cell, { gain, b }, 3);
    for (let u = 0; u < size; u++) hidden[u] = gates[size + u] * Math.tanh(values[u]);
  },

  /** r, z = sigmoid(x W_x + h W_h + b);  n = tanh(x W_n + b_n + r (h U_n + b_h));  h' = (1 - z) n + z h */
  gru({ gates, product, b_h }, { hidden }, turn) {
    const size = hidden.length;
    const n = gates.subarray(2 * size);
    for (let j = 0; j < 2 * size; j++) gates[j] = sigmoid(gates[j] + product[j]);
    turn("rz", gates);
    for (let u = 0; u < size; u++) n[u] = Math.tanh(n[u] + gates[u] * (product[2 * size + u] + b_h[u]));
    turn("n", n);
    for (let u = 0; u < size; u++) hidden[u] = n[u] + gates[size + u] * (hidden[u] - n[u]);
  },
};

/** The network: reads one id after the other. `weights` are the parameters in one Float32Array, in the order of Python's
    `network.parameters.flat`; `parameters` are views of it by name. */
class Network {
  constructor(model, weights) {
    this.model = model;
    this.GATES = GATES[model.cell];
    this.size = model.hidden_size;
    this.separator = model.end;  // the state is reset before this id is read
    this.parameters = {};
    let end = 0;
    const shapes = parameterShapes(model);
    for (const [name, shape] of Object.entries(shapes)) {
      const first = end;
      end += shape.reduce((product, size) => product * size);
      this.parameters[name] = weights.subarray(first, end);
    }
    if (end !== weights.length) throw new RangeError(`the model needs ${end} weights, not ${weights.length}`);
    const blocks = (name) => inBlocks(this.parameters[name], ...shapes[name]);
    this.layers = Array.from({ length: model.layers }, (_, k) => {
      const named = (name) => this.parameters[`layer${k}/${name}`];
      const [w_x, w_h, b, b_h, gain] = ["w_x", "w_h", "b", "b_h", "gain"].map(named);
      const columns = this.GATES.length * this.size;
      const xBlocks = k > 0 || model.embedding_size ? blocks(`layer${k}/w_x`) : null;  // else an id selects a row of w_x
      const hBlocks = blocks(`layer${k}/w_h`);
      return { w_x, w_h, b, b_h, gain, gates: padded(columns), product: padded(columns), hBlocks, xBlocks };
    });
    this.gates = this.layers.map((layer) => layer.gates);  // (G*H) for each layer: the activations of the last step
    this.outputBlocks = blocks("output/w");
    this.logits = padded(model.vocabulary.length);
  }

  /** Return the state at the start of a text: `hidden` (H), and `cell` (H) of an LSTM or lnlstm, for each layer. */
  initialState() {
    const zeros = () => new Float32Array(this.size);
    const hasCell = ["lstm", "lnlstm"].includes(this.model.cell);
    return this.layers.map(() => hasCell ? { hidden: zeros(), cell: zeros() } : { hidden: zeros() });
  }

  /** Read `id`: update `state` in place and return the logits (V), which the next step overwrites. A model of lines resets
      the state first if the id is that of the newline. Each of `knobs` changes the value of one unit as soon
      as it has been computed, so all that depends on it changes too: { layer, part: "hidden", "cell" or the letter of a
      gate, unit, mode: "set" or "add", value }. */
  step(id, state, knobs = []) {
    const { cell, embedding_size } = this.model;
    if (id === this.separator) {
      for (const arrays of state) Object.values(arrays).forEach((array) => array.fill(0));
    }
    let below = embedding_size && this.embedded(id);
    this.layers.forEach((layer, k) => {
      const { gates, product, w_x, b, gain, hBlocks, xBlocks } = layer;
      const { hidden } = state[k];
      const turn = (parts, values) => {
        for (const { layer: number, part, unit, mode, value } of knobs) {
          const block = number === k ? parts.indexOf(part) : -1;
          if (block < 0) continue;
          const at = block * this.size + unit;
          values[at] = mode === "set" ? value : values[at] + value;
        }
      };
      if (gain) gates.fill(0);  // b is added after the normalization
      else gates.set(b);
      if (xBlocks) {
        addProduct(whole(gates), below, xBlocks);
      } else {
        const row = id * gates.length;
        for (let j = 0; j < gates.length; j++) gates[j] += w_x[row + j];
      }
      product.fill(0);
      addProduct(whole(product), hidden, hBlocks);
      CELLS[cell](layer, state[k], turn);
      turn(["hidden"], hidden);
      below = hidden;
    });
    this.logits.set(this.parameters["output/b"]);
    addProduct(whole(this.logits), below, this.outputBlocks);
    return this.logits;
  }

  embedded(id) {
    const size = this.model.embedding_size;
    return this.parameters["embedding/w"].subarray(id * size, (id + 1) * size);
  }

  /** Return the value of one unit after each of `ids` (N), read without `knobs`: `part` is "hidden", "cell" or the letter
      of a gate. `hidden` has the hidden states after each of them, (N*H) for each layer; `first` is the state before
      the first id. A gate of one unit needs only one column of the weights, or with normalization the columns of all units
      for this gate, and a cell only the gates of its own unit. */
  activation(layer, part, unit, ids, hidden, first = this.initialState()) {
    const values = new Float32Array(ids.length);
    const gate = (letter) => this.sums(layer, this.GATES.indexOf(letter) * this.size + unit, ids, hidden, first);
    const activations = (letter) => {
      const f = "gh".includes(letter) ? Math.tanh : sigmoid;
      if (this.layers[layer].gain) return this.normalizedGate(layer, letter, unit, ids, hidden, first).map(f);
      const [x, h] = gate(letter);
      return x.map((value, t) => f(value + h[t]));
    };
    if (part === "hidden") {
      for (let t = 0; t < ids.length; t++) values[t] = hidden[layer][t * this.size + unit];
    } else if (part === "cell") {
      const [f, g] = ["f", "g"].map(activations);
      const i = this.GATES.includes("i") ? activations("i") : f.map((value) => 1 - value);
      for (let t = 0, c = first[layer].cell[unit]; t < ids.length; t++) {
        c = f[t] * (ids[t] === this.separator ? 0 : c) + i[t] * g[t];
        values[t] = c;
      }
    } else if (part === "n") {
      const [x, h] = gate("n");
      const r = activations("r");
      for (let t = 0; t < ids.length; t++) values[t] = Math.tanh(x[t] + r[t] * (h[t] + this.layers[layer].b_h[unit]));
    } else {
      values.set(activations(part));
    }
    return values;
  }

  /** Return gain n + b for one gate of one unit, (N), where n is its normalized argument: see `activation`. */
  normalizedGate(layer, letter, unit, ids, hidden, first) {
    const { size } = this;
    const { w_x, w_h, gain, b, gates: { length: columns } } = this.layers[layer];
    const block = this.GATES.indexOf(letter);
    const at = (row, u) => row * columns + block * size + u;
    const [ofX, ofH] = [w_x, w_h].map((w) => {  // the columns of the gate
      const rows = w.length / columns;
      const part = Float32Array.from({ length: rows * size }, (_, k) => w[at(Math.floor(k / size), k % size)]);
      return inBlocks(part, rows, size);
    });
    const vector = (array, t) => array.subarray(t * size, (t + 1) * size);
    const sums = padded(size);
    return Float64Array.from(ids, (id, t) => {
      sums.fill(0);
      if (layer) addProduct(whole(sums), vector(hidden[layer - 1], t), ofX);
      else if (this.model.embedding_size) addProduct(whole(sums), this.embedded(id), ofX);
      else for (let u = 0; u < size; u++) sums[u] = w_x[at(id, u)];
      const before = t ? vector(hidden[layer], t - 1) : first[layer].hidden;
      if (id !== this.separator) addProduct(whole(sums), before, ofH);
      return normalized(sums, { gain, b }, block)[unit];
    });
  }

  /** Return the parts x W_x + b and h W_h of the argument of one gate of one unit, a column of the weights, (N) each. */
  sums(layer, column, ids, hidden, first) {
    const { size, model: { embedding_size } } = this;
    const { w_x, w_h, b } = this.layers[layer];
    const [of_x, of_h] = [w_x, w_h].map((w) => Float32Array.from({ length: w.length / b.length },
                                                                 (_, row) => w[row * b.length + column]));
    const dot = (array, start, weights) => {
      let sum = 0;
      for (let k = 0; k < weights.length; k++) sum += array[start + k] * weights[k];
      return sum;
    };
    const x = Float64Array.from(ids, (id, t) => b[column] + (layer ? dot(hidden[layer - 1], t * size, of_x)
      : embedding_size ? dot(this.embedded(id), 0, of_x) : of_x[id]));
    const h = Float64Array.from(ids, (id, t) => id === this.separator ? 0
      : t ? dot(hidden[layer], (t - 1) * size, of_h) : dot(first[layer].hidden, 0, of_h));
    return [x, h];
  }
}
