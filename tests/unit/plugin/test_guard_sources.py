"""Open scenes that lie are named."""

from typing import Any

import numpy as np
import pytest

from hdm_pipeline.contracts import OverviewSource
from hdm_pipeline.errors import PluginError
from tests.unit.plugin.honest import REF, WINDOW, lie_source


def pixels_of(value: float = 1.0, shape: tuple[int, ...] = (2, 8, 6), dtype: Any = np.float32) -> Any:
    return np.full(shape, value, dtype)


VALID = np.ones((8, 6), np.bool_)


@pytest.mark.parametrize(
    ("result", "word"),
    [
        (None, "no pair"),
        (pixels_of(), "no pair"),
        ((pixels_of(shape=(2, 8, 7)), VALID), "(2, 8, 7)"),
        ((pixels_of(shape=(1, 8, 6)), VALID), "(1, 8, 6)"),
        ((pixels_of(dtype=np.float64), VALID), "float64"),
        ((pixels_of(), VALID.astype(np.uint8)), "uint8"),
        ((pixels_of(), VALID[:, :5]), "(8, 5)"),
        ((pixels_of().tolist(), VALID), "list"),
        ((pixels_of(np.nan), VALID), "not finite"),
        ((pixels_of(np.inf), VALID), "not finite"),
    ],
)
def test_a_wrong_read_is_caught(result: Any, word: str) -> None:
    reader = lie_source(read=lambda window, bands: result)
    with reader.open(REF) as source, pytest.raises(PluginError) as caught:
        source.read(WINDOW, [0, 1])
    assert "'liar'" in caught.value.what
    assert word in caught.value.what
    assert "scene" in caught.value.where
    assert caught.value.remedy


@pytest.mark.parametrize(
    ("result", "word"),
    [
        (None, "read_reduced gives no pair"),
        ((pixels_of(), VALID), "(2, 8, 6)"),
        ((pixels_of(shape=(2, 4, 3), dtype=np.float64), VALID[:4, :3]), "float64"),
        ((pixels_of(shape=(2, 4, 3)), VALID), "validity"),
        ((pixels_of(np.nan, (2, 4, 3)), VALID[:4, :3]), "not finite"),
    ],
)
def test_a_wrong_reduced_read_is_caught(result: Any, word: str) -> None:
    reader = lie_source(read_reduced=lambda window, bands, size: result)
    with reader.open(REF) as source:
        assert isinstance(source, OverviewSource)
        with pytest.raises(PluginError) as caught:
            source.read_reduced(WINDOW, [0, 1], (4, 3))
    assert word in caught.value.what


def test_a_source_without_overviews_stays_one() -> None:
    with lie_source().open(REF) as source:
        assert not isinstance(source, OverviewSource)


def test_what_is_not_valid_need_not_be_finite() -> None:
    pixels, valid = pixels_of(), VALID.copy()
    pixels[:, 0], valid[0] = np.nan, False
    with lie_source(read=lambda window, bands: (pixels, valid)).open(REF) as source:
        source.read(WINDOW, [0, 1])
    pixels[1, 1, 1] = np.inf
    with lie_source(read=lambda window, bands: (pixels, valid)).open(REF) as source, pytest.raises(PluginError):
        source.read(WINDOW, [0, 1])


def test_large_finite_pixels_are_fine() -> None:
    with lie_source(read=lambda window, bands: (pixels_of(3e38), VALID)).open(REF) as source:
        source.read(WINDOW, [0, 1])


@pytest.mark.parametrize(
    ("method", "result"),
    [
        ("sample", np.ones((2, 50), np.float32)),
        ("sample", np.ones((1, 5), np.float32)),
        ("sample", np.full((2, 5), np.nan, np.float32)),
        ("sample", None),
        ("row_areas", np.ones(39)),
        ("row_areas", np.full(40, -1.0)),
        ("row_areas", np.ones(40, np.float32)),
    ],
)
def test_wrong_statistics_are_caught(method: str, result: Any) -> None:
    with lie_source(**{method: lambda *_: result}).open(REF) as source, pytest.raises(PluginError, match="'liar'"):
        source.sample([0, 1], 10) if method == "sample" else source.row_areas()
