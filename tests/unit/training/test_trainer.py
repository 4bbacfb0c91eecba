"""The trainer: exact resume, whatever happens between two steps."""

from __future__ import annotations

import csv
import importlib.util
import signal
import time
from pathlib import Path

import pytest
import torch

from hdm_pipeline.errors import ConfigError, TrainingError
from hdm_pipeline.model.checkpoints import load_network
from hdm_pipeline.training.config import OptimizerConfig, TrainConfig
from hdm_pipeline.training.trainer import (
    CHECKPOINT,
    StepReport,
    Trainer,
    build_network,
    export_weights,
    learning_rate,
    run_single,
)
from hdm_pipeline.training.training_log import LOG
from tests.forked import start
from tests.small_pyramid import SMALLEST

NETWORK = {**SMALLEST, "training_queries": 2}


def settings(output: Path, **changes: object) -> dict[str, object]:
    return {
        "output": str(output),
        "steps": 6,
        "network": {"options": NETWORK},
        "data": {"workers": 0, "batches": [{"size": 32, "images": 4}], "shots": {1: 1, 3: 1}},
        "optimizer": {"lr": 1e-3, "warmup": 2},
        "validation": {"every": 3, "episodes": 2, "size": 32},
        "checkpoint_every": 2,
        "threads": 1,
        **changes,
    }


def config(output: Path, **changes: object) -> TrainConfig:
    return TrainConfig.model_validate(settings(output, **changes))


def curve(folder: Path) -> list[list[str]]:
    with (folder / LOG).open(newline="") as file:
        return [row[:-1] for row in csv.reader(file)]  # all but the seconds


class StopRunError(Exception):
    """What interrupts a run between two steps."""


def interrupt(at: int):
    def on_step(report: StepReport) -> None:
        if report.step == at:
            raise StopRunError

    return on_step


def test_a_resumed_run_has_the_same_curve_bit_for_bit(tmp_path: Path) -> None:
    run_single(config(tmp_path / "whole"))
    with pytest.raises(StopRunError):
        run_single(config(tmp_path / "broken"), interrupt(5))
    run_single(config(tmp_path / "broken"))
    assert curve(tmp_path / "broken") == curve(tmp_path / "whole")
    weights = [torch.load(tmp_path / name / CHECKPOINT, weights_only=True) for name in ("whole", "broken")]
    for part in ("network", "average"):
        assert all(torch.equal(weights[0][part][name], tensor) for name, tensor in weights[1][part].items())


@pytest.mark.long
def test_a_killed_process_goes_on_with_the_same_curve(tmp_path: Path) -> None:
    whole, killed = (
        config(tmp_path / name, steps=16, precision="bf16", validation={"every": 0}) for name in ("whole", "killed")
    )
    run_single(whole)
    process = start(run_single, killed)
    deadline = time.monotonic() + 60
    while not (tmp_path / "killed" / CHECKPOINT).exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    process.kill()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert len(curve(tmp_path / "killed")) < len(curve(tmp_path / "whole"))
    process = start(run_single, killed)
    process.join()
    assert process.exitcode == 0
    assert curve(tmp_path / "killed") == curve(tmp_path / "whole")


def test_worker_processes_change_nothing(tmp_path: Path) -> None:
    run_single(config(tmp_path / "here"))
    data = {"workers": 2, "batches": [{"size": 32, "images": 4}], "shots": {1: 1, 3: 1}}
    run_single(config(tmp_path / "there", data=data))
    assert curve(tmp_path / "here") == curve(tmp_path / "there")


def test_a_checkpoint_of_another_configuration_is_refused(tmp_path: Path) -> None:
    run_single(config(tmp_path))
    with pytest.raises(TrainingError, match="another training configuration"):
        run_single(config(tmp_path, seed=9))


def test_a_trapezoid_may_be_lengthened(tmp_path: Path) -> None:
    optimizer = {"lr": 1e-3, "schedule": "trapezoid", "cooldown": 0.5}
    run_single(config(tmp_path, optimizer=optimizer))
    run_single(config(tmp_path, optimizer=optimizer, steps=8))
    assert [row[0] for row in curve(tmp_path)[1:]] == [str(step) for step in range(1, 9)]


def test_exported_weights_are_the_average_and_load(tmp_path: Path) -> None:
    run_single(config(tmp_path))
    export_weights(config(tmp_path), tmp_path / CHECKPOINT, tmp_path / "w.safetensors")
    state = torch.load(tmp_path / CHECKPOINT, weights_only=True)
    network = load_network(tmp_path / "w.safetensors")
    for name, tensor in network.state_dict().items():
        torch.testing.assert_close(tensor, state["average"][name], atol=1e-3, rtol=1e-3)
    assert any(not torch.equal(state["average"][name], state["network"][name]) for name in state["average"])


def test_training_starts_from_weights(tmp_path: Path) -> None:
    run_single(config(tmp_path / "first"))
    weights = tmp_path / "w.safetensors"
    export_weights(config(tmp_path / "first"), tmp_path / "first" / CHECKPOINT, weights)
    network = build_network(config(tmp_path / "second", network={"weights": str(weights)}))
    assert network.fingerprint() == load_network(weights).fingerprint()


def test_a_loss_that_is_not_finite_ends_the_run(tmp_path: Path) -> None:
    loaded = config(tmp_path)
    network = build_network(loaded)
    with torch.no_grad():
        network.backbone.down[0].weight.fill_(torch.nan)
    with pytest.raises((TrainingError, torch.linalg.LinAlgError)):
        Trainer(loaded, network).run()


def test_options_that_do_not_fit_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="depht"):
        build_network(config(tmp_path, network={"options": {"depht": 3}}))


def first_step(folder: Path, factors: dict[str, float]) -> dict[str, float]:
    """How far the first step moves the median weight of the backbone, of the decoder and of the rest."""
    optimizer = {"lr": 1e-3, "group_factors": factors}
    loaded = config(folder, steps=1, optimizer=optimizer, validation={"every": 0})
    network = build_network(loaded)
    before = {name: tensor.clone() for name, tensor in network.named_parameters()}
    Trainer(loaded, network).run()
    moved: dict[str, list[torch.Tensor]] = {}
    for name, tensor in network.named_parameters():
        part = name.partition(".")[0]
        part = part if part in ("backbone", "decoder") else "rest"
        moved.setdefault(part, []).append((tensor - before[name]).detach().abs().flatten())
    return {part: torch.cat(tensors).median().item() for part, tensors in moved.items()}


def test_groups_learn_at_their_own_rate_or_not_at_all(tmp_path: Path) -> None:
    """The first step of AdamW goes as far as its rate says, whatever the gradient."""
    alike = first_step(tmp_path / "alike", {})
    apart = first_step(tmp_path / "apart", {"backbone.": 0.0, "decoder.": 10.0})
    assert all(alike.values())
    assert apart["backbone"] == 0.0
    assert apart["decoder"] == pytest.approx(10 * alike["decoder"], rel=0.02)
    assert apart["rest"] == pytest.approx(alike["rest"], rel=0.02)


def test_schedules() -> None:
    cosine = OptimizerConfig(schedule="cosine", warmup=10)
    assert learning_rate(cosine, 0, 110) == pytest.approx(0.1)
    assert learning_rate(cosine, 9, 110) == learning_rate(cosine, 10, 110) == pytest.approx(1.0)
    assert learning_rate(cosine, 60, 110) == pytest.approx(0.5)
    poly = OptimizerConfig(schedule="poly")
    assert learning_rate(poly, 50, 100) == pytest.approx(0.5**0.9)
    trapezoid = OptimizerConfig(schedule="trapezoid", cooldown=0.25)
    assert [learning_rate(trapezoid, step, 100) for step in (0, 74)] == [1.0, 1.0]
    assert learning_rate(trapezoid, 90, 100) == pytest.approx(0.4)


def test_tensorboard_writes_events_or_says_what_is_missing(tmp_path: Path) -> None:
    loaded = config(tmp_path, tensorboard=True, validation={"every": 0}, steps=3)
    if importlib.util.find_spec("tensorboard") is None:
        with pytest.raises(TrainingError, match="TensorBoard is not installed"):
            run_single(loaded)
    else:
        run_single(loaded)
        assert list((tmp_path / "events").iterdir())


def test_a_blend_lies_between_first_and_averaged_weights(tmp_path: Path) -> None:
    settled = config(tmp_path, steps=2, optimizer={"lr": 1e-2, "warmup": 1}, validation={"every": 0})
    run_single(settled)
    states = []
    for blend in (1.0, 0.5):
        changed = settled.model_copy(update={"blend": blend})
        export_weights(changed, tmp_path / CHECKPOINT, tmp_path / "out.safetensors")
        states.append(load_network(tmp_path / "out.safetensors").state_dict())
    first = build_network(settled).state_dict()
    name = "backbone.down.0.weight"
    assert not torch.allclose(states[0][name], first[name], atol=1e-3)
    torch.testing.assert_close(states[1][name], (states[0][name] + first[name]) / 2, atol=1e-3, rtol=1e-2)
