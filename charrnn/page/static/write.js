// "Write": the model writes, character by character; the user chooses other characters and changes units.

const DEBOUNCE = 150;  // milliseconds

/** Set up the section; `ask(message, onItems)` sends a message to the worker and returns a promise of its last answer. */
function startWriting({ ask, stop }, data) {
  const form = document.getElementById("write-form"), status = document.getElementById("write-status");
  const stopButton = document.getElementById("write-stop"), field = (name) => form.elements.namedItem(name);
  const optionName = (id) => data.names[id];
  const box = document.getElementById("write-text"), view = new ShadedText(box, status, {
    describe: (item) => `\u201c${named(item.text)}\u201d: ${percent(item.p)}, ${item.bits.toFixed(2)} bits. Most likely: ${
      item.options.map(([id, p]) => `${optionName(id)} ${percent(p)}`).join(", ")}`,
    choose: (index, id) => run({ keep: view.items[index].at, next: id }, index),
    optionName,
  });

  /** Return the number in a field, or undefined if it is empty. */
  const number = (name) => (field(name).value ? field(name).valueAsNumber : undefined);

  const settings = () => ({
    length: number("length"), temperature: number("temperature"), topK: number("topk"), topP: number("topp"),
    seed: number("seed"), knobs: knobs(),
  });

  /** Show that nothing is being written any more. */
  function end(message) {
    box.style.minHeight = "";
    stopButton.disabled = true;
    status.textContent = message;
  }

  /** Write, if all settings are valid. The first `kept` characters of the text remain. */
  async function run(start, kept = 0) {
    if (!form.reportValidity()) return;
    box.style.minHeight = `${box.offsetHeight}px`;  // so that nothing below moves while the text is written again
    if (start.prime === undefined) {
      view.truncate(kept);
    } else {
      view.clear(start.prime);
    }
    stopButton.disabled = false;
    status.textContent = "Writing \u2026";
    let bits = 0, count = 0, begin = performance.now();
    const answer = await ask({ do: "write", ...start, ...settings() }, (items) => {
      if (!count) begin = performance.now();  // the beginning of the text has been read
      for (const item of items) bits += item.bits;
      count += items.length;
      view.add(items, (item) => classOfBits(item.bits));
    }).catch((error) => end(error.message));
    if (!answer) return;
    const seconds = (performance.now() - begin) / 1000;
    end([count ? `${counted(count, "character")}, ${(bits / count).toFixed(2)} bits per character, ${
      (count / seconds).toFixed(0)} characters per second.` : "",
    answer.left ? `Unknown characters left out of the beginning: ${answer.left}.` : ""].filter(Boolean).join(" "));
  }

  const again = () => run({ prime: field("prime").value });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    again();
  });
  stopButton.addEventListener("click", () => {
    stop("write");
    end(`Stopped after ${counted(view.items.length, "character")}.`);
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
