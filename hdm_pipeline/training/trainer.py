"""The training loop: one process, exact resume.

Everything a step depends on is its number (the episodes), the checkpoint (weights, average, optimizer) and the
configuration. Killed at any moment and started again, a run goes on from its last checkpoint with the same numbers.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from hdm_pipeline.errors import TrainingError
from hdm_pipeline.model.checkpoints import save_weights
from hdm_pipeline.model.network import FewShotNetwork, Losses
from hdm_pipeline.training.batches import BatchSequence, RawBatch, batch_loader, to_episode_batch
from hdm_pipeline.training.config import OptimizerConfig, TrainConfig
from hdm_pipeline.training.start import first_network
from hdm_pipeline.training.training_log import TrainingLog
from hdm_pipeline.training.validation import Validation

CHECKPOINT = "checkpoint.pt"

_FREE: dict[str, Any] = {
    **dict.fromkeys(("output", "tensorboard", "checkpoint_every", "threads", "validation", "blend"), True),
    "data": {"workers": True, "worker_cpus": True},
}
"""What two starts of one run may differ in."""


@dataclass(frozen=True)
class StepReport:
    """What a step tells a progress display.

    Attributes:
        step: steps done.
        loss: total loss of this step.
        validation: mean IoU of the averaged weights, where this step validated.
    """

    step: int
    loss: float
    validation: float | None


def learning_rate(config: OptimizerConfig, step: int, steps: int) -> float:
    """Factor on the base learning rate for a step counted from 0."""
    if step < config.warmup:
        return (step + 1) / config.warmup
    progress = (step - config.warmup) / max(1, steps - config.warmup)
    if config.schedule == "cosine":
        return 0.5 * (1 + math.cos(math.pi * progress))
    if config.schedule == "poly":
        return float((1 - progress) ** 0.9)
    if config.schedule == "trapezoid":
        return min(1.0, (1 - progress) / config.cooldown)
    return 1.0


def build_network(config: TrainConfig) -> FewShotNetwork:
    """The network of a run with its first weights, on the GPU if there is one.

    Raises:
        ConfigError: the architecture is unknown or does not take these options.
        WeightsError: the weights to start from cannot be read.
    """
    torch.manual_seed(config.seed)
    network = first_network(config.network)
    ready: FewShotNetwork = network.to(torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    return ready


def run_single(config: TrainConfig, on_step: Callable[[StepReport], None] | None = None) -> None:
    """Train in this process from the first step or from the last checkpoint."""
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    Trainer(config, build_network(config)).run(on_step)


def export_weights(config: TrainConfig, checkpoint: Path, path: Path) -> None:
    """Write the averaged weights of a checkpoint as a weights file.

    Raises:
        TrainingError: there is no checkpoint.
    """
    if not checkpoint.exists():
        raise TrainingError("there is no checkpoint", where=str(checkpoint), remedy="train first")
    network = build_network(config).cpu()
    state = torch.load(checkpoint, map_location="cpu", weights_only=True)
    start = network.state_dict()
    network.load_state_dict(
        {name: torch.lerp(start[name], trained, config.blend) for name, trained in state["average"].items()}
    )
    recipe = f"step {state['step']} of {config.steps}, averaged weights"
    if config.blend < 1:
        recipe += f" and the first ones, {config.blend:g} to {1 - config.blend:g}"
    save_weights(network, path, info={"recipe": recipe}, half=True)


class Trainer:
    """Trains one network by one configuration.

    Args:
        config: the run.
        network: the network, already on its device.
        rank: number of this replica.
        reduce: averages gradients over replicas, in place; none for a single process.
    """

    def __init__(
        self,
        config: TrainConfig,
        network: FewShotNetwork,
        *,
        rank: int = 0,
        reduce: Callable[[nn.Module], None] | None = None,
    ) -> None:
        self.config = config
        self.network = network
        self.step = 0
        self._rank = rank
        self._reduce = reduce
        self._device = next(network.parameters()).device
        self._optimizer = _optimizer(config.optimizer, network)
        self._average = [p.detach().clone() for p in network.parameters()]
        self._validation = Validation(config.validation) if config.validation.every else None
        config.output.mkdir(parents=True, exist_ok=True)
        self._resume()

    def run(self, on_step: Callable[[StepReport], None] | None = None) -> None:
        """Train to the last step; writes log and checkpoints into `config.output`.

        Raises:
            TrainingError: the loss is not finite, or a checkpoint belongs to another configuration.
        """
        config = self.config
        replicas = config.replicas
        sequence = BatchSequence(config.data, config.seed, config.steps * replicas)
        batches = batch_loader(sequence, self.step * replicas + self._rank, replicas, config.data)
        with TrainingLog(config, self.step, write=self._rank == 0) as log:
            started = time.perf_counter()
            while self.step < config.steps:
                rate, losses, norm = self._train_step(next(batches))
                self.step += 1
                row = {"step": self.step, "lr": rate, "total": float(losses.total.detach()), "gradient_norm": norm}
                row |= {name: float(part) for name, part in losses.parts.items()}
                score = self._validate()
                log.write(row, score, time.perf_counter() - started)
                if self.step % config.checkpoint_every == 0 or self.step == config.steps:
                    self._save()
                if on_step is not None:
                    on_step(StepReport(self.step, float(row["total"]), score))

    def averaged(self) -> Mapping[str, Tensor]:
        """The averaged weights as a state dict."""
        names = [name for name, _ in self.network.named_parameters()]
        return {**self.network.state_dict(), **dict(zip(names, self._average, strict=True))}

    def _train_step(self, raw: RawBatch) -> tuple[float, Losses, float]:
        config = self.config
        self._set_mode()
        rate = config.optimizer.lr * learning_rate(config.optimizer, self.step, config.steps)
        for group in self._optimizer.param_groups:
            group["lr"] = rate * group["factor"]
        batch = to_episode_batch(raw, self.network.normalize, self._device)
        with torch.autocast(self._device.type, torch.bfloat16, enabled=config.precision == "bf16"):
            losses = self.network.losses(batch)
        if not math.isfinite(float(losses.total.detach())):
            raise TrainingError(
                f"the loss of step {self.step} is not finite", where=str(config.output), remedy="lower optimizer.lr"
            )
        self._optimizer.zero_grad(set_to_none=True)
        losses.total.backward()  # type: ignore[no-untyped-call]
        if self._reduce is not None:
            self._reduce(self.network)
        limit = config.optimizer.clip if config.optimizer.clip is not None else math.inf
        norm = nn.utils.clip_grad_norm_(self.network.parameters(), limit)
        self._optimizer.step()
        self._update_average()
        return rate, losses, float(norm)

    def _set_mode(self) -> None:
        self.network.train()
        if self.config.freeze_batchnorm:
            for module in self.network.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.eval()

    @torch.no_grad()
    def _update_average(self) -> None:
        # A young average would remember the random start for long: the decay grows to its final value.
        decay = min(self.config.ema, (1 + self.step) / (10 + self.step))
        torch._foreach_lerp_(self._average, [p.detach() for p in self.network.parameters()], 1 - decay)

    def _validate(self) -> float | None:
        every = self.config.validation.every
        if self._validation is None or self._rank or (self.step % every and self.step != self.config.steps):
            return None
        trained = {name: tensor.clone() for name, tensor in self.network.state_dict().items()}
        self.network.load_state_dict(self.averaged())
        score = self._validation.mean_iou(self.network)
        self.network.load_state_dict(trained)
        return score

    def _identity(self) -> str:
        """Hash of all that the curve depends on; output folder, workers and logging may change between two starts.

        A trapezoid may be lengthened or shortened as well: before its cooldown it does not depend on its end.
        """
        part = self.config.model_dump(mode="json", exclude=_FREE)
        if self.config.optimizer.schedule == "trapezoid":
            del part["steps"], part["optimizer"]["cooldown"]
        return hashlib.sha256(json.dumps(part, sort_keys=True).encode()).hexdigest()

    def _save(self) -> None:
        if self._rank:
            return
        path = self.config.output / CHECKPOINT
        state = {
            "identity": self._identity(),
            "step": self.step,
            "network": self.network.state_dict(),
            "average": dict(self.averaged()),
            "optimizer": self._optimizer.state_dict(),
            "random": torch.get_rng_state(),
        }
        scratch = path.with_suffix(".tmp")
        with scratch.open("wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        scratch.replace(path)

    def _resume(self) -> None:
        path = self.config.output / CHECKPOINT
        if not path.exists():
            return
        state: dict[str, Any] = torch.load(path, map_location=self._device, weights_only=True)
        if state["identity"] != self._identity():
            raise TrainingError(
                "the checkpoint there belongs to another training configuration",
                where=str(path),
                remedy="choose another output folder, or restore the training file",
            )
        self.step = state["step"]
        self.network.load_state_dict(state["network"])
        self._average = [state["average"][name].clone() for name, _ in self.network.named_parameters()]
        self._optimizer.load_state_dict(state["optimizer"])
        torch.set_rng_state(state["random"].cpu())


def _optimizer(config: OptimizerConfig, network: nn.Module) -> torch.optim.Optimizer:
    """AdamW with one group for each factor and, within it, for what is not decayed."""
    groups: dict[tuple[float, bool], list[nn.Parameter]] = {}
    for name, parameter in network.named_parameters():
        factor = next((f for prefix, f in config.group_factors.items() if name.startswith(prefix)), 1.0)
        if factor == 0.0:
            parameter.requires_grad_(False)
        if parameter.requires_grad:
            groups.setdefault((factor, config.decay_biases or parameter.ndim > 1), []).append(parameter)
    return torch.optim.AdamW(
        [
            {"params": params, "factor": factor, "weight_decay": config.weight_decay if decayed else 0.0}
            for (factor, decayed), params in groups.items()
        ],
        lr=config.lr,
        betas=config.betas,
        fused=True,
    )
