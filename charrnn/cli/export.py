"""``charrnn export``"""

from __future__ import annotations

from pathlib import Path

import click

from charrnn.errors import printable


@click.command(name="export")
@click.argument("run_or_checkpoint", type=click.Path())
@click.option("-o", "--output", required=True, type=click.Path(), metavar="FILE", help="File to write.")
@click.option("--overwrite", is_flag=True, help="Replace FILE if it exists.")
def command(run_or_checkpoint: str, output: str, overwrite: bool) -> None:
    """Write the weights of a model into a safetensors file, for PyTorch.

    RUN_OR_CHECKPOINT is a run folder (whose best.h5 is used), the name of a run in checkpoints/, a checkpoint, a model file
    or 'english', the bundled model. The weights have the names and the layout of torch.nn.LSTM, GRU or RNN; the metadata
    contains the characters and the settings. The page docs/pytorch.md shows how to load it, and has a module for the
    cell lnlstm, which PyTorch does not have.

    This needs the package safetensors: pip install '.[export]'.
    """
    from charrnn.inference.language_model import load
    from charrnn.inference.pytorch import export

    model = load(run_or_checkpoint)
    path = Path(output)
    export(model, path, overwrite)
    click.echo(printable(f"{path}: {model.network.parameters.flat.size:,} parameters of {model.network.dtype.name}, "
                         f"{path.stat().st_size:,} bytes"))
    if model.network.config.cell == "lnlstm":
        click.echo("PyTorch has no layer-normalized LSTM with coupled gates; docs/pytorch.md defines it", err=True)
