"""A model as one JavaScript module, for use in other pages."""

from __future__ import annotations

import json
from importlib.resources import files

from charrnn.inference.language_model import LanguageModel
from charrnn.page.weights import describe, to_base64

SCRIPTS = "network.js", "sampling.js"
"""The files in ``static/`` that compute the network and write texts: classic scripts, the second needs the first."""

_MODULE = """\
// A character-level recurrent language model with its weights, written by charrnn. No dependencies.
//
//   import { logits, sample } from "./model.js";
//   await sample({ prime: "The ", length: 200, temperature: 0.8, seed: 1 })  // also topK, topP, until
//   await logits("The ")  // one Float32Array per character: the logits of the character after it, in the order of the ids
//
// Text, Network and model are for programs that read and write step by step; the comments below describe them.

%(scripts)s
const model = %(model)s;
const text = new Text(model);
let network = null;

/** Return the network of this module, and create it on the first call. */
function loaded() {
  network ??= new Network(model, weightsFrom(weights, model.dtype));
  return network;
}

/** Return a promise of the logits after each character of a string, an array of Float32Arrays (V). */
async function logits(string) {
  return inSlices(reading(loaded(), text, string));
}

/** Return a promise of a text: `prime` and what follows it. The same seed gives the same text here, but not the text that
    Python generates. */
async function sample(settings) {
  return (await inSlices(writing(loaded(), text, settings))).join("");
}

export { logits, sample, loaded, Network, Text, model };

const weights = "%(weights)s";
"""


def static(*names: str) -> str:
    """Return the content of some files in ``static/``, one after the other."""
    return "\n".join((files("charrnn.page") / "static" / name).read_text(encoding="utf-8") for name in names)


def module(model: LanguageModel, dtype: str = "float16") -> str:
    """Return a JavaScript module that contains a model and runs it; its first lines say what it exports.

    The weights have the ``dtype`` float16 or float32. Needs about 3 MB for each million parameters in float16.

    Raises ConfigError if ``dtype`` is invalid or cannot hold the weights, CharRNNError if JavaScript has no such cell.
    """
    return _MODULE % {"scripts": static(*SCRIPTS), "model": json.dumps({**describe(model), "dtype": dtype}),
                      "weights": to_base64(model, dtype)}
