"""``charrnn gradcheck``"""

from __future__ import annotations

import sys

import click

from charrnn.cli._options import setting
from charrnn.config import CELL_NAMES, ModelConfig, check_range


@click.command(name="gradcheck")
@setting(ModelConfig, "cell", keep_default=False, unset="all cells")
@click.option("--hidden-size", type=int, default=5, show_default=True, metavar="N",
              help="Hidden units of each layer.")
@click.option("--layers", type=int, default=2, show_default=True, metavar="N",
              help="Stacked recurrent layers.")
@click.option("--dropout", type=float, default=0.0, show_default=True, metavar="P",
              help="Fraction of each layer's outputs to drop.")
@click.option("--weight-drop", type=float, default=0.0, show_default=True, metavar="P",
              help="Fraction of the recurrent weights to drop.")
@click.option("--embedding-size", type=int, default=0, show_default=True, metavar="N",
              help="Size of character embeddings; 0 = one-hot.")
@click.option("--seed", type=int, default=1, show_default=True, metavar="N",
              help="Random seed for weights, text and state.")
def command(cell: str | None, hidden_size: int, layers: int, dropout: float, weight_drop: float,
            embedding_size: int, seed: int) -> None:
    """Compare the analytic gradients of a small model with numeric ones, in float64.

    Checks all cells, or only --cell. The error of an array is norm(analytic - numeric) / (norm(analytic) +
    norm(numeric)). The exit code is 1 if an error is not below 1e-7.
    """
    cells = [cell] if cell else list(CELL_NAMES)
    configs = [ModelConfig(each, hidden_size, layers, dropout, embedding_size, weight_drop) for each in cells]

    from charrnn.nn.gradient_check import TOLERANCE, check_gradients

    check_range("seed", seed, int, least=0)
    failed = checked = 0
    for config in configs:
        click.echo(f"{config.cell:<22}  {'shape':<9}  {'norm':>9}  {'error':>7}")
        for result in check_gradients(config, seed=seed):
            shape = " x ".join(map(str, result.shape))
            click.echo(f"  {result.name:<20}  {shape:<9}  {result.norm:9.3e}  {result.error:.1e}  "
                       f"{'ok' if result.ok else 'FAIL'}")
            checked += 1
            failed += not result.ok
    click.echo(f"{checked - failed} of {checked} gradients agree (relative error below {TOLERANCE:g})")
    sys.exit(1 if failed else 0)
