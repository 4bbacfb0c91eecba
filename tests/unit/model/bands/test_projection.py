"""Many bands to three channels: what the examples' target shows up in, and what a backbone is used to."""

from __future__ import annotations

import numpy as np
import torch

from hdm_pipeline.model.bands.examples import SAMPLED, BandExample
from hdm_pipeline.model.bands.projection import MEAN, STD, BandProjection
from tests.many_bands import picture


def example(*, bands: int = 12, seed: int = 0, shown: tuple[int, int] = (7, 9)) -> BandExample:
    pixels, mask = picture(seed, bands=bands, shown=shown)
    return BandExample(torch.from_numpy(pixels), torch.ones(mask.shape, dtype=torch.bool), torch.from_numpy(mask))


def separation(channel: torch.Tensor, labels: torch.Tensor) -> float:
    """Distance of the sides' means in units of their deviation."""
    target, background = channel[labels == 1], channel[labels == 0]
    spread = torch.sqrt(0.5 * (target.var() + background.var()))
    return float((target.mean() - background.mean()).abs() / spread)


def test_the_first_channel_shows_a_target_that_no_single_band_shows() -> None:
    projection = BandProjection.fit([[example()]])
    query = example(seed=5)
    channels = projection.apply(query.bands[None])[0]
    alone = max(separation(band, query.labels) for band in query.bands)
    assert separation(channels[0], query.labels) > 2 * alone
    assert separation(channels[0], query.labels) > 3


def test_channels_look_like_those_of_photographs() -> None:
    shown = example()
    channels = BandProjection.fit([[shown]]).apply(shown.bands[None])[0]
    assert channels.min() >= 0
    assert channels.max() <= 1
    sides = torch.stack([channels[:, shown.labels == side].mean(1) for side in (0, 1)]).mean(0)
    torch.testing.assert_close(sides, torch.full((3,), MEAN), atol=0.02, rtol=0)
    assert ((channels.flatten(1).std(1) / STD - 1).abs() < 0.35).all()


def test_one_projection_serves_two_classes() -> None:
    water, fire = example(), example(shown=(2, 4), seed=1)
    both = BandProjection.fit([[water], [fire]])
    only = BandProjection.fit([[water]])
    for shown in (water, fire):
        channels = both.apply(shown.bands[None])[0]
        assert max(separation(channel, shown.labels) for channel in channels) > 2
    assert max(separation(channel, fire.labels) for channel in only.apply(fire.bands[None])[0]) < 1.5


def test_it_is_the_same_every_time_and_bears_dead_bands() -> None:
    shown = example()
    dead = BandExample(shown.bands.clone(), shown.valid, shown.labels)
    dead.bands[3] = 0.25
    dead.bands[4] = dead.bands[5]
    first, again = BandProjection.fit([[dead]]), BandProjection.fit([[dead]])
    assert first.equals(again)
    assert not first.equals(BandProjection.fit([[shown]]))
    assert np.isfinite(first.matrix).all()
    flat = BandExample(torch.full((5, 9, 9), 0.5), torch.ones(9, 9, dtype=torch.bool), shown.labels[:9, :9])
    assert np.isfinite(BandProjection.fit([[flat]]).apply(flat.bands[None]).numpy()).all()


def test_examples_without_background_or_of_a_single_pixel_are_borne() -> None:
    shown = example()
    everywhere = BandExample(shown.bands, shown.valid, torch.ones_like(shown.labels))
    single = torch.full_like(shown.labels, 255)
    single[5, 5], single[9, 9] = 1, 0
    for examples in ([everywhere], [BandExample(shown.bands, shown.valid, single)]):
        assert np.isfinite(BandProjection.fit([examples]).matrix).all()


def test_large_examples_are_sampled_evenly() -> None:
    labels = torch.zeros(300, 300, dtype=torch.uint8)
    large = BandExample(torch.zeros(4, 300, 300), torch.ones(300, 300, dtype=torch.bool), labels)
    places = large.places(0)
    assert len(places) == SAMPLED
    assert (places[0], places[-1]) == (0, 300 * 300 - 1)
    assert (places.diff() > 0).all()


def test_bands_that_repeat_each_other_make_a_gray_picture_and_no_noise() -> None:
    rng = np.random.default_rng(0)
    shown = example()
    same = shown.bands[7:8].expand(6, -1, -1).numpy() + rng.normal(0, 0.001, (6, 96, 96)).astype(np.float32)
    repeated = BandExample(torch.from_numpy(same.astype(np.float32)), shown.valid, shown.labels)
    channels = BandProjection.fit([[repeated]]).apply(repeated.bands[None])[0].flatten(1)
    assert (torch.corrcoef(channels) > 0.95).all()
