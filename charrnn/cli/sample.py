"""``charrnn sample``"""

from __future__ import annotations

import sys

import click

from charrnn.config import SAMPLE_LENGTH


@click.command(name="sample")
@click.argument("run_or_checkpoint", type=click.Path())
@click.option("--length", type=int, default=SAMPLE_LENGTH, show_default=True, metavar="N",
              help="Characters to write after the prime.")
@click.option("--temperature", type=float, default=1.0, show_default=True, metavar="X",
              help="Below 1 the likely becomes likelier, above 1 less so.")
@click.option("--top-k", type=int, metavar="N", help="Draw from the N likeliest characters only.  [default: from all]")
@click.option("--top-p", type=float, metavar="X",
              help="Draw from the fewest characters that together have this probability.  [default: from all]")
@click.option("--greedy", is_flag=True, help="Take the likeliest character each time instead of drawing.")
@click.option("--prime", default="", metavar="TEXT", help="Text to go on from; '-' reads it from standard input.")
@click.option("--until", metavar="TEXT", help="Stop once this text has been written.")
@click.option("--count", type=int, default=1, show_default=True, metavar="N",
              help="Samples to write, a line '---' between them.")
@click.option("--seed", type=int, metavar="N", help="The same seed gives the same text.  [default: another each time]")
def command(run_or_checkpoint: str, length: int, temperature: float, top_k: int | None, top_p: float | None, greedy: bool,
            prime: str, until: str | None, count: int, seed: int | None) -> None:
    """Write text from the model of RUN_OR_CHECKPOINT: a run folder, whose best.h5 is taken, or a checkpoint."""
    import secrets

    from charrnn.corpus import decode
    from charrnn.run import Run
    from charrnn.run_folder import checkpoint_at
    from charrnn.sampler import sample_many

    run = Run.load(checkpoint_at(run_or_checkpoint))
    if prime == "-":
        prime = decode(sys.stdin.buffer.read(), "standard input")
    turns = sample_many(run.model, run.vocabulary, count, prime=prime, length=length, temperature=temperature,
                        top_k=top_k, top_p=top_p, greedy=greedy, until=until,
                        seed=secrets.randbits(32) if seed is None else seed)
    sys.stdout.reconfigure(encoding="utf-8", newline="\n")  # type: ignore[union-attr]
    others: list[list[str]] = []
    last = "\n"
    for first, *rest in turns:
        sys.stdout.write(first)
        last = first or last
        sys.stdout.flush()
        others.append(rest)
    for number in range(count - 1):
        text = "".join(rest[number] for rest in others)
        sys.stdout.write(f"{'' if last.endswith(chr(10)) else chr(10)}---\n{text}")
        last = text or last
    if not last.endswith("\n"):
        sys.stdout.write("\n")
