"""`report.html` and quicklooks of whole runs."""

from __future__ import annotations

import io
import re
from base64 import b64decode
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hdm_pipeline.errors import WeightsError
from hdm_pipeline.output.layout import Workspace
from hdm_pipeline.output.ledger import Ledger
from hdm_pipeline.pipeline import Pipeline
from hdm_pipeline.reporting.html.page import write_report
from tests.dicom_series import write_series
from tests.integration.conftest import Workbench, published


def pictures(page: Path) -> dict[str, np.ndarray]:
    """Pictures of a page by their alternative text."""
    found = re.findall(r'<img src="data:image/webp;base64,([^"]*)"[^>]* alt="([^"]*)"', page.read_text())
    return {alt: np.asarray(Image.open(io.BytesIO(b64decode(content))).convert("RGB")) for content, alt in found}


def test_every_run_leaves_a_report_and_asking_for_another_redoes_nothing(bench: Workbench) -> None:
    out = bench.root / "out"
    products = {"products": ["mask", "quicklook"]}
    Pipeline.from_yaml(bench.pipeline(output=products)).run()
    page = out / "report.html"
    shown = pictures(page)
    scenes = [f"Scene {name} with the outline of its mask" for name in ("large", "middle", "small")]
    examples = [f"chip.tif: {title}" for title in ("image", "label", "each half found by the other")]
    assert sorted(shown) == sorted(scenes + examples)
    assert shown[scenes[2]].shape == (40, 50, 3)
    with Image.open(out / "large" / "preview.png") as preview:
        picture = np.asarray(preview)
    assert picture.shape == (333, 412, 3)
    assert (picture[:69] == 0).all()  # no data
    assert picture[70:].std() > 20
    made = (out / "large" / "preview.png").read_bytes()
    before = published(out)

    hidden = Pipeline.from_yaml(bench.pipeline(output=products, report={"pixels": False}))
    assert hidden.run().done == ()
    assert not pictures(page)
    assert not (out / ".hdm" / "quicklooks").exists()
    assert published(out) == before
    with Ledger.open_readonly_or_empty(out / ".hdm" / "ledger.sqlite") as ledger:
        record = ledger.scene("large")
    assert record is not None
    assert record.info["footprint"][0] == [15.0, pytest.approx(45.1535, abs=1e-3)]
    assert 0.5 <= record.info["mean_score"]["water"] <= 1

    again = {"products": ["mask", "quicklook"], "threshold": 0.6}  # no inference, new pictures
    assert len(Pipeline.from_yaml(bench.pipeline(output=again)).run().done) == 3
    assert sorted(pictures(page))[:3] == scenes
    Pipeline.from_yaml(bench.pipeline(output=products)).run()
    assert (out / "large" / "preview.png").read_bytes() == made

    bench.weights.unlink()
    with pytest.raises(WeightsError):
        Pipeline.from_yaml(bench.pipeline(output=products)).run()
    told = page.read_text()
    assert "The run failed" in told
    assert "WeightsError" in told
    assert sorted(pictures(page))[:3] == scenes

    page.unlink()
    assert write_report(Workspace(out)) == page
    assert sorted(pictures(page))[:3] == scenes


def disc(index: int) -> np.ndarray:
    """A bright disc, largest in slice 3 of 5."""
    y, x = np.mgrid[:64, :64]
    inside = (y - 32) ** 2 + (x - 32) ** 2 < (25 if index != 3 else 200)
    return np.where(inside, 1200, 950).astype(np.uint16)


def test_a_private_archive_shows_pictures_only_where_it_is_asked_for(bench: Workbench) -> None:
    write_series(bench.root / "archive" / "good", range(5), series="good", pixels=disc)
    write_series(bench.root / "support" / "series", range(5), series="support", pixels=disc)
    Image.fromarray((disc(3) > 1000).astype(np.uint8)).save(bench.root / "support" / "mask.png")
    sections = {
        "input": {"uri": "archive", "reader": "dicom", "bands": [1, 1, 1], "scale": {"fixed": [-160, 240]}},
        "support": {
            "classes": [
                {
                    "name": "disc",
                    "examples": [{"image": "support/series", "mask": "support/mask.png", "slices": [3]}],
                }
            ]
        },
        "output": {"products": ["nifti"]},
    }
    Pipeline.from_yaml(bench.pipeline("private", **sections)).run()
    private = bench.root / "private"
    assert not pictures(private / "report.html")
    assert "private" in (private / "report.html").read_text()
    assert not list((private / ".hdm").rglob("*.webp"))

    Pipeline.from_yaml(bench.pipeline("open", **sections, report={"pixels": True})).run()
    shown = pictures(bench.root / "open" / "report.html")
    (scene,) = [picture for alt, picture in shown.items() if alt.startswith("Scene")]
    assert scene.shape == (64, 64, 3)
    bright = scene[32, 32 + 10].astype(int) - scene[2, 2].astype(int)
    assert bright.max() > 60  # ten pixels off the middle: so far the disc reaches in slice 3 only
    assert len(shown) == 4
