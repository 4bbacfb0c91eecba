"""Several training processes under Ray Train: each takes its share of the batches, gradients are averaged.

Training does not use `execution/ray.py`: it has no scenes, blocks or receipts, and what it needs, a process group whose
failures end the run, is Ray Train's own. Ray is imported when `replicas` is more than one.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import nn

from hdm_pipeline.errors import TrainingError
from hdm_pipeline.extras import install
from hdm_pipeline.training.config import TrainConfig


def run_replicas(config: TrainConfig) -> None:
    """Train with `config.replicas` processes; all of them must see `config.output` (a shared folder on a cluster).

    Raises:
        TrainingError: a worker failed; the run can be started again and goes on from its checkpoint.
    """
    import ray

    try:
        from ray.train import RunConfig, ScalingConfig
        from ray.train.torch import TorchTrainer
    except ImportError as error:
        raise TrainingError(
            "Ray Train is not installed",
            where="replicas",
            remedy=f"{install('distributed')}, or replicas: 1",
        ) from error

    started = not ray.is_initialized()
    if started:
        ray.init(address="local", include_dashboard=False, log_to_driver=False)
    try:
        trainer = TorchTrainer(
            _worker,
            train_loop_config={"config": config.model_dump_json()},
            scaling_config=ScalingConfig(num_workers=config.replicas, use_gpu=torch.cuda.is_available()),
            run_config=RunConfig(name="train", storage_path=str(config.output / "ray")),
        )
        trainer.fit()
    except ray.exceptions.RayError as error:
        raise TrainingError(
            f"a training worker failed: {error}", where=str(config.output), remedy="start again to resume"
        ) from error
    finally:
        if started:
            ray.shutdown()


def average_gradients(network: nn.Module) -> None:
    """Replace every gradient by its mean over all replicas, as one message."""
    gradients = [p.grad for p in network.parameters() if p.grad is not None]
    flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
    dist.all_reduce(flat)
    flat /= dist.get_world_size()
    offset = 0
    for gradient in gradients:
        size = gradient.numel()
        gradient.copy_(flat[offset : offset + size].view_as(gradient))
        offset += size


def _worker(settings: dict[str, Any]) -> None:
    from hdm_pipeline.training.trainer import Trainer, build_network

    config = TrainConfig.model_validate_json(settings["config"])
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    Trainer(config, build_network(config), rank=dist.get_rank(), reduce=average_gradients).run()
