// "Write": the model writes, character by character; the reader chooses other characters and turns units.

const DEBOUNCE = 150;  // milliseconds

/** Sets up the section; `ask(message, onItems)` sends a message to the worker and returns a promise of its last answer. */
function startWriting({ ask, stop }, data) {
  const form = document.getElementById("write-form"), status = document.getElementById("write-status");
  const stopButton = document.getElementById("write-stop"), field = (name) => form.elements.namedItem(name);
  const optionName = (id) => data.names[id];
  const view = new ShadedText(document.getElementById("write-text"), status, {
    describe: (item) => `\u201c${named(item.text)}\u201d: ${percent(item.p)}, ${item.bits.toFixed(2)} bits. Most likely: ${
      item.options.map(([id, p]) => `${optionName(id)} ${percent(p)}`).join(", ")}`,
    choose: (index, id) => run({ keep: view.items[index].at, next: id }, index),
    optionName,
  });

  /** Returns a number from a field, or its default if it is empty or invalid. */
  const number = (name, missing) => {
    const value = field(name).valueAsNumber;
    return Number.isFinite(value) && field(name).validity.valid ? value : missing;
  };

  const settings = () => ({
    length: number("length", 400), temperature: number("temperature", 1), topK: number("topk", undefined),
    topP: number("topp", undefined), seed: number("seed", 1), knobs: knobs(),
  });

  async function run(start, kept = 0) {
    if (start.prime === undefined) {
      view.truncate(kept);
    } else {
      view.clear(start.prime);
    }
    stopButton.disabled = false;
    status.textContent = "Writing \u2026";
    const begin = performance.now();
    let bits = 0, count = 0;
    const answer = await ask({ do: "write", ...start, ...settings() }, (items) => {
      for (const item of items) bits += item.bits;
      count += items.length;
      view.add(items, (item) => classOfBits(item.bits));
      window.charrnn.firstCharacter ??= performance.now();
    }).catch((error) => {
      stopButton.disabled = true;
      status.textContent = error.message;
    });
    if (!answer) return;
    stopButton.disabled = true;
    const seconds = (performance.now() - begin) / 1000;
    const left = answer.left
      ? ` ${answer.left} characters of the beginning are unknown to the model and were left out.` : "";
    status.textContent = count ? `${count} characters, ${(bits / count).toFixed(2)} bits per character, ${
      (count / seconds).toFixed(0)} characters per second.${left}` : left;
  }

  const again = () => run({ prime: field("prime").value });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    again();
  });
  stopButton.addEventListener("click", () => {
    stop("write");
    stopButton.disabled = true;
    status.textContent = `Stopped after ${view.items.length} characters.`;
  });

  const sets = [...document.querySelectorAll("#knobs fieldset")];
  let timer = 0;
  const knobs = () => sets.flatMap((set, index) => {
    const { layer, unit } = data.units[index], mode = set.querySelector("select").value;
    return mode === "off" ? [] : [{ layer, part: "hidden", unit, mode, value: set.querySelector("input").valueAsNumber }];
  });
  const show = (set) => {
    const slider = set.querySelector("input"), { value: mode } = set.querySelector("select"), value = slider.valueAsNumber;
    slider.disabled = mode === "off";
    const sign = mode === "add" && value >= 0 ? "+" : "";
    set.querySelector("output").textContent = mode === "off" ? "" : sign + value.toFixed(1);
  };
  for (const set of sets) {
    set.addEventListener("input", () => {
      show(set);
      clearTimeout(timer);
      timer = setTimeout(again, DEBOUNCE);
    });
    show(set);
  }
  document.getElementById("knobs-off")?.addEventListener("click", () => {
    for (const set of sets) {
      set.querySelector("select").value = "off";
      show(set);
    }
    again();
  });
  again();
}
