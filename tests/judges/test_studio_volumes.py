"""The liver in a real CT, labelled on the studio's page by brush on two slices, and found on another one."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest
from scipy.ndimage import binary_dilation, binary_erosion

from hdm_dicom.reader import DicomReader
from hdm_pipeline.contracts import SupportRequest
from tests.judges.conftest import RequireJudge
from tests.judges.studio_page import Desk, Mask, browser, dash, dice, fresh, hatching, spots, studio

LABELLED, OTHER = (8, 12), 10
LIVER = 5
GOOD = 0.85
ROUNDS = 6
BRUSH = 7

PIPELINE = """
name: ct_liver
input:
  uri: {data}/example_ct_dicom
  reader: dicom
  bands: [1]
  scale: {{fixed: [-160, 240]}}
support:
  adapt: off
  classes:
    - name: liver
      color: "#dd8265"
      examples: []
tiling: {{size: 512, overlap: 128}}
output: {{directory: out, products: [segmentation]}}
execution: {{executor: inline}}
"""


@pytest.fixture
def desk(require_judge: RequireJudge, test_data: Path, tmp_path: Path) -> Iterator[Desk]:
    pipeline = tmp_path / "liver.yaml"
    text = textwrap.dedent(PIPELINE).format(data=test_data / "dicom" / "ct-abdomen")
    pipeline.write_text(text, encoding="utf-8")
    with browser(require_judge) as chromium, studio(pipeline) as address:
        yield Desk(fresh(chromium, scheme="dark"), address)


def truth_of(test_data: Path) -> dict[int, Mask]:
    """The liver of the slices that are used, as the data's own labels say."""
    data = test_data / "dicom" / "ct-abdomen"
    slices = (*LABELLED, OTHER)
    request = SupportRequest(
        str(data / "example_ct_dicom"), str(data / "example_seg_dicom.nii.gz"), (LIVER,), slices=slices
    )
    images = DicomReader({}).read_support(request)
    return {z: image.label == 1 for z, image in zip(sorted(slices), images, strict=True)}


def paint(desk: Desk, liver: Mask) -> None:
    """The liver by the brush, without its rim, and a little of what lies around it and elsewhere."""
    desk.radius(BRUSH)
    for line in hatching(binary_erosion(liver, iterations=BRUSH), step=2 * BRUSH):
        desk.stroke(1, line)
    near = binary_dilation(liver, iterations=60) & ~binary_dilation(liver, iterations=BRUSH + 3)
    for spot in [*spots(near, 8, apart=60), *spots(~binary_dilation(liver, iterations=60), 4, apart=120)]:
        desk.stroke(0, dash(spot, 20))


@pytest.mark.data
def test_the_liver_by_brush_on_two_slices(desk: Desk, test_data: Path) -> None:
    truth = truth_of(test_data)
    desk.switch("Try by itself after each stroke", on=False)
    desk.open("")
    for z in LABELLED:
        desk.slice(z)
        paint(desk, truth[z])
    desk.slice(OTHER)
    liver = truth[OTHER]
    found = desk.mask(desk.try_it(), liver.shape)
    seen = [dice(found, liver)]
    desk.radius(4)
    while seen[-1] < GOOD and len(seen) <= ROUNDS:
        for value, where in ((1, liver & ~found), (0, ~liver & found)):
            for place in spots(where, 4, apart=30):
                desk.stroke(value, [place])
        found = desk.mask(desk.try_it(), liver.shape)
        seen.append(dice(found, liver))
    print("Dice by round:", [round(value, 3) for value in seen])
    assert seen[-1] > GOOD
    desk.picture("volume")
    assert desk.troubles == []
