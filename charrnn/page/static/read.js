// "Read": a text is shaded by how surprising each character is, or by the value of a unit or gate.

/** Sets up the section; `ask` is that of startWriting. */
function startReading({ ask, stop }, data) {
  const form = document.getElementById("read-form"), status = document.getElementById("read-status");
  const field = (name) => form.elements.namedItem(name), stopButton = document.getElementById("read-stop");
  const legends = { bits: document.getElementById("bits-legend"), value: document.getElementById("value-legend") };
  let shade = null;  // the unit or gate that is shown, or null for the surprisal
  let zero = 0, scale = 1;  // the values that are shown without shade and, at a distance of `scale`, with the darkest one
  let isReading = false;

  const view = new ShadedText(document.getElementById("read-text"), status, { describe: (item) => {
    const name = `\u201c${named(item.text)}\u201d`;
    const bits = item.bits === null ? "is not known to the model" : `${item.bits.toFixed(2)} bits`;
    return shade && item.value !== undefined ? `${name}: value ${item.value.toFixed(3)}, ${bits}` : `${name}: ${bits}`;
  } });
  const inShades = (value) => Math.max(-1, Math.min(1, (value - zero) / scale));
  const classOf = (item) => (shade ? classOfValue(inShades(item.value ?? 0)) : classOfBits(item.bits));

  /** Returns the unit that the form selects; a gate, or a hidden state, is between -1 and 1, a cell is not. */
  function selected() {
    const { value } = field("shade");
    if (value === "bits") return null;
    if (value !== "other") return data.units[Number(value)];
    const [layer, part] = field("part").value.split("/");
    const most = data.model.hidden_size, unit = Math.min(most, Math.max(1, field("unit").valueAsNumber || 1));
    return { layer: Number(layer), part, unit: unit - 1 };
  }

  function update() {
    shade = selected();
    for (const row of form.querySelectorAll(".other")) row.hidden = field("shade").value !== "other";
    legends.bits.hidden = Boolean(shade);
    legends.value.hidden = !shade;
    zero = shade?.name ? shade.low : 0;
    scale = shade?.name ? shade.high - shade.low : 1;
    explain();
  }

  /** Cells are not limited: shades them relative to the largest value in the text. */
  function rescale() {
    if (shade?.part === "cell" && !shade.name) {
      scale = Math.max(1e-9, view.items.reduce((most, item) => Math.max(most, Math.abs(item.value ?? 0)), 0));
      explain();
    }
  }

  function explain() {
    const [few, many] = shade?.kind === "r" ? ["it is small", "it is large"] : ["it does not apply", "it applies"];
    legends.value.querySelector("output").textContent = shade?.name
      ? `0: ${zero.toFixed(2)}, usual where ${few}; +1: ${shade.high.toFixed(2)}, usual where ${many}`
      : `\u00b11: \u00b1${scale.toPrecision(3)}`;
  }

  async function show() {
    update();
    if (shade) {
      const shown = shade;
      const answer = isReading ? null : await ask({ do: "unit", shade: { layer: shade.layer, part: shade.part,
        unit: shade.unit } });
      if (shown !== shade) return;
      if (!answer?.values) return read();
      answer.values.forEach((value, index) => { if (view.items[index]) view.items[index].value = value; });
      rescale();
    }
    view.shade(classOf);
    return undefined;
  }

  async function read() {
    update();
    view.clear();
    isReading = true;
    stopButton.disabled = false;
    status.textContent = "Reading \u2026";
    const message = { do: "read", string: field("string").value };
    if (shade) message.shade = { layer: shade.layer, part: shade.part, unit: shade.unit };
    const answer = await ask(message, (items) => {
      view.add(items, classOf);
      status.textContent = `${view.items.length.toLocaleString("en")} characters read \u2026`;
    }).catch((error) => {
      isReading = false;
      stopButton.disabled = true;
      status.textContent = error.message;
    });
    if (!answer) return;
    isReading = false;
    stopButton.disabled = true;
    rescale();
    if (shade) view.shade(classOf);
    const { bits, known, unknown, cut } = answer, unit = data.model.level === "byte" ? "byte" : "character";
    const mean = bits / known, nats = mean * Math.LN2;
    status.textContent = [`${view.items.length.toLocaleString("en")} characters`,
      known ? `${mean.toFixed(2)} bits (${nats.toFixed(3)} nats) per ${unit}` : "",
      unknown ? `${unknown} unknown, left out` : "", cut ? `the last ${cut.toLocaleString("en")} were not read` : "",
    ].filter(Boolean).join(", ");
  }

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    read();
  });
  for (const name of ["shade", "part", "unit"]) field(name).addEventListener("change", show);
  stopButton.addEventListener("click", () => {
    stop("read");
    isReading = false;
    stopButton.disabled = true;
    status.textContent = `Stopped after ${view.items.length} characters.`;
  });
  update();
  return read;
}
