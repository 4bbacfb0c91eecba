"""When a scene was taken: what says so, in which order, and what does not."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from hdm_geotiff.dates import acquisition, compiled
from hdm_geotiff.options import ReaderOptions
from hdm_pipeline.errors import ConfigError


@pytest.mark.parametrize(
    ("name", "start", "end"),
    [
        ("S2A_MSIL2A_20240602T101031_N0510_R022_T32UQD_20240602T162400", "2024-06-02T10:10:31Z", None),
        (
            "S1A_IW_GRDH_1SDV_20240602T052345_20240602T052410_054141_0695A0_6C32",
            "2024-06-02T05:23:45Z",
            "2024-06-02T05:24:10Z",
        ),
        ("T32UQD_20240602T101031_B04", "2024-06-02T10:10:31Z", None),
        ("S2B_32UQD_20240602_0_L2A", "2024-06-02T00:00:00Z", "2024-06-02T23:59:59Z"),
        ("LC08_L2SP_193024_20240602_20240610_02_T1_SR_B4", "2024-06-02T00:00:00Z", "2024-06-02T23:59:59Z"),
    ],
)
def test_names_of_satellites(name: str, start: str, end: str | None) -> None:
    found = acquisition(name, {}, {})
    assert found is not None
    expected = {"datetime": start, "datetime_source": "the scene's name"}
    assert found.attributes() == (
        expected if end is None else expected | {"start_datetime": start, "end_datetime": end}
    )


@pytest.mark.parametrize("name", ["scene_20240602", "S2A_MSIL2A_20241302T101031_X", "XS2A_MSIL2A_20240602T101031", ""])
def test_what_only_looks_like_a_date_is_none(name: str) -> None:
    assert acquisition(name, {"TIFFTAG_DATETIME": "0000:00:00 00:00:00"}, {"ACQUISITIONDATETIME": "soon"}) is None


def test_what_is_asked_first() -> None:
    name, tags, imagery = (
        "S2A_MSIL2A_20240602T101031_x",
        {"TIFFTAG_DATETIME": "2020:01:02 03:04:05"},
        {"ACQUISITIONDATETIME": "2021-01-02 03:04:05"},
    )
    found = [
        acquisition(name, tags, imagery, "MSIL2A_%Y%m%dT%H"),
        acquisition(name, tags, imagery, "no_%Y%m%d"),
        acquisition(name, tags, {}),
        acquisition("x", tags, {}),
    ]
    assert [one and one.start.replace(tzinfo=None) for one in found] == [
        datetime(2024, 6, 2, 10),
        datetime(2021, 1, 2, 3, 4, 5),
        datetime(2024, 6, 2, 10, 10, 31),
        datetime(2020, 1, 2, 3, 4, 5),
    ]
    assert found[0] is not None
    assert found[0].end == datetime(2024, 6, 2, 10, 59, 59, tzinfo=UTC)


def test_a_pattern_of_the_users() -> None:
    found = acquisition("lake-7_154.2023", {}, {}, "lake-*_%j.%Y")
    assert found is not None
    assert found.start == datetime(2023, 6, 3, tzinfo=UTC)
    assert acquisition("lake-7_399.2023", {}, {}, "lake-*_%j.%Y") is None


@pytest.mark.parametrize("pattern", ["", "scene", "%Y%m", "%d%m%y", "%Y%Y%m%d", "%Y%m%d%"])
def test_a_pattern_that_finds_no_date_is_refused(pattern: str) -> None:
    with pytest.raises(ConfigError, match="cannot find dates"):
        compiled(pattern)
    with pytest.raises(ConfigError):
        ReaderOptions.parse({"date": pattern})
