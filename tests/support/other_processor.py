"""Run some compiled kernels in a child process whose numba knows no features of the processor, and print the results.

That is how numba compiles for a processor without AVX; on ARM, LLVM adds the instructions of that processor.
"""

from __future__ import annotations

import json
import re

import numpy as np
from llvmlite import binding

from charrnn.nn.kernels import compiled, reference, tile

T, B, H = 3, 7, 37  # seven rows are a tile of six and one of one row; H is odd, so that vector loops have a remainder


def difference(name: str, gates: int, states: int) -> float:
    """Return the largest difference between the compiled loop ``name`` and the reference."""
    rng = np.random.default_rng(1)
    x, w = rng.standard_normal((T, B, gates * H)), rng.standard_normal((H, gates * H)) / H**0.5
    start = np.tanh(rng.standard_normal((states, T + 1, B, H)))
    reset = rng.random((T, B)) < 0.3
    results = []
    for kind in (reference, compiled):
        arrays = [np.ascontiguousarray(array, np.float32) for array in (x, *start)]
        packed_weights = kind.pack(w.astype(np.float32))
        getattr(kind, name)(arrays[0], packed_weights, *arrays[1:], reset)
        results.append(arrays)
    return max(float(abs(one - other).max()) for one, other in zip(*results))


def on_arm() -> dict[str, int]:
    """Return how often instructions occur in the tile that LLVM generates for an Apple M1."""
    (text,) = compiled._three_rows.inspect_llvm().values()
    text = re.sub(r'target (datalayout|triple) = .*\n|"target-(cpu|features)"="[^"]*"', "", text)
    text = re.sub(r"(?:tail )?call i8 @llvm\.x86\.atomic.*", "add i8 0, 0", text)  # counts references to arrays
    binding.initialize_all_targets()
    binding.initialize_all_asmprinters()
    triple = "aarch64-apple-darwin"
    machine = binding.Target.from_triple(triple).create_target_machine(cpu="apple-m1", opt=3)
    module = binding.parse_assembly(text)
    module.triple, module.data_layout = triple, str(machine.target_data)
    assembly = machine.emit_assembly(module)
    return {"multiply-adds": len(re.findall(r"fmla\.4s", assembly)), "calls of fma": assembly.count("_fma")}


def main() -> None:
    """Print one JSON object on each line."""
    compiled.check()
    (assembly,) = compiled._three_rows.inspect_asm().values()
    print(json.dumps({"bfloat16": tile.HAS_BFLOAT16, "columns": tile.COLUMNS,
                      "registers": sorted(set(re.findall(r"%([xyz]mm)\d", assembly))),
                      "difference": difference("lstm_forward", 4, 2)}), flush=True)
    print(json.dumps(on_arm()))


if __name__ == "__main__":
    main()
