"""The closed-form rule on all bands."""

from __future__ import annotations

import numpy as np
import torch

from hdm_pipeline.model.bands.evidence import MOST_ODDS, BandEvidence
from hdm_pipeline.model.bands.examples import BandExample
from hdm_pipeline.model.bands.pixels import feature_count, features_at, linear_map
from tests.many_bands import picture


def example(seed: int) -> BandExample:
    pixels, mask = picture(seed)
    return BandExample(torch.from_numpy(pixels), torch.ones(mask.shape, dtype=torch.bool), torch.from_numpy(mask))


def odds(evidence: BandEvidence, shown: BandExample) -> torch.Tensor:
    return evidence.log_odds(shown.bands[None], shown.valid[None])[0]


def test_it_finds_the_target_in_other_pictures() -> None:
    query = example(7)
    for shots in (1, 3):
        evidence = BandEvidence.solve([example(seed) for seed in range(shots)])
        found = odds(evidence, query)
        assert found.abs().max() <= MOST_ODDS
        assert ((found > 0) == (query.labels == 1)).float().mean() > 0.95


def test_texture_alone_is_enough() -> None:
    """The target has the background's mean in every band, and twice its deviation in one."""

    def textured(seed: int) -> BandExample:
        rng = np.random.default_rng(seed)
        _, mask = picture(seed)
        pixels = rng.normal(0.5, 0.05, (5, 96, 96))
        pixels[3] = 0.5 + (pixels[3] - 0.5) * (1 + 1.5 * mask)
        bands = torch.from_numpy(pixels.astype(np.float32))
        return BandExample(bands, torch.ones(mask.shape, dtype=torch.bool), torch.from_numpy(mask))

    query = textured(9)
    found = odds(BandEvidence.solve([textured(0), textured(1)]), query)
    assert ((found > 0) == (query.labels == 1)).float().mean() > 0.8


def test_a_map_is_the_sum_of_the_features() -> None:
    shown = example(0)
    cut = BandExample(shown.bands[:, :53, :70], shown.valid[:53, :70].clone(), shown.labels[:53, :70])
    cut.valid[10:20, 30:] = False
    bands = torch.where(cut.valid, cut.bands, 0.0)
    coefficients = torch.randn(feature_count(12), generator=torch.Generator().manual_seed(0))
    places = torch.arange(53 * 70)
    listed = features_at(bands, cut.valid, places) @ coefficients.double()
    summed = linear_map(bands[None], cut.valid[None], coefficients)[0].flatten()
    torch.testing.assert_close(summed, listed.float(), atol=1e-4, rtol=1e-4)


def test_what_is_not_valid_has_no_influence() -> None:
    evidence, shown = BandEvidence.solve([example(0)]), example(3)
    valid = shown.valid.clone()
    valid[40:60, 40:60] = False
    junk = shown.bands.clone()
    junk[:, ~valid] = 0.93
    one, other = (evidence.log_odds(bands[None], valid[None])[0][valid] for bands in (shown.bands, junk))
    assert torch.equal(one, other)


def test_it_has_no_say_where_examples_contradict_or_lack_a_side() -> None:
    shown = example(0)
    swapped = BandExample(shown.bands, shown.valid, 1 - shown.labels)
    assert BandEvidence.solve([shown, swapped]).slope == 0
    for label in (0, 1):
        only = BandExample(shown.bands, shown.valid, torch.full_like(shown.labels, label))
        assert BandEvidence.solve([only]).slope == 0
        assert (odds(BandEvidence.solve([only]), shown) == 0).all()


def test_examples_without_the_target_count_as_background() -> None:
    shown = example(0)
    empty = BandExample(example(4).bands, shown.valid, torch.zeros_like(shown.labels))
    assert BandEvidence.solve([shown, example(1), empty]).slope > 0


def test_what_was_learned_by_heart_does_not_count() -> None:
    """More features than pixels explain any labels; on the other example they say nothing."""

    def noise(seed: int) -> BandExample:
        rng = np.random.default_rng(seed)
        bands = torch.from_numpy(rng.random((32, 12, 12)).astype(np.float32))
        labels = torch.from_numpy((rng.random((12, 12)) > 0.5).astype(np.uint8))
        return BandExample(bands, torch.ones(12, 12, dtype=torch.bool), labels)

    assert BandEvidence.solve([noise(0), noise(1)]).slope < 0.5
    assert BandEvidence.solve([example(0), example(1)]).slope > 5
