"""What the pages show of pipeline files is right, and their tables of options tell what the code does."""

from __future__ import annotations

import ast
import json
import re
import textwrap
from collections.abc import Callable, Iterator, Mapping
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from hdm_dicom.maps.writer import ParametricMapWriter
from hdm_dicom.options import ReaderOptions as DicomOptions
from hdm_dicom.pacs.connection import Connection
from hdm_dicom.pacs.receiver_options import ReceiverOptions
from hdm_dicom.preview.writer import PreviewWriter
from hdm_dicom.report.table import MeasurementsWriter
from hdm_dicom.report.writer import ReportWriter
from hdm_dicom.segmentation.writer import SegmentationWriter
from hdm_dicom.structure_set.writer import StructureSetWriter
from hdm_geotiff.options import ReaderOptions as GeoTiffOptions
from hdm_geotiff.polygons.options import PolygonOptions
from hdm_pipeline.config.schema import PipelineConfig
from tests.unit.test_docs import PAGES, ROOT, quoted

Options = Mapping[str, Any]

FENCED = re.compile(r"^( *)```(\w+)\n(.*?)^ *```$", re.DOTALL | re.MULTILINE)
INDENTED = re.compile(r"(?<=\n\n)((?: {4}.*\n|\n(?= {4}))+)")
PARTS = {*PipelineConfig.model_fields}
INNER: dict[str, Callable[[Any], dict[str, Any]]] = {
    "examples": lambda value: {"support": {"classes": [{"name": "x", "examples": value}]}},
    "products": lambda value: {"output": {"products": value}},
    "send": lambda value: {"output": {"send": value}},
}
"""Parts that a page shows alone, and where they stand in a pipeline file."""


def blocks(page: Path, *kinds: str, indented: bool = False) -> Iterator[str]:
    """The code blocks of a page of some kinds; with `indented` those without a kind, too."""
    text = page.read_text(encoding="utf-8")
    for _, kind, block in FENCED.findall(text):
        if kind in kinds:
            yield textwrap.dedent(block)
    if indented:
        yield from (textwrap.dedent(block) for block in INDENTED.findall(FENCED.sub("", text)))


def pipeline_parts(page: Path) -> Iterator[dict[str, Any]]:
    """What a page shows of pipeline files; indented blocks are of any kind, and count where they look like one."""
    for block in blocks(page, "yaml"):
        found = yaml.safe_load(block)
        yield {"examples": found} if isinstance(found, list) else found
    for block in blocks(page, indented=True):
        try:
            found = yaml.safe_load(block)
        except yaml.YAMLError:
            continue
        if isinstance(found, dict) and set(found) <= PARTS | set(INNER):
            yield found


def whole(part: dict[str, Any]) -> dict[str, Any]:
    """A pipeline file that holds a part, and no more than it must besides."""
    for name, place in INNER.items():
        if name in part:
            part = {**place(part[name]), **{key: value for key, value in part.items() if key != name}}
    file: dict[str, Any] = {"name": "x", "support": {"classes": [{"name": "x", "examples": []}]}, **part}
    file["input"] = {"uri": "archive", "scale": {"percentiles": [2, 98]}, **file.get("input", {})}
    file["output"] = {"directory": "out", **file.get("output", {})}
    return file


SHOWN = [page for page in PAGES if any(True for _ in pipeline_parts(page))]


@pytest.mark.parametrize("page", SHOWN, ids=lambda page: str(page.relative_to(ROOT)))
def test_what_a_page_shows_of_pipeline_files_is_right(page: Path) -> None:
    for part in pipeline_parts(page):
        config = PipelineConfig.model_validate(whole(part))
        options = config.input.reader_options()
        if config.input.reader == "dicom":
            DicomOptions.parse(options)
            Connection.parse(options.get("connection"), "input.options.connection")
        elif config.input.reader == "geotiff":
            GeoTiffOptions.parse(options)
        if config.listen is not None and "dicom" in config.listen.receive:
            ReceiverOptions.parse(config.listen.receive["dicom"])
        for name, given in config.output.product_options().items():
            if name in PRODUCTS and "deidentify" not in given:  # that names a key, which is read
                PRODUCTS[name](given)


def test_python_and_json_on_the_pages_can_be_read() -> None:
    for page in PAGES:
        for block in blocks(page, "python"):
            ast.parse(block, filename=str(page))
        for block in blocks(page, "json"):
            json.loads(block)


PRODUCTS: dict[str, Callable[[Options], Any]] = {
    "segmentation": SegmentationWriter,
    "rtstruct": StructureSetWriter,
    "report": ReportWriter,
    "measurements": MeasurementsWriter,
    "parametric_map": ParametricMapWriter,
    "preview": PreviewWriter,
    "polygons": PolygonOptions.parse,
}


def connection(options: Options) -> Connection:
    return Connection.parse(options, "connection")


LESIONS = {"lesions": True}
"""Without it, options of lesions are refused."""

TABLES: list[tuple[str, str, Callable[[Options], Any], set[str]]] = [
    ("geotiff.md", "## Reader options", GeoTiffOptions.parse, set(GeoTiffOptions.__dataclass_fields__)),
    ("archives.md", "## Unlike resolutions", GeoTiffOptions.parse, {"resolution", "resampling"}),
    ("geotiff.md", "### Polygons", PolygonOptions.parse, set(PolygonOptions.__dataclass_fields__)),
    ("dicom.md", "## Reader options", DicomOptions.parse, set(DicomOptions.__dataclass_fields__) - {"allow_network"}),
    ("pacs.md", "### Options", DicomOptions.parse, {"query", "connection", "retrieve", "move_port", "max_fetch_bytes"}),
    ("pacs.md", "| `connection` |", connection, set(Connection.names())),
    (
        "dicom.md",
        "## The segmentation",
        SegmentationWriter,
        {"type", "segments", "omit_empty_frames", "empty", "dates"},
    ),
    ("dicom.md", "## The structure set", StructureSetWriter, {"segments", "empty"}),
    ("dicom.md", "## Reports", ReportWriter, {"lesions", "min_volume_ml", "max_lesions", "series_number"}),
    ("dicom.md", "## Reports", MeasurementsWriter, {"lesions", "format", "segments"}),
    ("dicom.md", "## Maps", ParametricMapWriter, {"of", "classes", "series_number"}),
    ("dicom.md", "## Preview", PreviewWriter, {"every", "opacity", "legend", "series_number"}),
]
"""Where a table of options and their defaults stands, what takes them, and options that it must name."""

ELSEWHERE = {"aoi", "asked", "values", "select", "connection", "query", "retrieve", "move_port", "max_fetch_bytes"}
"""Fields that are keys of `input`, that the core fills in, or that another table explains."""


def table_after(page: str, place: str) -> list[tuple[list[str], list[str]]]:
    """The first table with defaults after a text: names of options and what their cell of defaults says, by row."""
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    (table, *_) = re.findall(r"^\|[^|\n]*\| default \|.*\n((?:\|.*\n)+)", text[text.index(place) :], flags=re.MULTILINE)
    rows = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in table.splitlines()[1:]]
    return [(re.findall(r"`(\w+)`", names), defaults(cell)) for names, cell, *_ in rows]


def defaults(cell: str) -> list[Any]:
    """The values that a cell of defaults tells; what it says in words is none."""
    if match := re.fullmatch(r"(\d+) (MiB|GiB)", cell):
        return [int(match[1]) << {"MiB": 20, "GiB": 30}[match[2]]]
    if re.fullmatch(r"\de\d+", cell):
        return [int(float(cell))]
    told = re.findall(r"`([^`]+)`|(?:^|, )([\d.]+|HDM [\w ()]+)(?=,|$)", re.sub(r" or `.*", "", cell))
    return [yaml.safe_load(quoted) if quoted else yaml.safe_load(plain) for quoted, plain in told]


def attributes(options: Any) -> Any:
    """What two objects are compared by."""
    return options if is_dataclass(options) else vars(options)


@pytest.mark.parametrize(("page", "place", "make", "must"), TABLES)
def test_a_table_of_options_tells_the_defaults_of_the_code(
    page: str, place: str, make: Callable[[Options], Any], must: set[str]
) -> None:
    known: set[str] = set()
    for names, values in table_after(page, place):
        known.update(names)
        of_one = [name for name in names if name in PRODUCTS]
        if any(PRODUCTS[product] is not make for product in of_one):
            continue  # the table serves two products
        options = [name for name in names if name not in of_one]
        for name, value in zip(options, values, strict=True) if len(values) == len(options) else ():
            beside = LESIONS if name in ("min_volume_ml", "max_lesions") else {}
            told, default = make({**beside, name: value}), make(beside)
            assert attributes(told) == attributes(default), f"{name}: {value!r} is not the default"
    assert known >= must - ELSEWHERE


def test_every_kind_of_warning_is_explained() -> None:
    explained = {word for page in PAGES for word in quoted(page)}
    sources = [path for folder in ("hdm_pipeline", "plugins") for path in (ROOT / folder).rglob("*.py")]
    kinds = {
        call.args[0].value
        for path in sources
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "SceneWarning"
        if call.args and isinstance(call.args[0], ast.Constant)
    }
    assert len(kinds) > 20
    assert kinds - explained == set()
