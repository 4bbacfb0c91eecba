"""`report.html`: what it shows, what it never shows, and how it is cut into pages."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hdm_pipeline.config.schema import PipelineConfig
from hdm_pipeline.errors import ConfigError
from hdm_pipeline.output.layout import Workspace
from hdm_pipeline.output.ledger import Ledger, SceneRecord
from hdm_pipeline.pictures.overlay import webp
from hdm_pipeline.reporting.html.kept import keep_settings
from hdm_pipeline.reporting.html.page import bring_up_to_date, write_report

HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>&amp;"
VOID = {"meta", "link", "img", "br", "line", "rect", "circle", "path", "polyline"}


class Balanced(HTMLParser):
    """Raises nothing and collects: elements that are open, ids, headings, pictures, links."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.wrong: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag in VOID:
            return
        if not self.open or self.open.pop() != tag:
            self.wrong.append(tag)


def parsed(path: Path) -> Balanced:
    found = Balanced()
    found.feed(path.read_text(encoding="utf-8"))
    return found


def filled(
    root: Path, records: list[SceneRecord], *, pixels: bool = True, private: bool = False, **settings: Any
) -> Workspace:
    """An output directory with such scenes, each with quicklooks."""
    workspace = Workspace(root)
    workspace.create()
    workspace.page_parts.mkdir(exist_ok=True)
    kept = {"version": 1, "name": "floods", "html": True, "private": private, "pixels": pixels}
    kept |= {"settings": [["bands", "1, 2"]], "classes": [{"name": "flood", "color": "#1e60dc"}]}
    (workspace.page_parts / "settings.json").write_text(json.dumps(kept | settings))
    with Ledger.open(workspace.ledger) as ledger:
        ledger.upsert_scenes(records)
    picture = webp(np.zeros((4, 4, 3), np.uint8), 1000)
    for record in records:
        for size in ("large", "small"):
            path = workspace.quicklook(record.id, size)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(picture)
    return workspace


def done(scene: str, area: float, **info: Any) -> SceneRecord:
    facts = {"pixels": {"flood": int(area / 100)}, "area_m2": {"flood": area}, "valid": 1.0}
    facts["products"] = {"mask": [f"{scene}/mask.tif"]}
    return SceneRecord(scene, "key", status="done", outputs=(f"{scene}/mask.tif",), info=facts | info)


def broken(scene: str, what: str = "cannot be read", where: str = "/archive/x.tif") -> SceneRecord:
    error = {"type": "ReadError", "what": what, "where": where, "remedy": "copy it again"}
    return SceneRecord(scene, "key", status="quarantined", error=error)


def test_a_run_is_told_whole(tmp_path: Path) -> None:
    around = [[10.0, 50.0], [10.1, 50.0], [10.1, 49.9], [10.0, 49.9]]
    scenes = [
        done("small", 2e4, date="2024-06-02", footprint=around, mean_score={"flood": 0.91}),
        done("large", 3e6, date="2024-06-14", footprint=around, area_m2_interval={"flood": [2.5e6, 3.5e6]}),
        broken("bad"),
    ]
    warning = {"kind": "unlike_examples", "what": "half of it is unlike", "remedy": "add an example", "suspect": True}
    scenes[0].info["warnings"] = [warning]  # type: ignore[index]
    workspace = filled(tmp_path, scenes)
    workspace.report.write_text(
        json.dumps({"status": "done", "seconds": 90, "totals": {"scenes": 3, "seconds_by_stage": {"infer": 12.5}}})
    )
    page = write_report(workspace)
    assert page == tmp_path / "report.html"
    text = page.read_text()
    for told in (
        *("3 scenes", "2 are done, 1 quarantined", "3.02\u202fkm²".replace("\u202f", " "), "1 min 30 s"),
        *("2.50 km² to 3.50 km²", "mean score 0.91", "2024-06-14", "half of it is unlike", "add an example"),
        *("cannot be read", "copy it again", "12.5", "10.05°E", "large/mask.tif", "bands"),
    ):
        assert told in text, told
    assert text.index('id="s0"') < text.index('id="s1"') < text.index('id="s2"')
    cards = re.findall(r'id="s\d+">.*?<h3>(\w+)</h3>', text, re.DOTALL)
    assert cards == ["large", "small", "bad"]
    found = parsed(page)
    assert not found.wrong
    assert not found.open
    assert "script" not in [tag for tag, _ in found.tags]
    assert all(attributes.get("alt") for tag, attributes in found.tags if tag == "img")
    ids = [attributes["id"] for _, attributes in found.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    anchors = {str(a["href"])[1:] for tag, a in found.tags if tag == "a" and str(a.get("href")).startswith("#")}
    assert anchors <= set(ids)


@pytest.mark.parametrize(("share", "interval", "told"), [(0.01, True, True), (1.0, True, False), (0.01, False, False)])
def test_intervals_from_strokes_carry_a_remark(tmp_path: Path, share: float, interval: bool, told: bool) -> None:
    bounds = {"area_m2_interval": {"flood": [2.5e6, 3.5e6]}} if interval else {}
    workspace = filled(tmp_path, [done("large", 3e6, **bounds)])
    drawn = {"name": "a.tif", "leave_one_out_iou": 1.0, "contradicts": False, "note": "", "labelled_share": share}
    facts = {"shots": 1, "examples": [drawn], "adaptation": {"steps": 0, "reason": "off"}}
    (workspace.page_parts / "examples.json").write_text(json.dumps({"version": 1, "classes": {"flood": facts}}))
    text = write_report(workspace).read_text()
    assert ("edges were hardly checked" in text) == told
    assert ("which says little about edges" in text) == (share < 0.5)


def test_what_a_stranger_wrote_is_text(tmp_path: Path) -> None:
    warning = {"kind": HOSTILE, "what": HOSTILE, "remedy": HOSTILE, "suspect": True}
    scenes = [done("a", 1e4, warnings=[warning]), broken("b", HOSTILE, HOSTILE)]
    hostile = [{"name": HOSTILE, "color": "red;}</style><script>alert(3)</script>"}]
    workspace = filled(tmp_path, scenes, name=HOSTILE, classes=hostile, settings=[[HOSTILE, HOSTILE]])
    error = {"type": HOSTILE, "what": HOSTILE, "where": HOSTILE, "remedy": HOSTILE}
    told = {"status": "failed", "error": error, "warnings": [HOSTILE], "versions": {HOSTILE: HOSTILE}}
    told["skipped"] = [{"input": HOSTILE, "reason": HOSTILE}]
    workspace.report.write_text(json.dumps(told))
    quality = {"name": HOSTILE, "leave_one_out_iou": 0.5, "note": HOSTILE, "contradicts": True}
    examples = {
        "shots": 1,
        "examples": [quality],
        "adaptation": {"steps": 0},
        "warnings": [warning | {"example": HOSTILE}],
    }
    kept = {"version": 1, "classes": {HOSTILE: examples}, "pictures": [], "hashes": {HOSTILE: HOSTILE}}
    (workspace.page_parts / "examples.json").write_text(json.dumps(kept))
    page = write_report(workspace)
    found = parsed(page)
    assert not found.wrong
    assert {"script", "onerror"}.isdisjoint(tag for tag, _ in found.tags)
    assert not [a for _, a in found.tags if any(name.startswith("on") for name in a)]
    assert [a["src"] for tag, a in found.tags if tag == "img" and not str(a["src"]).startswith("data:image/")] == []
    assert "alert(1)" in page.read_text()  # it is told, as text


def test_a_private_archive_shows_no_pixels_places_and_days(tmp_path: Path) -> None:
    around = [[10.0, 50.0], [10.1, 50.0], [10.1, 49.9]]
    scenes = [done("h4sh", 1e4, date="2024-06-02", footprint=around), broken("h4sh2", where="/pacs/DOE^JANE/1.dcm")]
    workspace = filled(tmp_path, scenes, pixels=False, private=True)
    page = write_report(workspace)
    text = page.read_text()
    assert "<img" not in text
    assert "data:image" not in text
    assert "JANE" not in text
    assert "2024-06-02" not in text
    assert "°E" not in text
    assert "h4sh2" in text
    assert "the archive is private" in text


def test_what_an_older_version_wrote_is_taken_for_private(tmp_path: Path) -> None:
    workspace = filled(tmp_path, [done("a", 1e4, date="2024-06-02")])
    (workspace.page_parts / "settings.json").unlink()
    text = write_report(workspace).read_text()
    assert "<img" not in text
    assert "2024-06-02" not in text
    assert "flood" in text


def test_what_another_version_or_a_person_left_fails_no_run(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    workspace = filled(tmp_path, [done("a", 1e4)])
    examples = {"classes": {"flood": {"how_many": 3}}, "pictures": [], "hashes": {}}
    (workspace.page_parts / "examples.json").write_text(json.dumps(examples | {"version": 0}))
    bring_up_to_date(workspace, "done")
    assert "flood" in workspace.page.read_text()
    assert not caplog.records
    workspace.page.unlink()
    (workspace.page_parts / "examples.json").write_text(json.dumps(examples | {"version": 1}))
    bring_up_to_date(workspace, "done")
    assert not workspace.page.exists()
    assert "report.html could not be written" in caplog.text


def test_scenes_without_a_picture_are_told_with_how_to_get_it(tmp_path: Path) -> None:
    workspace = filled(tmp_path, [done("a", 2e4), done("b", 1e4)])
    assert "no picture" not in write_report(workspace).read_text()
    workspace.quicklook("b", "large").unlink()
    assert "1 of these has no picture" in write_report(workspace).read_text()
    hidden = filled(tmp_path / "hidden", [], pixels=False)
    assert "no picture" not in write_report(hidden).read_text()


def test_no_key_of_an_address_is_kept(tmp_path: Path) -> None:
    support = {"classes": [{"name": "flood", "examples": [{"image": "a.tif", "mask": "b.tif"}]}]}
    uris = ["https://me:PASSWORD@example.org/a.tif?sig=SECRET", "scenes/*.tif"]
    config = PipelineConfig.model_validate(
        {
            "name": "floods",
            "input": {"reader": "geotiff", "uri": uris, "bands": [1], "scale": {"fixed": [0, 255]}},
            "support": support,
            "output": {"directory": str(tmp_path)},
        }
    )
    workspace = filled(tmp_path, [])
    keep_settings(workspace, config, private=False, whole_archive=True)
    text = write_report(workspace).read_text()
    assert "https://example.org/a.tif, scenes/*.tif" in text
    assert "SECRET" not in text
    assert "PASSWORD" not in text


def test_many_scenes_are_cut_into_pages_that_go_when_they_are_one_too_many(tmp_path: Path) -> None:
    scenes = [done(f"scene_{number:04d}", 1e4 + number) for number in range(400)]
    workspace = filled(tmp_path, scenes)
    page = write_report(workspace)
    pages = sorted((tmp_path / "report~pages").iterdir())
    assert [path.name for path in pages] == ["page_0002.html", "page_0003.html"]
    shown = [re.findall(r"<h3>(scene_\d+)</h3>", path.read_text()) for path in (page, *pages)]
    assert [len(of_page) for of_page in shown] == [60, 250, 90]
    assert [scene for of_page in shown for scene in of_page] == [
        f"scene_{number:04d}" for number in reversed(range(400))
    ]
    assert 'href="report~pages/page_0003.html"' in page.read_text()
    assert 'href="../report.html"' in pages[0].read_text()
    assert 'href="page_0003.html"' in pages[0].read_text()
    assert 'href="../scene_0300/mask.tif"' in pages[0].read_text()
    before = [path.stat().st_mtime_ns for path in pages]
    write_report(workspace)
    assert [path.stat().st_mtime_ns for path in pages] == before  # not written again
    with Ledger.open(workspace.ledger) as ledger:
        ledger.mark_vanished([f"scene_{number:04d}" for number in range(300)])
    write_report(workspace)
    assert not (tmp_path / "report~pages").exists()
    assert "300 scenes of earlier runs are no longer in the archive" in page.read_text()


def test_a_folder_that_no_run_wrote_to_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no run has written here"):
        write_report(Workspace(tmp_path))
    assert not list(tmp_path.iterdir())


def test_scenes_to_both_sides_of_180_degrees_lie_beside_each_other(tmp_path: Path) -> None:
    from hdm_pipeline.reporting.html.places import footprints
    from hdm_pipeline.reporting.html.scenes import Overview

    west, east = ([[lon, 0.0], [lon + 1, 0.0], [lon + 1, 1.0], [lon, 1.0]] for lon in (178.0, -179.0))
    drawn = footprints(Overview(("flood",), places=[("west", west, 1.0), ("east", east, 2.0)]))
    assert drawn is not None
    start = {one.id: float(one.path[1:].split(" ")[0]) for one in drawn.outlines}
    assert start["west"] < start["east"]
    assert {"178°E", "179°W"} <= {tick.text for tick in drawn.meridians}


def test_a_run_that_a_person_ended_at_once_was_stopped(tmp_path: Path) -> None:
    workspace = filled(tmp_path, [done("a", 1e4)])
    ended = {"status": "failed", "error": {"type": "KeyboardInterrupt", "what": "interrupted", "remedy": "run again"}}
    workspace.report.write_text(json.dumps(ended))
    text = write_report(workspace).read_text()
    assert "The run was stopped" in text
    assert "KeyboardInterrupt" not in text
