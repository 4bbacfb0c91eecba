"""The network of a session: what settling leaves when somebody interrupts it."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from hdm_pipeline.config.schema import PipelineConfig
from hdm_pipeline.model.checkpoints import save_weights
from hdm_pipeline.session.network import ClassFit, SessionNetwork
from hdm_pipeline.session.values import TryEndedError
from hdm_pipeline.support.examples import SupportExample
from tests.small_pyramid import small_pyramid

BANDS = 5


def example(number: int) -> SupportExample:
    """The class is brighter in one of the bands."""
    pixels = np.random.default_rng(number).random((BANDS, 96, 96)).astype(np.float32)
    label = np.zeros((96, 96), np.uint8)
    label[:, :48] = 1
    pixels[number % BANDS, :, :48] += 0.5
    return SupportExample(f"e{number}", pixels.clip(0, 1), label, None)  # type: ignore[arg-type]


@pytest.fixture
def network(tmp_path: Path) -> SessionNetwork:
    save_weights(small_pyramid(0), tmp_path / "small.safetensors")
    classes: list[object] = [{"name": name, "examples": []} for name in ("water", "forest")]
    config = {
        "name": "test",
        "input": {"uri": "scenes", "bands": list(range(1, BANDS + 1)), "scale": {"fixed": [0, 1]}},
        "support": {"classes": classes},
        "model": {"weights": str(tmp_path / "small.safetensors")},
        "output": {"directory": "out"},
    }
    return SessionNetwork(PipelineConfig.model_validate(config))


def test_many_bands_are_projected_alike_after_a_settling_that_was_interrupted(
    network: SessionNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = {"water": [example(0)], "forest": [example(1)]}
    later = {"water": first["water"], "forest": [example(3)]}
    network.run(lambda: network.fit(first, lambda: False))
    with monkeypatch.context() as patch:
        patch.setattr(network, "_is_urgent", lambda: True)
        assert not network.settle(later)
    fits = network.run(lambda: network.fit(later, lambda: False))
    tiles = np.random.default_rng(9).random((1, BANDS, 96, 96)).astype(np.float32)
    scores = fits[0].segmenter.predict(tiles, [fit.bank for fit in fits])
    assert scores.shape == (1, 2, 96, 96)
    network.close()


def test_judging_gives_way_at_the_next_layer_and_the_next_try_encodes_nothing_anew(
    network: SessionNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    classes = {"water": [example(0), example(5)]}
    (before,) = network.run(lambda: network.fit(classes, lambda: False))
    before.segmenter.predict(np.zeros((1, BANDS, 96, 96), np.float32), [before.bank])  # makes the copy that computes
    judged: list[str] = []

    with monkeypatch.context() as patch:

        def judge(fit: ClassFit) -> ClassFit:
            judged.append(fit.name)
            patch.setattr(network, "_urgent", 1)  # somebody tries
            before.segmenter.predict(np.ones((1, BANDS, 96, 96), np.float32), [before.bank])
            return fit

        patch.setattr(network, "_judged", judge)
        patch.setattr(network, "_reductions", lambda tensors: dict.fromkeys(tensors, 2.0))
        assert not network.settle(classes)
    assert judged == ["water"]
    assert network.run(lambda: network.fit(classes, lambda: False)) == [before]
    network.close()


def test_a_network_that_was_warmed_up_needs_its_file_no_more(network: SessionNetwork, tmp_path: Path) -> None:
    network.warm_up()
    (tmp_path / "small.safetensors").unlink()
    assert network.run(lambda: network.fit({"water": [example(0)]}, lambda: False))
    network.close()


def test_nothing_is_asked_of_a_network_that_was_closed(network: SessionNetwork) -> None:
    network.close()
    with pytest.raises(TryEndedError, match="closed"):
        network.run(lambda: None)


def test_a_changed_pipeline_file_waits_for_no_try_and_holds_for_the_next(network: SessionNetwork) -> None:
    classes = {"water": [example(0)]}
    (before,) = network.run(lambda: network.fit(classes, lambda: False))
    config = network._config
    execution = config.execution.model_copy(update={"batch_size": 3})
    trying, ended = threading.Event(), threading.Event()

    def job() -> bool:
        trying.set()
        return ended.wait(20)

    with ThreadPoolExecutor(1) as threads:
        running = threads.submit(network.run, job)
        assert trying.wait(20)
        network.use(config.model_copy(update={"execution": execution}))
        assert not running.done()
        ended.set()
        assert running.result()
    (after,) = network.run(lambda: network.fit(classes, lambda: False))
    assert (before.segmenter.gpu_batch, after.segmenter.gpu_batch) == (config.execution.batch_size, 3)
    network.close()
