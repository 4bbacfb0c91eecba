"""Files that are for people and machines beside the code: licences of what is installed, forms, citation."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest
import yaml

import hdm_pipeline

ROOT = Path(__file__).resolve().parents[2]
FORMS = sorted((ROOT / ".github").rglob("*.yml"))


@pytest.fixture(scope="module")
def licences() -> ModuleType:
    spec = importlib.util.spec_from_file_location("licences", ROOT / "docs" / "site" / "licences.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["licences"] = module  # for its dataclasses and types
    spec.loader.exec_module(module)
    return module


def test_nothing_that_is_required_is_gpl(licences: ModuleType) -> None:
    found = {name: licences.licence_of(one) for name, (one, _) in licences.packages().items()}
    assert {"torch", "rasterio", "pydicom", "highdicom"} <= set(found)
    assert "pylibjpeg-libjpeg" not in found
    assert {name: told for name, told in found.items() if licences.is_copyleft(told)} == {}
    assert [name for name, told in found.items() if told == "not stated"] == []


@pytest.mark.parametrize(
    ("licence", "copyleft"),
    [
        ("GPL-3.0-only", True),
        ("AGPL-3.0", True),
        ("GNU General Public License v3 (GPLv3)", True),
        ("MIT OR GPL-2.0", False),
        ("LGPL-2.1", False),
        ("LGPL-2.1 AND GPL-3.0", True),
        ("MIT, GPLv3", True),
        ("GNU Lesser General Public License v3 (LGPLv3)", False),
        ("BSD-3-Clause", False),
    ],
)
def test_gpl_is_known_when_it_is_seen(licences: ModuleType, licence: str, copyleft: bool) -> None:
    assert licences.is_copyleft(licence) is copyleft


def test_the_page_of_licences_lists_every_required_package(licences: ModuleType) -> None:
    """Versions may differ: only those of `constraints.txt` are pinned."""
    page = (ROOT / "docs" / "licences.md").read_text().lower()
    listed = {re.sub(r"[-_.]+", "-", row.split("|")[1].strip()) for row in page.splitlines() if row.count("|") == 5}
    assert sorted(set(licences.packages()) - listed) == [], "run `make licences`"


def test_there_are_forms() -> None:
    assert {form.parent.name for form in FORMS} == {"ISSUE_TEMPLATE", "DISCUSSION_TEMPLATE"}


@pytest.mark.parametrize("form", FORMS, ids=lambda path: path.stem)
def test_forms_are_what_their_reader_takes(form: Path) -> None:
    content = yaml.safe_load(form.read_text())
    if form.name == "config.yml":
        assert isinstance(content["blank_issues_enabled"], bool)
        return
    if form.parent.name == "ISSUE_TEMPLATE":
        assert content["name"]
        assert content["description"]
    kinds = {"markdown", "textarea", "input", "checkboxes", "dropdown"}
    for part in content["body"]:
        assert part["type"] in kinds
        assert part["attributes"].get("value" if part["type"] == "markdown" else "label")
    ids = [part["id"] for part in content["body"] if part["type"] != "markdown"]
    assert len(ids) == len(set(ids))


def test_the_citation_names_this_release_and_the_paper() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["cff-version"] == "1.2.0"
    assert {"message", "title", "authors"} <= set(citation)
    assert citation["version"] == hdm_pipeline.__version__
    assert citation["license"] == "Apache-2.0"
    (paper,) = citation["references"]
    assert paper["title"].startswith("Hierarchical Dense Correlation Distillation")
