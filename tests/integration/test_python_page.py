"""The snippets of docs/python.md run, one after the other, as a reader would run them."""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import Any

import pytest
import yaml

from hdm_pipeline.samples.archive import make_samples

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_every_snippet_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
    snippets = re.findall(r"^```python\n(.*?)^```$", text, flags=re.DOTALL | re.MULTILINE)
    assert len(snippets) == 6
    make_samples(tmp_path / "samples")
    pipeline = yaml.safe_load((ROOT / "pipelines" / "flood_extent.yaml").read_text(encoding="utf-8"))
    (example, _) = pipeline["support"]["classes"][0]["examples"]
    example.update(image="samples/support/chip_1.tif", mask="samples/support/chip_1_mask.tif")
    pipeline["support"] |= {"adapt": "off", "classes": [{"name": "flood", "examples": [example]}]}
    pipeline["output"] = {"directory": "out", "products": ["mask", "score"]}
    (tmp_path / "flood.yaml").write_text(yaml.safe_dump(pipeline))
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        for snippet in snippets:
            exec(compile(snippet, "docs/python.md", "exec"), names)
    assert names["water"].attrs["flag_meanings"] == "background target"
    assert (tmp_path / "water.tif").is_file()
    assert {1, 2} <= set(names["both"]["mask"].values.flat) <= {0, 1, 2, 255}
    assert {0, 1} <= set(names["lakes"].values.flat) <= {0, 1, 255}
    assert names["found"].mask.shape == (640, 640)
    assert names["tried"].mask.shape == (320, 320)
    assert names["entered"] == [{"class": "flood", "scene": "s1_20240602_birch"}]
    assert list(names["output"]) == ["s1_20240602_birch"]
