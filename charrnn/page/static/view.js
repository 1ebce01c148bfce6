// A text whose characters are shaded, on the page: one span per character, with the keyboard and the pointer.

const END = "\ud800";  // the end mark of a document
const CONTROLS = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}\p{Co}\p{Cn}]/u;
const MOST_IN_LINE = 2000;  // a longer line is divided, because the browser lays out a line as a whole
const JOINERS = "\u200c\u200d";  // Persian and emoji need them

/** Return an element with properties and children; strings become text. */
function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

/** Return a character as it can be shown: a newline and an end mark with a sign, controls as their code points. */
function visible(character) {
  if (character === END) return "\u220e\n";
  if (character === "\n") return "\u23ce\n";
  if (character === "\t" || JOINERS.includes(character) || !CONTROLS.test(character)) return character;
  const codes = Array.from(character, (point) => `U+${point.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}`);
  return element("span", { className: "escape" }, codes.join(" "));
}

/** Return the name of a character for a sentence or a button. */
function named(character) {
  const names = { " ": "space", "\n": "new line", "\t": "tab", "\u00a0": "no-break space", [END]: "end of document" };
  if (character in names) return names[character];
  const shown = visible(character);
  return typeof shown === "string" ? character : shown.textContent;
}

/** Return the class for a surprisal: none below half a bit, then nine steps up to 8 bits. */
function classOfBits(bits) {
  if (bits === null) return "escape";
  if (bits < 0.5) return "";
  return `s${Math.min(9, 1 + Math.floor(bits))}`;
}

/** Return the class for a value between -1 and 1: blue below zero, orange above. */
function classOfValue(value) {
  const step = Math.min(4, Math.round(Math.abs(value) * 4));
  return step ? `${value < 0 ? "m" : "p"}${step}` : "";
}

/** Return a number with a noun, which gets an s if there is not exactly one. */
const counted = (count, noun) => `${count.toLocaleString("en")} ${noun}${count === 1 ? "" : "s"}`;

const percent = (p) => (p >= 0.0995 ? `${(100 * p).toFixed(0)} %` : `${(100 * p).toPrecision(2)} %`);

/**
 * A shaded text in the element `box`.
 * `describe(item)` returns the sentence for the line `status`; `choose(index, id)`, if given, is called if the user
 * chooses another character in place of item `index`; `optionName(id)` returns the name of such a character.
 */
class ShadedText {
  constructor(box, status, { describe, choose = null, optionName = String }) {
    Object.assign(this, { box, status, describe, choose, optionName });
    this.items = [];
    this.spans = [];
    this.panel = element("div", { className: "choices", hidden: true });
    this.panel.setAttribute("role", "group");
    this.panel.setAttribute("aria-label", "Other characters in this place");
    this.clear();
    box.tabIndex = 0;
    box.addEventListener("keydown", (event) => this.onKey(event));
    for (const type of ["pointerover", "click"]) box.addEventListener(type, (event) => {
      const index = this.spans.indexOf(event.target.closest("[data-c]"));
      if (index >= 0) this.select(index);
    });
    box.addEventListener("pointerleave", () => { if (!box.contains(document.activeElement)) this.select(-1); });
    box.addEventListener("focusout", (event) => { if (!box.contains(event.relatedTarget)) this.select(-1); });
  }

  /** Empty the text; `prime`, the beginning, is shown without shade. */
  clear(prime = "") {
    this.items = [];
    this.spans = [];
    this.current = this.from = -1;  // the arrow keys start at `from`, also if no character is the current one
    this.panel.hidden = true;
    const beginning = element("span", { className: "prime" });
    for (const character of prime) beginning.append(visible(character));
    this.box.replaceChildren(this.panel);
    this.startLine().append(beginning);
  }

  /** Remove all items from index `count` on. */
  truncate(count) {
    this.select(-1);
    this.items.length = Math.min(count, this.items.length);
    for (const span of this.spans.splice(count)) span.remove();
    for (const line of [...this.box.children].reverse()) {
      if (line !== this.panel && line !== this.box.firstChild && !line.hasChildNodes()) line.remove();
    }
    this.line = this.panel.previousSibling;
  }

  /** Start a line, a block of its own: when characters are added to a long text, only the last line is laid out again. */
  startLine() {
    this.line = element("div", { className: "line" });
    this.box.insertBefore(this.line, this.panel);
    return this.line;
  }

  /** Append items, each with its `text`; `classOf(item)` returns the class of the shade. */
  add(items, classOf) {
    for (const item of items) {
      const last = this.items.at(-1)?.text;
      if (last?.endsWith("\n") || last === END || this.line.childElementCount > MOST_IN_LINE) this.startLine();
      const span = element("span", { className: classOf(item) });
      span.dataset.c = "";
      for (const character of item.text) span.append(visible(character));
      this.items.push(item);
      this.spans.push(span);
      this.line.append(span);
    }
  }

  /** Shade all characters again. */
  shade(classOf) {
    this.items.forEach((item, index) => { this.spans[index].className = classOf(item); });
    this.spans[this.current]?.classList.add("here");
  }

  /** Make a character the current one: describe it and show what could be in its place. */
  select(index) {
    if (index === this.current) return;
    this.spans[this.current]?.classList.remove("here");
    this.current = this.from = index;
    this.panel.hidden = true;
    const item = this.items[index];
    if (!item) return;
    const span = this.spans[index];
    span.classList.add("here");
    this.status.textContent = this.describe(item);
    if (this.choose) this.showChoices(index, span, item);
  }

  showChoices(index, span, item) {
    this.panel.replaceChildren(...item.options.map(([id, p]) => {
      const bar = element("span", { className: "bar" });
      bar.style.width = `${(100 * p).toFixed(1)}%`;
      return element("button", { type: "button", onclick: (event) => {
        event.stopPropagation();
        this.select(-1);
        this.from = index;
        this.box.focus();
        this.choose(index, id);
      } }, bar, element("kbd", {}, this.optionName(id)), element("span", {}, percent(p)));
    }));
    this.panel.hidden = false;
    const outer = this.box.getBoundingClientRect(), rects = span.getClientRects(), rect = rects[0] ?? outer;
    const left = Math.min(rect.left - outer.left, this.box.clientWidth - this.panel.offsetWidth - 4);
    this.panel.style.left = `${Math.max(4, left) + this.box.scrollLeft}px`;
    this.panel.style.top = `${rect.bottom - outer.top + this.box.scrollTop - 1}px`;
  }

  onKey(event) {
    const buttons = [...this.panel.querySelectorAll("button")], at = buttons.indexOf(document.activeElement);
    const move = { ArrowRight: 1, ArrowLeft: -1, Home: -Infinity, End: Infinity, PageDown: 40, PageUp: -40 }[event.key];
    if (at >= 0 && (event.key === "ArrowDown" || event.key === "ArrowUp")) {
      const next = at + (event.key === "ArrowDown" ? 1 : -1);
      (buttons[next] ?? this.box).focus();
    } else if (at >= 0 && event.key === "Escape") {
      this.box.focus();
    } else if (at < 0 && move !== undefined && !event.ctrlKey && !event.metaKey && !event.altKey && this.items.length) {
      const backwards = getComputedStyle(this.spans[0]).direction === "rtl" && Math.abs(move) === 1;
      this.select(Math.max(0, Math.min(this.items.length - 1, this.from + (backwards ? -move : move))));
      this.spans[this.current].scrollIntoView({ block: "nearest" });
    } else if (at < 0 && (event.key === "ArrowDown" || event.key === "Enter") && !this.panel.hidden) {
      buttons[0]?.focus();
    } else {
      return;
    }
    event.preventDefault();
  }
}
