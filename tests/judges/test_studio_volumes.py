"""The liver in a real CT on the studio's page: brush strokes on two slices, a try and corrections on another one."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from pathlib import Path

import pydicom
import pytest
from playwright.sync_api import expect
from scipy.ndimage import binary_dilation, binary_erosion

from hdm_dicom.reader import DicomReader
from hdm_pipeline.contracts import SupportRequest
from tests.judges.conftest import RequireJudge
from tests.judges.studio_page import Desk, Mask, browser, dash, dice, fresh, hatching, spots, studio

LABELLED, OTHER = (8, 12), 10
LIVER = 5
NEIGHBORS = (1, 6, 52, 86, 87)
"""Spleen, stomach, aorta and the muscles of the back: what a person paints as background first."""
GOOD = 0.85
ROUNDS = 4
BRUSH = 11
SEGMENTATION = "1.2.840.10008.5.1.4.1.1.66.4"

PIPELINE = """
name: ct_liver
input:
  uri: {data}/example_ct_dicom
  reader: dicom
  bands: [1]
  scale: {{fixed: [-160, 240]}}
support:
  adapt: off   # minutes, and the judge is of the page
  classes:
    - name: liver
      color: "#dd8265"
      examples: []   # nothing is drawn yet
tiling: {{size: 512, overlap: 128}}
output: {{directory: out, products: [segmentation]}}
execution: {{executor: inline}}
"""


@pytest.fixture
def pipeline(test_data: Path, tmp_path: Path) -> Path:
    file = tmp_path / "liver.yaml"
    file.write_text(textwrap.dedent(PIPELINE).format(data=test_data / "dicom" / "ct-abdomen"), encoding="utf-8")
    return file


@pytest.fixture
def desk(require_judge: RequireJudge, pipeline: Path) -> Iterator[Desk]:
    with browser(require_judge) as chromium, studio(pipeline) as address:
        yield Desk(fresh(chromium, scheme="dark"), address)


def truth_of(test_data: Path, values: tuple[int, ...]) -> dict[int, Mask]:
    """Where the data's own labels say that organs are, on the slices that are used."""
    data = test_data / "dicom" / "ct-abdomen"
    slices = sorted((*LABELLED, OTHER))
    request = SupportRequest(
        str(data / "example_ct_dicom"), str(data / "example_seg_dicom.nii.gz"), values, slices=tuple(slices)
    )
    return {z: image.label == 1 for z, image in zip(slices, DicomReader({}).read_support(request), strict=True)}


def turn_to(desk: Desk, z: int, depth: int = 20) -> None:
    """Turn over slices by the wheel."""
    desk.page.mouse.move(*desk.screen((256, 256)))
    now = int(desk.page.get_by_role("slider", name="Slice").input_value())
    for step in range(abs(z - now)):
        desk.page.mouse.wheel(0, 100 if z > now else -100)
        reached = now + (step + 1 if z > now else -step - 1)
        expect(desk.page.get_by_text(f"{reached + 1} / {depth}")).to_be_visible()


def paint(desk: Desk, liver: Mask, neighbors: Mask) -> None:
    """The liver without its rim by a large brush; a dash on each organ beside it, and some on bones, fat and air."""
    desk.radius(BRUSH)
    for line in hatching(binary_erosion(liver, iterations=BRUSH), step=2 * BRUSH):
        desk.stroke(1, line)
    desk.radius(4)
    for spot in spots(binary_erosion(neighbors, iterations=4), 6, apart=40):
        desk.stroke(0, dash(spot, 16))
    elsewhere = ~binary_dilation(liver | neighbors, iterations=8)
    elsewhere[:8], elsewhere[-8:], elsewhere[:, :16], elsewhere[:, -16:] = False, False, False, False
    for spot in spots(elsewhere, 8, apart=90):
        desk.stroke(0, dash(spot, 16))


def set_the_window(desk: Desk) -> None:
    """By name, by a drag with the right button, and back; it is only looked at: the network sees what it saw."""
    contrast = desk.page.get_by_label("Contrast", exact=True)
    with desk.page.expect_response(lambda answer: "/image/" in answer.url and "low=-1350" in answer.url):
        contrast.select_option("-1350,150")  # lung
    x, y = desk.screen((256, 256))
    desk.page.mouse.move(x, y)
    desk.page.mouse.down(button="right")
    desk.page.mouse.move(x + 90, y + 30, steps=3)
    desk.page.mouse.up(button="right")
    expect(contrast.locator("option:checked")).to_contain_text("by hand")
    contrast.select_option("")
    expect(contrast.locator("option:checked")).to_contain_text("as the network sees it (-160 to 240)")


@pytest.mark.data
def test_the_liver_by_brush_on_two_slices(desk: Desk, pipeline: Path, test_data: Path) -> None:
    truth, neighbors = truth_of(test_data, (LIVER,)), truth_of(test_data, NEIGHBORS)
    desk.switch("Try by itself after each stroke", on=False)
    desk.open("")
    set_the_window(desk)
    for z in LABELLED:
        turn_to(desk, z)
        paint(desk, truth[z], neighbors[z])

    turn_to(desk, OTHER)
    liver = truth[OTHER]
    found = desk.mask(desk.try_it(), liver.shape)
    seen = [dice(found, liver)]
    desk.radius(4)
    while len(seen) == 1 or (seen[-1] < GOOD and len(seen) <= ROUNDS):
        for value, wrong in ((1, liver & ~found), (0, ~liver & found)):
            for place in spots(wrong, 4, apart=30):
                desk.stroke(value, [place])
        found = desk.mask(desk.try_it(), liver.shape)
        seen.append(dice(found, liver))
    print("Dice by round:", [round(value, 3) for value in seen])
    assert seen[-1] > GOOD
    desk.picture("ct")

    desk.page.get_by_role("button", name="Save to pipeline").click()
    expect(desk.page.get_by_role("heading", name="Saved")).to_be_visible()
    (kept,) = (pipeline.parent / "labels").glob("*.dcm")
    text = pipeline.read_text(encoding="utf-8")
    assert f"labels/{kept.name}" in text
    assert "# minutes, and the judge is of the page" in text
    segments = pydicom.dcmread(kept)
    assert segments.SOPClassUID == SEGMENTATION
    assert "liver" in {one.SegmentLabel for one in segments.SegmentSequence}
    assert desk.troubles == []
