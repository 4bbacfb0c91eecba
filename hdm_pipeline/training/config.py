"""The training file as types: what `train CONFIG` reads. No torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from hdm_pipeline.config.file import read_training_file
from hdm_pipeline.config.schema import Model


class NetworkConfig(Model):
    """Which network is trained.

    Attributes:
        architecture: name of an entry point `hdm_pipeline.models`.
        options: constructor arguments; what is missing keeps its default.
        weights: start from this file (a path or `builtin:NAME`) and not from random weights.
    """

    architecture: str = "hdmnet-pyramid"
    options: dict[str, Any] = Field(default_factory=dict)
    weights: str | None = None


class SyntheticConfig(Model):
    """Episodes made on the fly."""

    kind: Literal["synthetic"] = "synthetic"
    share: PositiveFloat = 1.0


class FolderConfig(Model):
    """A folder with `images/` and `masks/`.

    Attributes:
        path: the folder; relative to the training file.
        share: how often it is drawn, relative to the other sources.
        hold_out_every: keep every so-many-th image out of training.
    """

    kind: Literal["folder"] = "folder"
    path: Path
    share: PositiveFloat = 1.0
    hold_out_every: PositiveInt | None = None


class FoldConfig(Model):
    """PASCAL-5i or COCO-20i in their usual layout, one fold held out.

    Attributes:
        kind: which of the two.
        path: the folder with images, masks and the list.
        fold: 0 to 3.
        share: how often it is drawn, relative to the other sources.
    """

    kind: Literal["pascal-5i", "coco-20i"]
    path: Path
    fold: Annotated[int, Field(ge=0, le=3)] = 0
    share: PositiveFloat = 1.0


SourceConfig = Annotated[SyntheticConfig | FolderConfig | FoldConfig, Field(discriminator="kind")]


class BatchConfig(Model):
    """One kind of batch.

    Attributes:
        size: side of all images in pixels, a multiple of 32.
        images: images in a batch, supports and queries together; episodes = images // (shots + 1), at least 1.
        share: how often this kind is drawn, relative to the others.
    """

    size: PositiveInt
    images: Annotated[int, Field(ge=2)]
    share: PositiveFloat = 1.0


class DataConfig(Model):
    """What batches are made of.

    Attributes:
        sources: where episodes come from.
        batches: kinds of batches.
        shots: share of each number of supports.
        workers: processes that make batches beside the trainer; 0 makes them in the trainer.
        worker_cpus: cores these processes are bound to; none binds nothing.
    """

    sources: list[SourceConfig] = Field(default=[SyntheticConfig()], min_length=1)
    batches: list[BatchConfig] = Field(min_length=1)
    shots: dict[PositiveInt, PositiveFloat] = Field(default_factory=lambda: {1: 1.0}, min_length=1)
    workers: Annotated[int, Field(ge=0)] = 1
    worker_cpus: list[Annotated[int, Field(ge=0)]] | None = None


class OptimizerConfig(Model):
    """AdamW and its schedule.

    Attributes:
        lr: base learning rate.
        group_factors: factor on `lr` for parameters whose name starts with a prefix; 0 freezes them.
        weight_decay: decoupled weight decay.
        decay_biases: decay biases, norms and scalars too.
        betas: of AdamW.
        schedule: cosine to zero, poly (1 - t)^0.9, constant, or trapezoid: constant, then linear to zero.
        cooldown: share of the steps in which a trapezoid falls.
        warmup: steps of linear warm-up.
        clip: largest norm of the gradient; none clips nothing.
    """

    lr: PositiveFloat = 1e-4
    group_factors: dict[str, Annotated[float, Field(ge=0)]] = Field(default_factory=dict)
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    decay_biases: bool = False
    betas: tuple[float, float] = (0.9, 0.999)
    schedule: Literal["cosine", "poly", "constant", "trapezoid"] = "cosine"
    cooldown: Annotated[float, Field(gt=0, le=1)] = 0.25
    warmup: Annotated[int, Field(ge=0)] = 0
    clip: PositiveFloat | None = 1.0


class ValidationConfig(Model):
    """Fixed synthetic episodes, of other seeds than training, by which checkpoints are compared.

    Attributes:
        every: steps between two validations; 0 validates never.
        episodes: number of episodes.
        size: side of their images.
        seed: of the episodes.
    """

    every: Annotated[int, Field(ge=0)] = 1000
    episodes: PositiveInt = 48
    size: PositiveInt = 128
    seed: int = 90210


class TrainConfig(Model):
    """A training run.

    Attributes:
        output: folder for log, checkpoints and weights; relative to the training file.
        steps: optimizer steps.
        seed: of the weights and of the episodes.
        precision: fp32, or bf16 autocast.
        ema: decay of the averaged weights that are exported.
        freeze_batchnorm: keep batch normalization layers in evaluation mode.
        checkpoint_every: steps between two checkpoints.
        threads: threads of the trainer; none leaves torch's default.
        replicas: training processes; more than one run under Ray Train and average their gradients.
        tensorboard: write TensorBoard events beside the CSV log.
    """

    network: NetworkConfig = NetworkConfig()
    data: DataConfig
    optimizer: OptimizerConfig = OptimizerConfig()
    validation: ValidationConfig = ValidationConfig()
    output: Path
    steps: PositiveInt
    seed: int = 0
    precision: Literal["fp32", "bf16"] = "fp32"
    ema: Annotated[float, Field(ge=0, lt=1)] = 0.999
    freeze_batchnorm: bool = False
    checkpoint_every: PositiveInt = 500
    threads: PositiveInt | None = None
    replicas: PositiveInt = 1
    tensorboard: bool = False

    @model_validator(mode="after")
    def _check(self) -> TrainConfig:
        if any(batch.size % 32 for batch in self.data.batches) and self.network.architecture == "hdmnet-pyramid":
            raise ValueError("data.batches: sizes must be multiples of 32")
        if self.optimizer.warmup >= self.steps:
            raise ValueError("optimizer.warmup must be smaller than steps")
        return self

    @classmethod
    def load(cls, path: Path, overrides: Sequence[str] = ()) -> TrainConfig:
        """Read a training file; relative paths in it count from its folder.

        Args:
            path: the YAML file.
            overrides: ``key.path=value`` items that replace values of the file.

        Raises:
            TrainingFileError: the file is missing, not YAML, or holds something unknown or impossible.
        """
        config = read_training_file(path, cls, overrides)
        base = path.resolve().parent
        sources = [
            source if isinstance(source, SyntheticConfig) else source.model_copy(update={"path": base / source.path})
            for source in config.data.sources
        ]
        data = config.data.model_copy(update={"sources": sources})
        return config.model_copy(update={"output": base / config.output, "data": data})
