"""The training file as types: what `train CONFIG` reads. No torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from hdm_pipeline.config.base import Model
from hdm_pipeline.config.file import read_training_file


class NetworkConfig(Model):
    """Which network is trained.

    Attributes:
        architecture: name of an entry point `hdm_pipeline.models`.
        options: constructor arguments; what is missing keeps its default.
        weights: start from this file (relative to the training file) or from `builtin:NAME`, and not from random
            weights. With `options`, which are then changes to its configuration, what the file lacks starts as in a
            new network.
        backbone: the pretrained backbone, a file that `weights import-backbone` wrote; relative to the training file.
        tune_backbone: train the pretrained backbone as well; `group_factors: {context.backbone.: ...}` says how gently.
    """

    architecture: str = "hdmnet-pyramid"
    options: dict[str, Any] = Field(default_factory=dict)
    weights: str | None = None
    backbone: Path | None = None
    tune_backbone: bool = False


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


class TasksConfig(Model):
    """A folder of folders with `images/` and `labels/`, each with classes of its own (`tasks.TaskSource`).

    Attributes:
        path: the folder of folders; relative to the training file.
        share: how often it is drawn, relative to the other sources.
        leave_out: folders that are not used: those of validation.
        only: the folders that are used; all if empty.
        augment: change geometry and appearance; validation does not.
    """

    kind: Literal["tasks"] = "tasks"
    path: Path
    share: PositiveFloat = 1.0
    leave_out: list[str] = Field(default_factory=list)
    only: list[str] = Field(default_factory=list)
    augment: bool = True


AnySource = SyntheticConfig | FolderConfig | FoldConfig | TasksConfig
SourceConfig = Annotated[AnySource, Field(discriminator="kind")]


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
        workers: processes that make batches while the trainer works; 0 makes them in the trainer.
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
    """Fixed episodes, of other seeds than training, by which checkpoints are compared.

    Attributes:
        source: where they come from; real tasks must be of folders that training leaves out.
        every: steps between two validations; 0 validates never.
        episodes: number of episodes.
        size: side of their images.
        seed: of the episodes.
    """

    source: SourceConfig = SyntheticConfig()
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
        blend: share of the averaged weights in what is exported; the rest are the weights that the run started from.
            Below 1 keeps some of what the start knew of other domains (Wortsman et al., "Robust fine-tuning of
            zero-shot models", CVPR 2022).
        freeze_batchnorm: keep batch normalization layers in evaluation mode.
        checkpoint_every: steps between two checkpoints.
        threads: threads of the trainer; none leaves torch's default.
        replicas: training processes; more than one run under Ray Train and average their gradients.
        tensorboard: write TensorBoard events in addition to the CSV log.
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
    blend: Annotated[float, Field(gt=0, le=1)] = 1.0
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
        if seen := self._seen_in_both():
            raise ValueError(
                f"validation.source: folders that training uses as well: {', '.join(seen)}; leave them out"
            )
        return self

    def _seen_in_both(self) -> list[str]:
        """Folders of real tasks that would be trained on and validated by."""
        judged = self.validation.source
        if not isinstance(judged, TasksConfig) or not self.validation.every:
            return []
        trained = [s for s in self.data.sources if isinstance(s, TasksConfig) and s.path == judged.path]
        if trained and not judged.only:
            return ["all"]
        return [name for name in judged.only if any(name not in s.leave_out for s in trained if not s.only)]

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
        return config._from(path.resolve().parent)

    def _from(self, base: Path) -> TrainConfig:
        """The same with paths that count from `base`."""

        def placed(source: AnySource) -> AnySource:
            if isinstance(source, SyntheticConfig):
                return source
            return source.model_copy(update={"path": base / source.path})

        data = self.data.model_copy(update={"sources": [placed(source) for source in self.data.sources]})
        validation = self.validation.model_copy(update={"source": placed(self.validation.source)})
        network = self.network
        if network.backbone is not None:
            network = network.model_copy(update={"backbone": base / network.backbone})
        if network.weights is not None and not network.weights.startswith("builtin:"):
            network = network.model_copy(update={"weights": str(base / network.weights)})
        changes = {"output": base / self.output, "data": data, "validation": validation, "network": network}
        return self.model_copy(update=changes)
