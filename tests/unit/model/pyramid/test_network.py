"""The pyramid as a user of the interface sees it."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch

from hdm_pipeline.errors import BankMismatchError, ModelInputError, SupportError
from hdm_pipeline.model.network import EpisodeBatch
from hdm_pipeline.model.pyramid import HDMNetPyramid
from hdm_pipeline.model.pyramid.labels import cell_shares
from hdm_pipeline.model.pyramid.objective import segmentation_loss
from hdm_pipeline.training.batches import collate, to_episode_batch
from hdm_pipeline.training.synthetic.episode import synthetic_episode

SMALL = {"widths": (8, 8, 16, 16, 16), "depths": (1, 1, 1, 1, 1), "heads": 2, "evidence_widths": (8, 8, 8, 8)}


def small_network(**options: object) -> HDMNetPyramid:
    torch.manual_seed(0)
    network = HDMNetPyramid(
        **(SMALL | {"state_widths": (8, 8, 8, 8), "guides": (4, 4, 4, 4), "prototypes": 24} | options)
    )
    with torch.no_grad():  # much starts at zero; a score that is the same everywhere tests nothing
        for parameter in network.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return network.eval()


def example(height: int = 64, width: int = 64, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    image = torch.randn(3, height, width, generator=generator)
    mask = torch.zeros(height, width, dtype=torch.uint8)
    mask[: height // 2, : width // 3] = 1
    image[:, mask == 1] += 1.5
    return image, mask


def episodes(shots: int, count: int = 2, size: int = 64) -> EpisodeBatch:
    drawn = [synthetic_episode(np.random.default_rng([7, i]), shots, (size, size)) for i in range(count)]
    return to_episode_batch(collate(drawn), small_network().normalize, torch.device("cpu"))


@pytest.mark.parametrize("size", [(64, 64), (33, 70), (1, 1), (20, 300), (100, 64)])
def test_any_tile_size(size: tuple[int, int]) -> None:
    network = small_network()
    bank = network.encode_support(*[[part] for part in example()])
    scores = network.predict(torch.randn(2, 3, *size), [bank])
    assert scores.shape == (2, 1, *size)
    assert scores.dtype == torch.float32
    assert 0 <= scores.min() <= scores.max() <= 1


def test_supports_of_different_sizes() -> None:
    network = small_network()
    images, masks = zip(example(64, 64), example(50, 97, seed=1), example(32, 130, seed=2), strict=True)
    bank = network.encode_support(images, masks, class_name="water")
    assert (bank.shots, bank.class_name, bank.architecture) == (3, "water", "hdmnet-pyramid")


def test_tile_alone_and_in_a_batch() -> None:
    network = small_network()
    bank = network.encode_support(*[[part] for part in example()])
    tiles = torch.randn(3, 3, 64, 64)
    together = network.predict(tiles, [bank])
    alone = torch.cat([network.predict(tile[None], [bank]) for tile in tiles])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=0)


def test_classes_are_scored_independently() -> None:
    network = small_network()
    first = network.encode_support(*[[part] for part in example()], class_name="first")
    image, mask = example(seed=3)
    second = network.encode_support([image], [1 - mask], class_name="second")
    tiles = torch.randn(1, 3, 64, 64)
    both = network.predict(tiles, [first, second])
    torch.testing.assert_close(both[:, :1], network.predict(tiles, [first]))
    torch.testing.assert_close(both[:, 1:], network.predict(tiles, [second]))
    assert not torch.allclose(both[:, 0], both[:, 1])
    assert network.predict(tiles, []).shape == (1, 0, 64, 64)


def test_bank_is_deterministic_picklable_and_storable(tmp_path) -> None:
    network = small_network()
    banks = [network.encode_support(*[[part] for part in example()]) for _ in range(2)]
    assert banks[0].hash == banks[1].hash
    copy = pickle.loads(pickle.dumps(banks[0]))
    copy.save(tmp_path / "bank.safetensors")
    stored = type(copy).load(tmp_path / "bank.safetensors")
    assert stored.hash == banks[0].hash
    tiles = torch.randn(1, 3, 64, 64)
    torch.testing.assert_close(network.predict(tiles, [stored]), network.predict(tiles, [banks[0]]), atol=0, rtol=0)


def test_bank_reads_read_only_arrays() -> None:
    network = small_network()
    bank = network.encode_support(*[[part] for part in example()])
    for array in bank.arrays.values():
        array.setflags(write=False)
    network.predict(torch.randn(1, 3, 32, 32), [bank])


def test_bank_does_not_grow_with_shots() -> None:
    network = small_network()
    few, many = (
        network.encode_support(*zip(*(example(seed=i) for i in range(shots)), strict=True)) for shots in (2, 20)
    )
    assert many.nbytes <= few.nbytes * 1.3
    assert all(len(array) <= 24 for name, array in many.arrays.items() if name.endswith("ground"))


def test_bank_of_other_weights_is_refused() -> None:
    network = small_network()
    bank = network.encode_support(*[[part] for part in example()])
    with torch.no_grad():
        network.backbone.down[0].bias += 1e-3
    with pytest.raises(BankMismatchError, match="made by weights"):
        network.predict(torch.randn(1, 3, 64, 64), [bank])


def test_fingerprint_follows_weights() -> None:
    network = small_network()
    before = network.fingerprint()
    state = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    state["backbone.down.0.bias"] += 1.0
    network.load_state_dict(state)
    loaded = network.fingerprint()
    assert loaded != before
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3, fused=True)
    network.losses(episodes(1, count=1)).total.backward()
    optimizer.step()
    assert network.fingerprint() != loaded


@pytest.mark.parametrize(
    ("images", "masks", "match"),
    [
        ([], [], "0 support images"),
        ([torch.zeros(3, 32, 32)], [torch.zeros(32, 32, dtype=torch.uint8)], "no pixel is labelled"),
        ([torch.zeros(3, 32, 32)], [torch.full((32, 32), 255, dtype=torch.uint8)], "no pixel is labelled"),
        ([torch.zeros(3, 32, 32)], [torch.ones(32, 31, dtype=torch.uint8)], "support 1: image .* do not fit"),
        ([torch.zeros(1, 32, 32)], [torch.ones(32, 32, dtype=torch.uint8)], "support 1: image .* do not fit"),
        ([torch.full((3, 32, 32), torch.nan)], [torch.ones(32, 32, dtype=torch.uint8)], "NaN"),
        ([torch.zeros(3, 32, 32)], [], "1 support images and 0 masks"),
    ],
)
def test_bad_supports(images: list[torch.Tensor], masks: list[torch.Tensor], match: str) -> None:
    with pytest.raises(SupportError, match=match):
        small_network().encode_support(images, masks)


@pytest.mark.parametrize("shape", [(3, 64, 64), (1, 4, 64, 64), (1, 3, 0, 64)])
def test_bad_tile_shapes(shape: tuple[int, ...]) -> None:
    network = small_network()
    bank = network.encode_support(*[[part] for part in example()])
    with pytest.raises(ModelInputError, match="shape"):
        network.predict(torch.zeros(*shape), [bank])


def test_nan_in_tiles_is_refused() -> None:
    network = small_network()
    bank = network.encode_support(*[[part] for part in example()])
    tiles = torch.zeros(1, 3, 64, 64)
    tiles[0, 0, 3, 3] = torch.nan
    with pytest.raises(ModelInputError, match="NaN"):
        network.predict(tiles, [bank])


def test_support_wholly_of_the_target() -> None:
    network = small_network()
    image, mask = example()
    bank = network.encode_support([image], [torch.ones_like(mask)])
    assert torch.isfinite(network.predict(image[None], [bank])).all()


def test_fewer_levels_and_no_background() -> None:
    network = small_network(levels=2, background=False)
    bank = network.encode_support(*[[part] for part in example()])
    assert not any(name.endswith("background") for name in bank.arrays)
    assert {name.split(".")[0] for name in bank.arrays} == {"level0", "level1", "finest"}
    assert network.predict(torch.randn(1, 3, 64, 64), [bank]).shape == (1, 1, 64, 64)
    assert torch.isfinite(network.losses(episodes(2)).total)


def test_detail_follows_the_supports() -> None:
    network = small_network(detail="auto")
    image, _ = example(96, 96)
    simple, intricate = torch.zeros(2, 96, 96, dtype=torch.uint8)
    simple[16:80, 16:80] = 1
    intricate[::3] = 1
    plain, fine = (network.encode_support([image], [mask]) for mask in (simple, intricate))
    assert (plain.arrays["finest"][0], fine.arrays["finest"][0]) == (1, 0)
    tiles = torch.randn(1, 3, 70, 64)
    both = network.predict(tiles, [plain, fine])
    torch.testing.assert_close(both[:, :1], network.predict(tiles, [plain]))
    torch.testing.assert_close(both[:, 1:], network.predict(tiles, [fine]))


def test_wide_backbone_with_bottlenecks() -> None:
    network = small_network(widths=(8, 16, 16, 32, 64), depths=(1, 2, 2, 2, 2), block="bottleneck")
    bank = network.encode_support(*[[part] for part in example()])
    assert network.predict(torch.randn(1, 3, 64, 64), [bank]).shape == (1, 1, 64, 64)


def test_config_rebuilds_the_architecture() -> None:
    network = small_network(levels=3)
    again = HDMNetPyramid(**network.config)
    again.load_state_dict(network.state_dict())
    assert again.fingerprint() == network.fingerprint()


def test_every_parameter_gets_a_gradient() -> None:
    network = small_network().train()
    with torch.no_grad():
        for attention in network.backbone.attention:
            attention.gamma.fill_(0.5)
    network.losses(episodes(2)).total.backward()
    silent = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    # A softmax does not change when a constant is added to all its inputs, so a key's bias has no effect.
    assert [name for name in silent if not name.endswith("key.bias")] == []


def test_supports_take_their_turn_as_queries() -> None:
    batch = episodes(3)
    network = small_network(training_queries=8)
    together = network.losses(batch)
    images = torch.cat((batch.query[:, None], batch.support), 1)
    masks = torch.cat((batch.query_mask[:, None], batch.support_mask), 1)
    network.training_queries = 1
    parts = []
    for turn in range(4):
        others = [slot for slot in range(4) if slot != turn]
        parts.append(network.losses(EpisodeBatch(images[:, turn], masks[:, turn], images[:, others], masks[:, others])))
    mean = torch.stack([part.parts["distillation"] for part in parts]).mean()
    torch.testing.assert_close(together.parts["distillation"], mean)


def test_an_episode_is_scored_in_training_as_in_use() -> None:
    """Where no support token is lost (half of the cells each, fewer than are drawn), both ways give one loss."""
    network = small_network(training_queries=1, prototypes=128)
    query = episodes(1, count=1)
    image, _ = example()
    mask = torch.zeros(64, 64, dtype=query.support_mask.dtype)
    mask[:, :32] = 1
    loss = network.losses(EpisodeBatch(query.query, query.query_mask, image[None, None], mask[None, None]))
    scores = network.predict(query.query, [network.encode_support([image], [mask])])
    used = segmentation_loss(torch.logit(scores), *cell_shares(query.query_mask, 1))
    torch.testing.assert_close(loss.parts["segmentation"], network.loss_weights[0] * used, atol=0, rtol=1e-5)


def test_it_learns_one_episode() -> None:
    torch.manual_seed(0)
    network = small_network().train()
    batch = episodes(1, count=1)
    optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3)
    curve = []
    for _ in range(40):
        loss = network.losses(batch).total
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        curve.append(float(loss.detach()))
    assert curve[-1] < 0.6 * curve[0]
