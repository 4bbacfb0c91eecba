"""Band entries of the pipeline file: what may be written, what it means, and what is refused."""

import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hdm_pipeline.contracts import Band
from hdm_pipeline.errors import BandError, ConfigError
from hdm_pipeline.pixels.bands import MAX_LENGTH, parse, resolve

SENTINEL1 = (Band("VV", "dB"), Band("VH", "dB"))


def compute(text: str | int, *values: float, bands: tuple[Band, ...] = SENTINEL1) -> tuple[float, bool]:
    """The value of an entry where the scene's bands hold `values`."""
    plan = resolve([text], bands)
    pixels = np.array([values[index] for index in plan.indices], dtype=np.float32).reshape(-1, 1, 1)
    made, valid = plan.apply(pixels, np.ones((1, 1), dtype=np.bool_))
    return float(made[0, 0, 0]), bool(valid[0, 0])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (1, 4.0),
        ("2", 9.0),
        ("VV", 4.0),
        ("vh", 9.0),
        ("b2", 9.0),
        ("VV - VH", -5.0),
        ("VV - VH * 2", -14.0),
        ("(VV - VH) * 2", -10.0),
        ("VV - VH - 1", -6.0),
        ("VH / VV / 3", 0.75),
        ("-VV + +VH", 5.0),
        ("- -VV", 4.0),
        ("(VV - VH) / (VV + VH)", -5 / 13),
        ("sqrt(VV) + abs(VV - VH)", 7.0),
        ("log10(b1 * 25)", 2.0),
        ("min(VV, VH, 1.5)", 1.5),
        ("max(VV, VH, 1.5)", 9.0),
        ("1e1 * VV", 40.0),
        ("'VV' + \"VH\"", 13.0),
    ],
)
def test_means_what_it_says(text: str | int, expected: float) -> None:
    value, valid = compute(text, 4.0, 9.0)
    assert valid
    assert value == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        True,
        0,
        "0",
        "7 + 1",
        "VV -",
        "(VV",
        "VV ** 2",
        "VV // VH",
        "VV % 2",
        "VV @ VH",
        "VV & VH",
        "~VV",
        "not VV",
        "VV < VH",
        "VV and VH",
        "VV if VH else 1",
        "VV.real",
        "VV[0]",
        "[VV]",
        "(VV, VH)",
        "{VV}",
        "lambda: VV",
        "(x := VV)",
        "f'{VV}'",
        "b'VV'",
        "1j * VV",
        "True + VV",
        "None",
        "1e999 * VV",
        "1e39 * VV",
        "9" * 150 + " * VV",
        "exp(VV)",
        "abs(VV, VH)",
        "min(VV)",
        "abs(x=VV)",
        "abs(*VV)",
        "__import__('os').system('true')",
        "().__class__",
        "-" * 100 + "VV",
        "(" * 150 + "VV" + ")" * 40,
        "VV + " * 60 + "VV",
        "VV\x00",
    ],
)
def test_refuses(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(text)
    assert caught.value.remedy


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=MAX_LENGTH + 20) | st.text(alphabet="VH b12+-*/(),.'\"minabs\n\\", max_size=60))
def test_no_text_escapes_the_two_outcomes(text: str) -> None:
    try:
        expression = parse(text)
    except ConfigError:
        return
    assert expression.names
    assert len(expression.names) == len(expression.positions)


def test_names_and_positions() -> None:
    expression = parse("(VH - VV) / (VH + 'Band 7')")
    assert expression.names == ("VH", "VV", "Band 7")
    assert expression.positions == (1, 6, 18)


def test_reads_each_band_once_and_keeps_order() -> None:
    bands = (*SENTINEL1, Band("DEM"))
    plan = resolve(["DEM", "VV", "VV - DEM"], bands)
    assert plan.indices == (0, 2)
    assert [band.name for band in plan.bands] == ["DEM", "VV", "VV - DEM"]
    assert plan.bands[1].unit == "dB"
    pixels = np.stack([np.full((2, 3), 5.0), np.full((2, 3), 1.0)]).astype(np.float32)
    made, _ = pickle.loads(pickle.dumps(plan)).apply(pixels, np.ones((2, 3), dtype=np.bool_))
    assert made[:, 0, 0].tolist() == [1.0, 5.0, 4.0]
    assert made.dtype == np.float32


def test_bands_in_file_order_are_not_copied() -> None:
    pixels = np.zeros((2, 4, 4), dtype=np.float32)
    valid = np.ones((4, 4), dtype=np.bool_)
    made, still = resolve([], SENTINEL1).apply(pixels, valid)
    assert made is pixels
    assert still is valid
    swapped, _ = resolve([2, 1], SENTINEL1).apply(np.arange(2, dtype=np.float32).reshape(2, 1, 1), valid)
    assert swapped.ravel().tolist() == [1.0, 0.0]


@pytest.mark.parametrize(("text", "values"), [("VV / VH", (1, 0)), ("log10(VV)", (0, 1)), ("sqrt(VV)", (-1, 1))])
def test_what_has_no_finite_result_is_invalid(text: str, values: tuple[float, float]) -> None:
    assert compute(text, *values) == (0.0, False)


def test_invalid_pixels_stay_invalid() -> None:
    valid = np.array([[True, False]])
    _, still = resolve(["VV + VH"], SENTINEL1).apply(np.ones((2, 1, 2), dtype=np.float32), valid)
    assert still.tolist() == [[True, False]]
    assert valid.tolist() == [[True, False]]


def test_descriptions_go_before_positions_but_not_before_numbers() -> None:
    bands = (Band("b2"), Band("1"), Band("Near Infrared"), Band("B4-B8"))
    assert resolve(["b2"], bands).indices == (0,)
    assert resolve(["b1"], bands).indices == (0,)
    assert resolve([1], bands).indices == (0,)
    assert resolve(["1"], bands).indices == (0,)
    assert resolve(["Near Infrared"], bands).indices == (2,)
    assert resolve(["'near infrared' * 2"], bands).indices == (2,)
    assert resolve(["B4-B8"], bands).indices == (3,)


def test_a_missing_band_names_those_there_are() -> None:
    with pytest.raises(BandError) as caught:
        resolve(["VV - HH"], SENTINEL1)
    assert "'HH'" in caught.value.what
    assert "1 VV, 2 VH" in caught.value.remedy
    for entry in (3, "b3", "b0", "VX"):
        with pytest.raises(BandError):
            resolve([entry], SENTINEL1)


def test_two_bands_of_one_description_need_a_number() -> None:
    bands = (Band("gray"), Band("gray"), Band("Gray"))
    with pytest.raises(BandError, match="more than one"):
        resolve(["gray"], bands)
    assert resolve(["Gray"], bands).indices == (2,)
    assert resolve(["b2 - b1"], bands).indices == (0, 1)


@pytest.mark.parametrize("text", ["*_B4.tif", "S2_*_B04.jp2", "B4.TIF", "*B4"])
def test_a_pattern_of_files_in_a_list_lacks_its_name(text: str) -> None:
    with pytest.raises(ConfigError, match="a pattern of files is no band expression") as caught:
        parse(text)
    assert f'{{red: "{text}"}}' in caught.value.remedy
