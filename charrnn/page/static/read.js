// "Read": a text is shaded by how surprising each character is, or by the value of a unit or gate.

const PAUSE = 1000;  // milliseconds between two messages about the progress

/** Set up the section; `ask` is that of startWriting. */
function startReading({ ask, stop }, data) {
  const form = document.getElementById("read-form"), status = document.getElementById("read-status");
  const field = (name) => form.elements.namedItem(name), stopButton = document.getElementById("read-stop");
  const legends = { bits: document.getElementById("bits-legend"), value: document.getElementById("value-legend") };
  let shade = null;  // the unit or gate that is shown, or null for the surprisal
  let zero = 0, scale = 1;  // `zero` has no shade; `zero` +- `scale` have the darkest
  let isReading = false;

  const view = new ShadedText(document.getElementById("read-text"), status, { describe: (item) => {
    const name = `\u201c${named(item.text)}\u201d`;
    const bits = item.bits === null ? "is not known to the model" : `${item.bits.toFixed(2)} bits`;
    return shade && item.value !== undefined ? `${name}: value ${item.value.toFixed(3)}, ${bits}` : `${name}: ${bits}`;
  } });
  const inShades = (value) => Math.max(-1, Math.min(1, (value - zero) / scale));
  const classOf = (item) => (shade ? classOfValue(inShades(item.value ?? 0)) : classOfBits(item.bits));

  /** Return the unit that the form selects. */
  function selected() {
    const { value } = field("shade");
    if (value === "bits") return null;
    if (value !== "other") return data.units[Number(value)];
    const [layer, part] = field("part").value.split("/");
    const most = data.model.hidden_size;
    const unit = Math.min(most, Math.max(1, Math.trunc(field("unit").valueAsNumber || 1)));
    return { layer: Number(layer), part, unit: unit - 1 };
  }

  /** Show the fields of "another unit or gate", or hide them; the browser does not validate a field that is disabled. */
  function showFields() {
    for (const row of form.querySelectorAll(".other")) {
      row.hidden = row.control.disabled = field("shade").value !== "other";
    }
  }

  /** Use what the form selects. A gate, or a hidden state, is between -1 and 1; the cell of an LSTM
      need not be. */
  function update() {
    showFields();
    shade = selected();
    legends.bits.hidden = Boolean(shade);
    legends.value.hidden = !shade;
    zero = shade?.name ? shade.low : 0;
    scale = shade?.name ? shade.high - shade.low : 1;
    explain();
  }

  /** Cells are not limited: shade them relative to the largest value in the text. */
  function rescale() {
    if (shade?.part === "cell" && !shade.name && view.items.length) {
      scale = Math.max(1e-9, view.items.reduce((most, item) => Math.max(most, Math.abs(item.value ?? 0)), 0));
      explain();
    }
  }

  function explain() {
    const [few, many] = shade?.kind === "r" ? ["small", "large"] : ["false", "true"];
    legends.value.querySelector("output").textContent = shade?.name
      ? `0 is ${zero.toFixed(2)}, the median where the feature is ${few}; `
        + `+1 is ${shade.high.toFixed(2)}, the median where it is ${many}`
      : `darkest shade: \u00b1${scale.toPrecision(3)}`;
  }

  /** Shade the text again, if the fields are valid. A text that is being read is read again. */
  async function show() {
    showFields();
    if (!form.reportValidity()) return;
    update();
    if (shade && isReading) {
      read();
      return;
    }
    if (shade) {
      const shown = shade;
      const answer = await ask({ do: "unit", shade: asked() }).catch((error) => end(error.message));
      if (!answer || shown !== shade || isReading) return;
      answer.values.forEach((value, index) => { if (view.items[index]) view.items[index].value = value; });
      rescale();
    }
    view.shade(classOf);
  }

  /** Return the selected unit as the worker needs it. */
  const asked = () => ({ layer: shade.layer, part: shade.part, unit: shade.unit });

  /** Show that nothing is being read any more. */
  function end(message) {
    isReading = false;
    stopButton.disabled = true;
    status.textContent = message;
  }

  async function read() {
    update();
    view.clear();
    isReading = true;
    stopButton.disabled = false;
    status.textContent = "Reading \u2026";
    let said = performance.now();
    const answer = await ask({ do: "read", string: field("string").value, shade: shade && asked() }, (items) => {
      view.add(items, classOf);
      if (performance.now() < said + PAUSE) return;
      said = performance.now();
      status.textContent = `${counted(view.items.length, "character")} read \u2026`;
    }).catch((error) => end(error.message));
    if (!answer) return;
    rescale();
    if (shade) view.shade(classOf);
    const { bits, known, unknown, cut } = answer, unit = data.model.level === "byte" ? "byte" : "character";
    const mean = bits / known, nats = mean * Math.LN2;
    end([counted(view.items.length, "character"),
      known ? `${mean.toFixed(2)} bits (${nats.toFixed(3)} nats) per ${unit}` : "",
      unknown ? `${counted(unknown, "unknown character")} not counted` : "",
      cut ? `the last ${cut.toLocaleString("en")} not read` : "",
    ].filter(Boolean).join(", "));
  }

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    read();
  });
  for (const name of ["shade", "part", "unit"]) field(name).addEventListener("change", show);
  stopButton.addEventListener("click", () => {
    stop("read");
    end(`Stopped after ${counted(view.items.length, "character")}.`);
    rescale();
    if (shade) view.shade(classOf);
  });
  update();
  return read;
}
