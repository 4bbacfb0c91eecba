"""CUDA graphs: what they replay is what runs without them; scoring is fit to be recorded, which needs no GPU to see."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from hdm_pipeline.model.bank import SupportBank
from hdm_pipeline.model.fast import graphs
from hdm_pipeline.model.fast.optimize import accelerate
from hdm_pipeline.model.hdmnet.network import HDMNet
from hdm_pipeline.model.network import FewShotNetwork
from tests.small_pyramid import small_pyramid
from tests.unit.model.conftest import blob, make_network, picture

SIDE = 65
NETWORKS: Mapping[str, Callable[[], FewShotNetwork]] = {
    "hdmnet": make_network,
    "hdmnet of five shots": lambda: make_network(shot=5),
    "hdmnet without base learner": lambda: make_network(base_learner=False),
    "pyramid": lambda: small_pyramid(1),
}
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")


def tiles_of(network: FewShotNetwork, seed: int) -> Tensor:
    """Two equal tiles, on the network's device."""
    device = next(network.parameters()).device
    return network.normalize(torch.from_numpy(picture(seed, SIDE, SIDE)).to(device))[None].repeat(2, 1, 1, 1)


def bank_of(network: FewShotNetwork, seed: int = 1) -> SupportBank:
    images = [tiles_of(network, seed + k)[0] for k in range(5)]
    return network.encode_support(images, [torch.from_numpy(blob(SIDE, SIDE)).to(images[0].device)] * 5)


class NothingFromTheHost(TorchDispatchMode):
    """Fails where an operation takes a tensor from the host or makes one there."""

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Sequence[type], args: Any = (), kwargs: Any = None
    ) -> Any:
        answer = func(*args, **(kwargs or {}))
        tensors = [leaf for leaf in tree_leaves((args, kwargs, answer)) if isinstance(leaf, Tensor)]
        assert not any(tensor.device.type == "cpu" for tensor in tensors), f"{func} touches the host"
        return answer


@pytest.mark.parametrize("name", NETWORKS)
def test_scoring_stays_on_the_device(name: str) -> None:
    """On the meta device asking for a value fails, and so does an operation with a tensor of the host."""
    network = NETWORKS[name]()
    bank = bank_of(network)
    fast = accelerate(network, "bf16").network
    extractor = fast.__dict__.get("_extractor")
    for part in (fast, extractor):
        if part is not None:
            part.to("meta")
    tiles = torch.empty(2, 3, SIDE, SIDE, device="meta")
    fast.score(tiles, [bank])  # brings the bank
    with NothingFromTheHost():
        assert fast.score(tiles, [bank]).shape == (2, 1, SIDE, SIDE)


def test_where_nothing_can_be_recorded_batches_run_as_they_are(
    vgg: HDMNet, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise RuntimeError("operation not permitted when stream is capturing")

    monkeypatch.setattr(graphs, "_record", refuse)
    bank, graphed = bank_of(vgg), graphs.GraphedScore(vgg.score)
    with caplog.at_level(logging.WARNING):
        for seed in (1, 2, 3):
            tiles = tiles_of(vgg, seed)
            assert torch.equal(graphed(tiles, [bank]), vgg.score(tiles, [bank]))
    assert [record.message.split(",")[0] for record in caplog.records] == ["no CUDA graph"]


def test_the_second_batch_of_a_kind_is_recorded(vgg: HDMNet, monkeypatch: pytest.MonkeyPatch) -> None:
    recorded: list[tuple[int, ...]] = []

    def refuse(_: object, tiles: Tensor, banks: object) -> None:
        recorded.append(tuple(tiles.shape))
        raise RuntimeError

    monkeypatch.setattr(graphs, "_record", refuse)
    bank, graphed = bank_of(vgg), graphs.GraphedScore(vgg.score)
    tiles = tiles_of(vgg, 1)
    for part in (tiles, tiles[:1], tiles):
        graphed(part, [bank])
    assert recorded == [tuple(tiles.shape)]


@needs_gpu
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("name", NETWORKS)
def test_a_replay_answers_what_the_kernels_answer(name: str, precision: str, monkeypatch: pytest.MonkeyPatch) -> None:
    network = NETWORKS[name]().cuda()
    banks = [bank_of(network, 1), bank_of(network, 7)]
    fast = accelerate(network, precision)
    score, launched = fast.network.score, []

    def counted(tiles: Tensor, banks: Sequence[SupportBank]) -> Tensor:
        launched.append(len(banks))
        return score(tiles, banks)

    monkeypatch.setattr(fast.network, "score", counted)
    for seed in range(5):
        tiles = tiles_of(network, seed)
        before = len(launched)
        for asked in (banks, banks[:1]):
            plain = accelerate(network, precision).predict(tiles, asked)  # a first batch is launched kernel by kernel
            torch.testing.assert_close(fast.predict(tiles, asked), plain, atol=0, rtol=0)
        assert (len(launched) > before) == (seed < 2), "the first batch runs, the second is recorded, others replayed"
