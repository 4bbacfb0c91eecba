"""What `validate` tells of a pipeline over DICOM before anything is read or asked."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

from hdm_pipeline.config.file import PipelineFileError
from hdm_pipeline.config.problems import Problem
from hdm_pipeline.errors import ConfigError
from hdm_pipeline.pipeline import Pipeline
from hdm_pipeline.planning.routes import routes
from hdm_pipeline.plugin import registry
from hdm_pipeline.plugin.product_order import product_writers
from tests.pacs_archive import write_pipeline

Checked = Callable[..., Pipeline]


@pytest.fixture
def pipeline(tmp_path: Path) -> Checked:
    """A pipeline file with some values replaced: `pipeline({"input.options.plane": "axial"})`."""

    def make(values: dict[str, Any] | None = None, **input_: Any) -> Pipeline:
        file = write_pipeline(tmp_path, Path("builtin:pyramid-small"), "out", **{"uri": str(tmp_path), **input_})
        return Pipeline.from_yaml(file, [f"{key}={json.dumps(value)}" for key, value in (values or {}).items()])

    return make


def problems(checked: Pipeline) -> list[Problem]:
    with pytest.raises(PipelineFileError) as caught:
        checked.validate()
    return list(caught.value.problems)


# ------------------------------------------------------------------------------------------- products


def test_products_that_are_not_deidentified_alike(pipeline: Checked, tmp_path: Path) -> None:
    one, other = ({"deidentify": {"key_file": str(tmp_path / name)}} for name in ("one", "other"))
    for name in ("one", "other"):
        (tmp_path / name).write_text(f"{name}, and sixteen bytes")

    def made(**products: Any) -> Pipeline:
        return pipeline({"output.products": [{name: options} for name, options in products.items()]})

    assert made(segmentation=one, report=one, measurements=one).validate() == []
    for products in ({"segmentation": one, "report": {}}, {"segmentation": {}, "report": one}):
        (problem,) = problems(made(**products))
        assert problem.key == "output.products.1"
        assert "report and segmentation, to which it refers, are not de-identified alike" in problem.what
    (problem,) = problems(made(report=one, segmentation=other))
    assert problem.key == "output.products.0"
    with pytest.raises(ConfigError, match="not de-identified alike"):  # `run` looks, too
        product_writers(made(report=one, segmentation=other).config)
    (warning,) = made(segmentation=one, rtstruct={}, nifti={}).validate()
    assert "rtstruct names the patient, and segmentation does not" in warning
    (warning,) = made(segmentation=one, rtstruct=other).validate()
    assert "different keys" in warning


class Odd:
    """A writer that does not say what its files are."""

    name = "odd"

    def __init__(self, options: Any = None) -> None: ...

    def check(self, classes: Any) -> list[str]:
        return []

    def filename(self, scene: Any) -> str:
        return "odd"

    def write(self, product: Any, path: Path) -> None: ...


@pytest.mark.parametrize("to", ["dicomweb://host.invalid/x", "dimse://A@host.invalid:104"])
def test_a_pacs_gets_what_says_that_it_is_dicom(pipeline: Checked, monkeypatch: pytest.MonkeyPatch, to: str) -> None:
    point = EntryPoint("odd", f"{__name__}:Odd", registry.WRITERS)
    monkeypatch.setitem(registry.available(registry.WRITERS), "odd", point)
    products = ["segmentation", "report", "odd", "measurements", "label_image"]

    def sent(*names: str) -> Pipeline:
        named = {"products": list(names)} if names else {}
        return pipeline({"output.products": products, "output.send": {"to": to, "options": {"plain": True}, **named}})

    assert sent().validate() == []
    (route,) = routes(sent().config)
    assert route.products == ("report", "segmentation")
    for name, kind in (("odd", "does not say"), ("measurements", "text/csv"), ("label_image", "image/png")):
        (problem,) = problems(sent("segmentation", name))
        assert f"'{name}'" in problem.what
        assert kind in problem.what


# --------------------------------------------------------------------------------------------- reader


def test_each_mistake_in_the_options_of_a_reader_is_told_once(pipeline: Checked) -> None:
    options = {"plae": "axial", "policy": "stict", "tolerance": 0.9, "include_derived": True}
    found = problems(pipeline(options=options, select={"modalitee": "CT"}))
    assert sorted(problem.key for problem in found) == [
        "input.options.plae",
        "input.options.policy",
        "input.options.tolerance",
        "input.select.modalitee",
    ]
    assert all(problem.line for problem in found)


@pytest.mark.parametrize(
    ("bands", "fits"),
    [
        ([1], False),
        ([1, 3], False),
        (["above - below"], False),
        ([1, 2, 3], True),
        (["slice"], True),
        (["b2 - b1"], True),
    ],
)
def test_with_neighbors_the_slice_itself_is_among_the_bands(
    pipeline: Checked, bands: list[int | str], fits: bool
) -> None:
    checked = pipeline(bands=bands, options={"neighbors": 1})
    if fits:
        assert checked.validate() == []
        return
    (problem,) = problems(checked)
    assert problem.key == "input.options.neighbors"
    assert "leave out the slice itself" in problem.what
    assert "[1, 2, 3]" in problem.remedy
    assert pipeline(bands=bands, options={"neighbors": 0}).validate() == []


def test_mistakes_in_a_connection_are_all_told(pipeline: Checked, tmp_path: Path) -> None:
    connection = {"ca_file": "none.pem", "token_env": "HDM_NOT_SET"}
    uris = ["dicomweb://one.invalid/x", "dicomweb://two.invalid/x"]
    found = problems(pipeline(uri=uris, network=True, options={"connection": connection}))
    told = {problem.key.removeprefix("input.options.connection."): problem.what for problem in found}
    assert set(told) == {"ca_file", "token_env"}
    assert len(found) == 2
    assert str(tmp_path / "none.pem") in told["ca_file"]
    assert "HDM_NOT_SET is not set" in told["token_env"]
    found = problems(pipeline(uri=uris, network=True, options={"connection": {"timeot": 3, "plain": 1}}))
    assert {problem.key for problem in found} == {f"input.options.connection.{name}" for name in ("timeot", "plain")}


def test_a_connection_of_an_archive_that_is_here_is_not_looked_at(pipeline: Checked) -> None:
    assert pipeline(options={"connection": {"token_env": "HDM_NOT_SET"}}).validate() == []


# ------------------------------------------------------------------------------------------ listening


def test_what_a_listener_needs_is_there(pipeline: Checked, tmp_path: Path) -> None:
    receiver = {"port": 11112, "certificate_file": "none.pem", "key_file": "none.key"}
    found = problems(pipeline({"listen": {"receive": {"dicom": receiver}, "folder": "nowhere"}}))
    assert [problem.key for problem in found] == ["listen.receive.dicom", "listen.folder"]
    assert "none.key" in found[0].what
    assert str(tmp_path / "nowhere") in found[1].what
    hook = {"port": 11112, "plain": True, "hook_port": 8043, "token_file": "none.token"}
    (problem,) = problems(pipeline({"listen": {"receive": {"dicom": hook}}}))
    assert "none.token" in problem.what
    (tmp_path / "coming").mkdir()
    (tmp_path / "none.token").write_text("secret")
    assert pipeline({"listen": {"receive": {"dicom": hook}, "folder": "coming"}}).validate() == []
