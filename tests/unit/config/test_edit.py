"""Examples entered into a pipeline file: what is entered, and that nothing else changes by a byte."""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from hdm_pipeline.config.edit import edited_text, enter_examples
from hdm_pipeline.config.file import read_pipeline_file
from hdm_pipeline.errors import ConfigError, OutputError
from hdm_pipeline.hashing import file_hash

HEAD = """\
# Water after the storm
name:   flood   # three spaces, kept
input: { uri: scenes,
         scale: {fixed: [-25, 0]} }
"""
TAIL = """

# ---- where it goes ----
output:
  directory: "out"
"""
BLOCK = """\
support:
  adapt: off

  classes:
    - name: flood      # the wet ones
      color: '#0000FF'
      examples:
        - image: chip.tif          # by hand
          mask: mask.tif
        # - {image: old.tif, mask: old_mask.tif}
"""


class Folder:
    """A pipeline file and the folder of labels beside it."""

    def __init__(self, root: Path, support: str = BLOCK, *, head: str = HEAD, tail: str = TAIL) -> None:
        self.root, self.path, self.labels = root, root / "pipeline.yaml", root / "labels"
        self.labels.mkdir()
        self.path.write_bytes((head + support + tail).encode())

    def example(self, scene: str, **more: Any) -> dict[str, Any]:
        drawn = {"image": str(self.root / "scenes" / f"{scene}.tif"), "mask": str(self.labels / f"{scene}.tif")}
        return {**drawn, "value": 2, "background": 0, **more}

    def enter(self, **classes: list[dict[str, Any]]) -> bool:
        entries: Mapping[str, Any] = {name: {"color": "#00ff00", "examples": given} for name, given in classes.items()}
        before = self.path.read_bytes()
        text = edited_text(self.path, entries, self.labels)
        assert self.path.read_bytes() == before
        changed = enter_examples(self.path, entries, self.labels)
        assert self.path.read_bytes() == text.encode()
        assert changed == (text.encode() != before)
        return changed

    def examples(self) -> dict[str, list[tuple[str, str]]]:
        """(image, mask) by class, as they are read."""
        classes = read_pipeline_file(self.path).absolute().support.classes
        return {one.name: [(e.image, str(e.mask)) for e in one.examples] for one in classes}

    def added(self, before: str) -> list[str]:
        """Lines that were added; all lines that were there are there still, in their order."""
        old, new = before.splitlines(), self.path.read_bytes().decode().splitlines()
        found = []
        for line in new:
            if old and line == old[0]:
                old.pop(0)
            else:
                found.append(line)
        assert old == []
        return found


def test_an_example_follows_those_of_its_class_and_all_else_stays(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    folder.enter(flood=[folder.example("a", slices=[1, 2])])
    assert folder.path.read_text() == (
        HEAD
        + BLOCK.replace(
            "        # - {",
            "        - image: scenes/a.tif\n          mask: labels/a.tif\n          value: 2\n"
            "          background: 0\n          slices: [1, 2]\n        # - {",
        )
        + TAIL
    )
    assert folder.examples()["flood"][1] == (str(tmp_path / "scenes/a.tif"), str(tmp_path / "labels/a.tif"))


def test_a_new_class_comes_last_and_has_its_color(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    folder.enter(flood=[], mud=[folder.example("a")], never_drawn=[])
    assert folder.added(HEAD + BLOCK + TAIL) == [
        "    - name: mud",
        "      color: '#00ff00'",
        "      examples:",
        "        - image: scenes/a.tif",
        "          mask: labels/a.tif",
        "          value: 2",
        "          background: 0",
    ]
    assert read_pipeline_file(folder.path).config.support.classes[1].color == "#00ff00"


def test_own_examples_are_replaced_and_removed_and_those_of_the_user_stay(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    a, b, c = (folder.example(name) for name in "abc")
    folder.enter(flood=[a, b, c])
    once = folder.path.read_text()
    assert not folder.enter(flood=[a, b, c])
    assert folder.path.read_text() == once
    folder.enter(flood=[a, {**b, "value": 3}, c])
    assert folder.path.read_text() == once.replace("b.tif\n          value: 2", "b.tif\n          value: 3")
    folder.enter(flood=[c])
    assert folder.examples()["flood"] == [
        (str(tmp_path / "chip.tif"), str(tmp_path / "mask.tif")),
        (c["image"], c["mask"]),
    ]
    folder.enter()
    assert folder.path.read_text() == HEAD + BLOCK + TAIL


def test_a_class_is_not_left_without_examples(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    folder.enter(mud=[folder.example("a")])
    before = folder.path.read_text()
    with pytest.raises(ConfigError, match="'mud' would be left without an example") as caught:
        folder.enter(mud=[])
    assert "draw an example" in caught.value.remedy
    assert folder.path.read_text() == before


CLASS = "support:\n  classes:\n    - name: flood\n      examples:"
USER = "{image: chip.tif, mask: mask.tif}"
FLOW = {
    "examples in braces": f"{CLASS}\n        - {USER}  # x\n",
    "examples in brackets": f"{CLASS} [{USER}]\n",
    "brackets over lines": f"{CLASS} [\n        {USER},  # x\n      ]\n",
    "all in braces": f"support: {{adapt: off, classes: [{{name: flood, examples: [{USER}]}}]}}\n",
    "no indent": "support:\n  classes:\n  - name: flood\n    examples:\n    - image: chip.tif\n      mask: mask.tif\n",
    "other order": "support:\n    classes:\n      - examples:\n          - mask: mask.tif\n"
    "            image: chip.tif\n        name: flood\n",
    "quoted": 'support:\n  classes:\n    - "name": "flood"\n      \'examples\':\n'
    '        - {"image": "chip.tif", mask: \'mask.tif\'}\n',
    "folded": f"{CLASS}\n        - image: >-\n            chip.tif\n          mask: |-\n            mask.tif\n\n",
}


@pytest.mark.parametrize(
    ("name", "newline"), [*((name, "\n") for name in FLOW), ("brackets over lines", "\r\n"), ("no indent", "\r\n")]
)
def test_however_it_is_written(tmp_path: Path, name: str, newline: str) -> None:
    user = (str(tmp_path / "chip.tif"), str(tmp_path / "mask.tif"))
    folder = Folder(tmp_path, FLOW[name], head="\ufeff" + HEAD)
    folder.path.write_bytes(folder.path.read_bytes().replace(b"\n", newline.encode()))
    before = folder.path.read_bytes()
    a, b, c = (folder.example(name) for name in "abc")
    folder.enter(flood=[a], mud=[b, c])
    assert folder.examples() == {
        "flood": [user, (a["image"], a["mask"])],
        "mud": [(b["image"], b["mask"]), (c["image"], c["mask"])],
    }
    for line in (*HEAD.splitlines(), *TAIL.splitlines()):
        assert line.encode() + newline.encode() in folder.path.read_bytes()
    assert folder.path.read_bytes().count(b"\r\n") == (0 if newline == "\n" else folder.path.read_bytes().count(b"\n"))
    folder.enter(flood=[b, c, a], mud=[c])
    assert [image for image, _ in folder.examples()["flood"][1:]] == [a["image"], b["image"], c["image"]]
    folder.enter(flood=[c], mud=[a])
    assert folder.examples() == {"flood": [user, (c["image"], c["mask"])], "mud": [(a["image"], a["mask"])]}
    folder.enter(mud=[a])
    text = folder.path.read_bytes()
    assert all(line in text for line in before.splitlines() if b"{" not in line or b"chip" not in line)


EMPTY = {
    "no list": "support:\n  classes:   # to be drawn\n",
    "null": "support: {classes: ~}\n",
    "empty list": "support:\n  classes: []  # to be drawn\n  adapt: off\n",
    "no support": "",
    "empty support": "support:\n",
    "only adapt": "support: {adapt: off}\n",
    "no examples": "support:\n  classes:\n    - name: flood\n      color: '#112233'\n",
    "empty examples": f"{CLASS}  # to be drawn\n      color: '#112233'\n",
    "flow examples": f"{CLASS} []  # to be drawn\n      color: '#112233'\n",
    "anchored examples": f"{CLASS} &them []  # to be drawn\n",
    "null examples": "support:\n  classes:\n    - {name: flood, examples: }\n",
}


@pytest.mark.parametrize("support", EMPTY.values(), ids=EMPTY)
def test_what_is_empty_is_filled(tmp_path: Path, support: str) -> None:
    folder = Folder(tmp_path, support)
    a, b = folder.example("a"), folder.example("b")
    folder.enter(flood=[a], mud=[b])
    assert folder.examples() == {"flood": [(a["image"], a["mask"])], "mud": [(b["image"], b["mask"])]}
    text = folder.path.read_text()
    assert text.startswith(HEAD)
    assert all(line in text for line in TAIL.splitlines())
    assert ("# to be drawn" in text) == ("# to be drawn" in support)


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize(
    ("rest", "stays"), [("", ""), ("   # label some scenes: a command", ""), ("   # blue ones", "   # blue ones")]
)
def test_an_empty_list_becomes_lines_and_the_hint_of_a_draft_goes(
    tmp_path: Path, rest: str, stays: str, newline: str
) -> None:
    folder = Folder(tmp_path, f"{CLASS} []{rest}\n      color: '#112233'  # kept\n")
    folder.path.write_bytes(folder.path.read_bytes().replace(b"\n", newline.encode()))
    before = folder.path.read_bytes().decode().split(newline)
    one = folder.example("a")
    folder.enter(flood=[one])
    after = folder.path.read_bytes().decode().split(newline)
    at = next(i for i, line in enumerate(before) if "examples:" in line)
    more = len(after) - len(before)
    assert after[at] == f"      examples:{stays}"
    assert more == len(one)
    assert after[at + 1].startswith("        - image: ")
    assert (after[:at], after[at + 1 + more :]) == (before[:at], before[at + 1 :])


def test_a_file_without_an_end_of_line(tmp_path: Path) -> None:
    folder = Folder(
        tmp_path,
        "output: {directory: out}\n" + BLOCK.replace("        # - {image: old.tif, mask: old_mask.tif}\n", ""),
        tail="",
    )
    folder.path.write_bytes(folder.path.read_bytes().rstrip())
    folder.enter(flood=[folder.example("a")], mud=[folder.example("b")])
    assert list(folder.examples()) == ["flood", "mud"]
    assert len(folder.examples()["flood"]) == 2


SHARED = {
    "alias": f"x: &x [{USER}]\nsupport:\n  classes:\n    - {{name: flood, examples: *x}}\n",
    "anchor": f"{CLASS} &x [{USER}]\n    - {{name: dry, examples: *x}}\n",
    "class": f"x: &x {{name: flood, examples: [{USER}]}}\nsupport: {{classes: [*x]}}\n",
    "merge": f"x: &x {{examples: [{USER}]}}\nsupport:\n  classes:\n    - {{<<: *x, name: flood}}\n",
    "dash alone": f"{CLASS}\n        -\n          image: chip.tif\n          mask: mask.tif\n",
}


@pytest.mark.parametrize("support", SHARED.values(), ids=SHARED)
def test_what_is_shared_is_refused_with_a_remedy(tmp_path: Path, support: str) -> None:
    folder = Folder(tmp_path, support)
    before = folder.path.read_bytes()
    with pytest.raises(ConfigError, match="cannot be changed in place") as caught:
        folder.enter(flood=[folder.example("a")])
    assert caught.value.remedy
    assert folder.path.read_bytes() == before


def test_other_anchors_are_no_hindrance(tmp_path: Path) -> None:
    support = (
        "support:\n  classes:\n    - name: flood\n      examples:\n        - &chip {image: chip.tif, mask: mask.tif}\n"
        "    - name: dry\n      examples:\n        - {<<: *chip, value: 2}\n        - *chip\n"
    )
    folder = Folder(tmp_path, support)
    folder.enter(flood=[folder.example("a")], dry=[folder.example("b")])
    added = folder.added(HEAD + support + TAIL)
    assert added == [
        "        - {image: scenes/a.tif, mask: labels/a.tif, value: 2, background: 0}",
        "        - {image: scenes/b.tif, mask: labels/b.tif, value: 2, background: 0}",
    ]


def test_names_that_yaml_globs_variables_and_shells_have_a_meaning_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hdm_pipeline.config.schema import ClassConfig
    from hdm_pipeline.support.examples import requests

    monkeypatch.setenv("HOME", "/nowhere")
    names = ["chip [1].tif", "a: b #c.tif", "${HOME}[x].tif", "~root", "- é 水.tif", "'\"{},.tif", "yes", "012", "null"]
    folder = Folder(tmp_path, BLOCK.replace("flood", "${CLASS:-flood}"))
    drawn = []
    for name in names:
        for path in (tmp_path / name, folder.labels / name):
            path.write_text("")
        drawn.append({"image": str(tmp_path / name), "mask": str(folder.labels / name), "value": 1})
    folder.enter(flood=drawn, mud=drawn)
    assert not folder.enter(flood=drawn, mud=drawn)
    mud = read_pipeline_file(folder.path).absolute().support.classes[1]
    found = requests(ClassConfig(name="x", examples=mud.examples))
    assert [(request.image, request.mask) for request in found] == [(one["image"], one["mask"]) for one in drawn]
    folder.enter(mud=drawn[:1])
    assert list(folder.examples()) == ["flood", "mud"]
    assert [len(found) for found in folder.examples().values()] == [1, 1]


def test_paths_of_another_tree_stay_absolute_and_addresses_as_they_are(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    given = [{"image": image, "mask": str(folder.labels / "a.tif")} for image in ("/nowhere/a.tif", "dicomweb://x/1")]
    folder.enter(flood=given)
    classes = yaml.safe_load(folder.path.read_text())["support"]["classes"]
    assert [one["image"] for one in classes[0]["examples"]] == ["chip.tif", "/nowhere/a.tif", "dicomweb://x/1"]


def test_examples_of_the_user_beside_ours_are_not_ours(tmp_path: Path) -> None:
    examples = (
        "        - {image: scenes/a.tif, mask: labels/*.tif}\n"
        "        - {image: scenes/a.tif, mask: labels/deep/a.tif}\n"
        "        - {image: scenes/a.tif, mask: '${LABELS:-labels}/a.tif'}\n"
        "        - {image: labels/a.tif, mask: a.tif}\n"
    )
    folder = Folder(tmp_path, BLOCK + examples)
    folder.enter(flood=[])
    assert folder.path.read_text() == HEAD + BLOCK + examples + TAIL


def test_nothing_is_written_that_would_not_be_accepted(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    before = folder.path.read_bytes()
    with pytest.raises(ConfigError, match="no such key"):
        folder.enter(flood=[folder.example("a", colour="red")])
    with pytest.raises(ConfigError, match="cannot be written as text"):
        folder.enter(flood=[{**folder.example("a"), "image": str(tmp_path / "\udcff.tif")}])
    assert folder.path.read_bytes() == before
    folder.path.write_text(HEAD + "support: [\n")
    with pytest.raises(ConfigError, match="not valid YAML"):
        folder.enter(flood=[folder.example("a")])
    folder.path.unlink()
    with pytest.raises(ConfigError, match="cannot be read"):
        enter_examples(folder.path, {}, folder.labels)


def test_a_file_that_another_program_changed_is_not_written_over(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    entries = {"flood": {"examples": [folder.example("a")]}}
    known = file_hash(folder.path)
    folder.path.write_text(folder.path.read_text().replace("-25", "-20"))
    with pytest.raises(OutputError, match="changed by another program") as caught:
        enter_examples(folder.path, entries, folder.labels, since=known)
    assert "open the pipeline again" in caught.value.remedy
    assert enter_examples(folder.path, entries, folder.labels, since=file_hash(folder.path))


def test_mode_and_links_stay(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    folder = Folder(tmp_path / "real")
    folder.path.chmod(0o640)
    link = tmp_path / "link.yaml"
    link.symlink_to(folder.path)
    enter_examples(link, {"flood": {"examples": [folder.example("a")]}}, folder.labels)
    assert link.is_symlink()
    assert folder.path.stat().st_mode & 0o7777 == 0o640
    (image, mask) = read_pipeline_file(link).absolute().support.classes[0].examples[1].image, folder.labels / "a.tif"
    assert image == str(tmp_path / "real/scenes/a.tif")
    assert mask.name == "a.tif"


def test_a_read_only_file_can_still_be_shown(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    folder.path.chmod(0o444)
    before = folder.path.read_bytes()
    entries = {"flood": {"examples": [folder.example("a")]}}
    with pytest.raises(OutputError, match="read-only") as caught:
        enter_examples(folder.path, entries, folder.labels)
    assert "by hand" in caught.value.remedy
    assert folder.path.read_bytes() == before
    assert "labels/a.tif" in edited_text(folder.path, entries, folder.labels)


@pytest.mark.parametrize(
    ("number", "word"), [(errno.ENOSPC, "No space"), (errno.EROFS, "read-only"), (errno.EACCES, "read-only")]
)
def test_a_full_disk_leaves_the_file_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, word: str
) -> None:
    folder = Folder(tmp_path)
    before = folder.path.read_bytes()

    def fail(descriptor: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OutputError, match=word):
        enter_examples(folder.path, {"flood": {"examples": [folder.example("a")]}}, folder.labels)
    assert folder.path.read_bytes() == before
    assert sorted(os.listdir(tmp_path)) == ["labels", "pipeline.yaml"]
