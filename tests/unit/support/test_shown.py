"""What is to be done where the examples of a class show nothing else leads out of the trouble."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from hdm_geotiff.reader import GeoTiffReader
from hdm_pipeline.config.schema import ClassConfig
from hdm_pipeline.errors import SupportError
from hdm_pipeline.support.shown import require_both

CLASS_ONLY = np.where(np.eye(4, dtype=np.uint8) == 1, np.uint8(1), np.uint8(255))
TARGET = {"image": "a.tif", "where": "class = 'water'"}


def of_class(**example: Any) -> ClassConfig:
    return ClassConfig.model_validate({"name": "water", "examples": [{**TARGET, "labels": "l.gpkg", **example}]})


def remedy(config: ClassConfig) -> str:
    with pytest.raises(SupportError, match="labels any background") as caught:
        require_both(config, [], [CLASS_ONLY], GeoTiffReader())
    return caught.value.remedy


def test_where_background_is_named_everything_may_be_said_to_be_drawn() -> None:
    background = {"background": "class = 'field'"}
    assert "or say `complete: true`" in remedy(of_class(**background))
    of_class(**background, complete=True)  # and that is allowed


def test_where_an_extent_is_named_it_gives_way_to_complete() -> None:
    extent = {"extent": "class = 'area'"}
    assert "put `complete: true` in its place" in remedy(of_class(**extent))
    with pytest.raises(ValueError, match="give one of the two"):
        of_class(**extent, complete=True)
    of_class(complete=True)


@pytest.mark.parametrize("labels", [{"complete": True}, {"labels": None, "mask": "l.gpkg"}])
def test_where_everything_is_drawn_another_image_is_asked_for(labels: dict[str, Any]) -> None:
    told = remedy(of_class(**labels))
    assert "complete" not in told
    assert "name images" in told
