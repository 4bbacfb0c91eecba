"""The synthetic generator: deterministic, solvable, diverse."""

from __future__ import annotations

import numpy as np
import pytest

from hdm_pipeline.training.synthetic.episode import synthetic_episode
from hdm_pipeline.training.synthetic.fields import band, fractal, stripes
from hdm_pipeline.training.synthetic.materials import Palette
from hdm_pipeline.training.synthetic.shapes import LAYOUTS, sample_layout

SIZE = (64, 48)


def test_episodes_depend_on_the_seed_alone() -> None:
    first, again, other = (synthetic_episode(np.random.default_rng(seed), 2, SIZE) for seed in (1, 1, 2))
    for part in ("query", "query_mask", "support", "support_mask"):
        assert np.array_equal(getattr(first, part), getattr(again, part))
    assert not np.array_equal(first.query, other.query)


def test_shapes_and_labels() -> None:
    episode = synthetic_episode(np.random.default_rng(0), 3, SIZE)
    assert episode.query.shape == (*SIZE, 3)
    assert episode.support.shape == (3, *SIZE, 3)
    assert episode.support_mask.shape == (3, *SIZE)
    assert episode.query.dtype == episode.query_mask.dtype == np.uint8
    assert set(np.unique(episode.support_mask)) == {0, 1}


def test_most_supports_show_the_target_and_some_queries_do_not() -> None:
    episodes = [synthetic_episode(np.random.default_rng([5, i]), 1, (48, 48)) for i in range(150)]
    shown = np.array([episode.support_mask.any() for episode in episodes])
    empty = np.array([not episode.query_mask.any() for episode in episodes])
    assert shown.mean() > 0.97
    assert 0.05 < empty.mean() < 0.25


@pytest.mark.parametrize("kind", [kind for kind, _ in LAYOUTS], ids=lambda kind: kind.__name__)
def test_layouts_keep_their_word(kind) -> None:
    for seed in range(12):
        rng = np.random.default_rng([3, seed])
        layout = kind.sample(rng, SIZE)
        regions = layout.draw(rng, SIZE, with_target=True)
        assert regions.shape == SIZE
        assert regions.max() < layout.regions
        without = layout.draw(rng, SIZE, with_target=False)
        assert not np.isin(without, list(layout.target)).any()
        assert all(first < layout.regions and second < layout.regions for first, second in layout.twins)


def test_every_layout_is_drawn() -> None:
    rng = np.random.default_rng(0)
    drawn = {type(sample_layout(rng, SIZE)) for _ in range(200)}
    assert drawn == {kind for kind, _ in LAYOUTS}


def test_twins_share_their_material() -> None:
    palette = Palette.sample(np.random.default_rng(0), 5, [(0, 3), (1, 4)], {3})
    assert palette.materials[0] is palette.materials[3]
    assert palette.materials[1] is palette.materials[4]


def test_the_target_can_mostly_be_told_apart() -> None:
    palettes = [Palette.sample(np.random.default_rng([1, i]), 4, [], {1}) for i in range(60)]
    assert np.mean([palette.separable({1}, []) for palette in palettes]) > 0.9


def test_fields_have_unit_scale() -> None:
    rng = np.random.default_rng(0)
    for field in (fractal(rng, (64, 80), 20, 2.0), band(rng, (64, 80), 6, 0.3, 0.5, 2.0)):
        assert field.shape == (64, 80)
        assert field.dtype == np.float32
        assert field.std() == pytest.approx(1, abs=1e-3)


def test_stripes_have_their_period() -> None:
    wave = stripes(np.random.default_rng(0), (8, 128), period=16, angle=0.0, warp=0.0)
    assert np.abs(np.fft.rfft(wave[0])).argmax() == 128 // 16
