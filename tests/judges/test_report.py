"""`report.html` of a run over the sample archive, in Chromium: with scripts and without, light and dark."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.judges.conftest import RequireJudge, missing

KIT = Path(__file__).resolve().parents[1] / "kit"


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Output directory of a run over the sample archive, one scene of which is broken; with cheap weights."""
    sys.path.insert(0, str(KIT))
    from hdm_pipeline.plugin.registry import available

    available.cache_clear()
    from hdm_testkit.network import MeanColor

    from hdm_pipeline.model.checkpoints import save_weights
    from hdm_pipeline.pipeline import Pipeline
    from hdm_pipeline.samples.archive import make_samples

    root = tmp_path_factory.mktemp("report")
    make_samples(root / "samples")
    (root / "samples" / "scenes" / "torn.tif").write_bytes(b"II*\0torn")
    save_weights(MeanColor(), root / "weights.safetensors")
    example = {"image": "samples/support/chip_[1-3].tif", "mask": "samples/support/chip_[1-3]_mask.tif"}
    content: dict[str, Any] = {
        "name": "floods",
        "input": {
            "uri": "samples/scenes",
            "bands": [1, 2],
            "scale": {"fixed": [[-25, 0], [-32, -5]]},
            "options": {"date": "s1_%Y%m%d"},
        },
        "support": {"adapt": "off", "classes": [{"name": "flood", "color": "#1e60dc", "examples": [example]}]},
        "model": {"weights": "weights.safetensors", "reduction": 4},
        "execution": {"executor": "inline"},
        "output": {"directory": "out", "products": ["mask", "quicklook"]},
    }
    (root / "pipeline.yaml").write_text(yaml.safe_dump(content))
    Pipeline.from_yaml(root / "pipeline.yaml").run()
    sys.path.remove(str(KIT))
    return root / "out"


@pytest.fixture(scope="module")
def browser(require_judge: RequireJudge) -> Iterator[Any]:
    chromium = require_judge("chromium")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        missing("playwright (install: pip install playwright)")
    with sync_playwright() as driver:
        options = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        opened = driver.chromium.launch(executable_path=chromium, args=options)
        yield opened
        opened.close()


@pytest.mark.parametrize("scripts", [True, False])
@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_the_report_is_whole_in_a_browser(output: Path, browser: Any, scripts: bool, width: int, scheme: str) -> None:
    context = browser.new_context(
        viewport={"width": width, "height": 800}, color_scheme=scheme, java_script_enabled=scripts
    )
    page = context.new_page()
    told: list[str] = []
    asked: list[str] = []
    page.on("console", lambda message: told.append(message.text))
    page.on("pageerror", lambda error: told.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto((output / "report.html").as_uri())
    assert told == []
    assert [url for url in asked if not url.startswith("data:")] == [(output / "report.html").as_uri()]
    assert page.title() == "Report of floods"
    # Read through the browser's own protocol: it answers without scripts, too.
    images = page.locator("img")
    count = images.count()
    assert count == 5 + 3 * 3
    for index in range(count):
        assert images.nth(index).get_attribute("alt")
        box = images.nth(index).bounding_box()
        assert box is not None
        assert box["width"] > 60
        assert box["height"] > 60
    if scripts:
        loaded = "[...document.images].every(one => one.complete && one.naturalWidth > 0)"
        assert page.evaluate(loaded)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        links = page.evaluate("[...document.links].map(one => one.href)")
        files = {link.split("#")[0].removeprefix("file://") for link in links}
        assert [file for file in sorted(files) if not Path(file).is_file()] == []
        anchors = "[...document.links].filter(a => a.hash && !document.getElementById(a.hash.slice(1))).length"
        assert page.evaluate(anchors) == 0
    assert page.get_by_role("heading", level=1).inner_text() == "floods"
    assert page.get_by_role("heading", name="torn is quarantined").count() == 1
    for picture in ("Footprints of the scenes", "Sum of all scenes by day"):
        box = page.get_by_role("img", name=picture).bounding_box()
        assert box is not None
        assert box["height"] > 80
    context.close()


def test_the_report_prints(output: Path, browser: Any) -> None:
    page = browser.new_page()
    page.goto((output / "report.html").as_uri())
    printed = page.pdf(format="A4", print_background=True)
    assert printed.startswith(b"%PDF")
    assert 2 <= printed.count(b"/Type /Page\n") + printed.count(b"/Type /Page ") <= 12
    page.close()
