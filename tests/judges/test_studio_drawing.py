"""Drawing on the studio's page: what is taken back, what is tried by itself, and folders that are found by name."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Request, expect

from tests.judges.conftest import RequireJudge
from tests.judges.studio_page import browser, dash, served
from tests.judges.test_studio_trouble import at, drawn, pipeline, scenes, write_scene


@pytest.fixture(scope="module")
def chromium(require_judge: RequireJudge) -> Iterator[Browser]:
    with browser(require_judge) as opened:
        yield opened


def test_undo_in_the_middle_of_a_stroke_drops_that_one(chromium: Browser, tmp_path: Path) -> None:
    with served(scenes(tmp_path, a_small=(400, 500))) as studio, at(chromium, studio.address) as desk:
        desk.open("a_small")
        desk.stroke(1, dash((100, 100), 40))
        before = drawn(desk, "a_small")
        mouse = desk.page.mouse
        mouse.move(*desk.screen((200, 200)))
        mouse.down()
        mouse.move(*desk.screen((300, 200)), steps=4)
        desk.page.keyboard.press("Control+z")
        mouse.move(*desk.screen((300, 300)), steps=4)
        mouse.up()
        assert drawn(desk, "a_small") == before
        desk.stroke(1, dash((200, 300), 40))  # nothing of what was dropped comes back
        assert drawn(desk, "a_small") == {"1": 2 * before["1"]}

        desk.page.keyboard.press("p")
        for corner in ((300, 100), (350, 100), (350, 150), (20, 380)):
            mouse.click(*desk.screen(corner))
            desk.page.wait_for_timeout(400)  # no double click
        desk.page.keyboard.press("Control+z")
        with desk.page.expect_response(lambda answer: answer.url.endswith("/strokes")) as sent:
            desk.page.keyboard.press("Enter")
        assert len(sent.value.request.post_data_json["points"]) == 3  # the last corner was taken back


def test_what_cannot_be_answered_is_not_tried_by_itself(chromium: Browser, tmp_path: Path) -> None:
    with served(scenes(tmp_path, a_small=(400, 500))) as studio, at(chromium, studio.address) as desk:
        desk.switch("Try by itself after each stroke", on=True)
        tried: list[str] = []

        def note(request: Request) -> None:
            if request.url.endswith("/api/try"):
                tried.append(request.url)

        desk.page.on("request", note)
        desk.open("a_small")
        desk.stroke(1, dash((100, 100), 40))
        desk.page.wait_for_timeout(1500)  # longer than the rest after a stroke
        assert tried == []
        with desk.page.expect_response(lambda answer: answer.url.endswith("/api/try")) as answer:
            desk.stroke(0, dash((100, 300), 40))
        assert answer.value.ok
        assert desk.troubles == []


def test_a_folder_is_found_by_its_own_name(chromium: Browser, tmp_path: Path) -> None:
    (tmp_path / "scenes" / "Köln").mkdir(parents=True)
    write_scene(tmp_path / "scenes" / "Köln" / "lake.tif", (64, 64))
    write_scene(tmp_path / "scenes" / "lake.tif", (64, 64))
    file = pipeline(tmp_path, "scenes\n  options: {recursive: true, ids: path}")
    with served(file) as studio, at(chromium, studio.address) as desk:
        desk.page.get_by_label("Find a scene by its name").fill("köln")
        found = desk.page.locator(".scene")
        expect(found).to_have_count(1)
        expect(found).to_contain_text("Köln/lake.tif")
