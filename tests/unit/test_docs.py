"""What the documents name is there: links, files, modules, commands, options; and so is what code cites of them."""

from __future__ import annotations

import ast
import importlib
import json
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
import typer
import yaml
from pydantic import BaseModel

from hdm_pipeline.config.schema import PipelineConfig

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
FOLDERS = ("hdm_pipeline", "plugins", "tests", "benchmarks", "pipelines", "docs/example_plugin")
SOURCES = [
    *sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*") if path.suffix in (".py", ".yaml")),
    *(ROOT / name for name in ("Makefile", "pyproject.toml", ".ci/run")),
]
PLACES = (ROOT, ROOT / "hdm_pipeline", ROOT / "plugins", ROOT / "tests")
"""Folders that a path in a document may start from."""

CITED = re.compile(r"(?<![\w/])((?:docs/[\w/-]+|[A-Z]{4,})\.md)(?:, sections? (\d+(?:(?:, | and )\d+)*))?")
"""A document in a source, and the numbers of the sections named with it."""

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def prose(page: Path) -> str:
    """A page without its code blocks, fenced or indented."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    return re.sub(r"(?<=\n\n)(?:    .*\n+)+", "", text)


def quoted(page: Path) -> list[str]:
    """What stands in backticks in a page's prose."""
    return re.findall(r"`([^`\n]+)`", prose(page))


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    found: set[str] = set()
    for heading in re.findall(r"^#+ (.+)$", prose(page), flags=re.MULTILINE):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        anchor = re.sub(r"[^\w\- ]", "", plain.lower()).strip().replace(" ", "-")
        found.add(f"{anchor}-1" if anchor in found else anchor)
    return found


def missing_link(page: Path, target: str) -> str | None:
    """What a relative link names and does not find."""
    name, _, anchor = target.partition("#")
    file = (page.parent / name).resolve() if name else page
    if not file.is_relative_to(ROOT):
        return f"{target} leads out of the repository"
    if not file.exists():
        return target
    return None if not anchor or anchor in anchors(file) else f"{target}: no such heading"


@each_page
def test_every_relative_link_and_anchor_leads_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\(([^)\s]+)\)", prose(page))
    relative = [target for target in targets if not re.match(r"[a-z]+:", target)]
    assert [problem for target in relative if (problem := missing_link(page, target))] == []


@each_page
def test_every_file_named_in_backticks_is_there(page: Path) -> None:
    paths = [
        path
        for text in quoted(page)
        for path in re.findall(
            r"(?<![\w/.{<-])((?:[a-z_][\w.-]*/)*[a-z_][\w-]*\.py"
            r"|(?:docs|pipelines|tests|benchmarks|hdm_pipeline|plugins)/[\w./-]*)(?![\w/*<{])",
            text,
        )
    ]
    # A decision may speak of a file that it did away with; by its name only, not by a path.
    known = {Path(path).name for path in paths} if page.parent.name == "decisions" else {path.name for path in SOURCES}
    absent = [
        path
        for path in paths
        if not any((place / path).exists() for place in PLACES) and not ("/" not in path and path in known)
    ]
    assert absent == []


def modules(text: str) -> list[str]:
    """Dotted names of this project in a text: `hdm_pipeline.grid.Window`, `benchmarks.bench_run`."""
    return re.findall(r"\b((?:hdm_pipeline|hdm_geotiff|hdm_dicom|benchmarks)(?:\.[A-Za-z_]\w*)+)", text)


def names_in(module: Path) -> set[str]:
    """What a module's source binds at its top level, or lists as its public names."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
        match node:
            case ast.FunctionDef() | ast.ClassDef():
                found.add(node.name)
            case ast.Assign(targets=targets):
                found |= {target.id for target in targets if isinstance(target, ast.Name)}
            case ast.AnnAssign(target=ast.Name(id=name)):
                found.add(name)
            case ast.ImportFrom():
                found |= {alias.asname or alias.name for alias in node.names}
            case _:
                pass
    return found


def missing_name(dotted: str) -> bool:
    """Whether a dotted name is neither a module, a package nor a name of a module."""
    parts = dotted.split(".")
    place = ROOT if (ROOT / parts[0]).is_dir() else ROOT / "plugins"
    for index, part in enumerate(parts):
        if (place / part).is_dir():
            place = place / part
        elif (place / f"{part}.py").is_file():
            return index + 1 < len(parts) and parts[index + 1] not in names_in(place / f"{part}.py")
        else:
            return part not in names_in(place / "__init__.py")
    return False


@each_page
def test_every_module_and_name_of_ours_is_there(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    imported = [
        f"{module}.{name.strip()}"
        for module, names in re.findall(r"from (hdm_pipeline[\w.]*) import ([\w, ]+)", text)
        for name in names.split(",")
    ]
    kinds = ("readers", "writers", "senders", "receivers", "models", "commands")
    entry_points = {f"hdm_pipeline.{kind}" for kind in kinds}
    mentioned = [name for name in modules(text) if name not in entry_points and not name.endswith((".py", ".json"))]
    assert [name for name in [*imported, *mentioned] if missing_name(name)] == []


def commands() -> Iterator[tuple[str, set[str]]]:
    """Every command, such as `weights convert`, and its options."""
    from hdm_pipeline.cli.main import app

    waiting = [("", typer.main.get_command(app))]
    while waiting:
        name, command = waiting.pop()
        yield name, {option for parameter in command.params for option in parameter.opts} | {"--help"}
        keys = command.list_commands(typer.Context(command)) if hasattr(command, "list_commands") else []
        waiting += [(f"{name} {key}".strip(), command.get_command(typer.Context(command), key)) for key in keys]


@each_page
def test_every_command_and_option_exists(page: Path) -> None:
    known = dict(commands())
    text = page.read_text(encoding="utf-8").replace("\\\n", " ")
    wrong = []
    for line in re.findall(r"(?:-m hdm_pipeline|hdm-pipeline) ([a-z-][^`\n#]*)", text):
        words = line.split()
        name = max((key for key in known if f"{line} ".startswith(f"{key} ")), key=len, default="")
        options = {word.partition("=")[0] for word in words if re.match(r"--[a-z]", word)}
        if (not name and not words[0].startswith("-")) or not options <= known[name]:
            wrong.append(line)
    assert wrong == []


def keys(model: type[BaseModel]) -> set[str]:
    """Every key of a configuration model and of the models inside it."""
    found, waiting = set[str](), list[Any]([model])
    while waiting:
        kind = waiting.pop()
        waiting += get_args(kind)
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            fields = kind.model_fields
            found |= {field.alias or name for name, field in fields.items()}
            waiting += [field.annotation for field in fields.values()]
    return found


def test_every_key_of_the_pipeline_file_is_explained() -> None:
    page = ROOT / "docs" / "configuration.md"
    headings = re.findall(r"^## (\w+)", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert keys(PipelineConfig) - set(re.findall(r"\w+", " ".join([*quoted(page), *headings]))) == set()


def uncited(source: Path) -> list[str]:
    """The documents, and the numbered sections of them, that a source cites and that are not there."""
    text = re.sub(r"\s+(#:? )?", " ", source.read_text(encoding="utf-8"))
    absent = []
    for path, sections in CITED.findall(text):
        if not (ROOT / path).is_file():
            absent.append(f"{source.relative_to(ROOT)}: {path}")
            continue
        headings = re.findall(r"^#+ (\d+)\. ", (ROOT / path).read_text(encoding="utf-8"), flags=re.MULTILINE)
        numbers = [number for number in re.findall(r"\d+", sections) if number not in headings]
        absent += [f"{source.relative_to(ROOT)}: {path}, section {number}" for number in numbers]
    return absent


def test_every_document_and_section_that_code_cites_is_there() -> None:
    assert [problem for source in SOURCES for problem in uncited(source)] == []


def test_every_page_is_reached_from_the_readme() -> None:
    reached, waiting = set[Path](), [ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        if page in reached or page.suffix not in (".md", ""):
            continue
        reached.add(page)
        if page.is_dir():
            waiting += page.glob("*.md")
            continue
        targets = [target.partition("#")[0] for target in re.findall(r"\]\(([^):\s]+)\)", prose(page))]
        waiting += [(page.parent / target).resolve() for target in targets if target]
    assert [str(page.relative_to(ROOT)) for page in PAGES if page not in reached] == []


def test_the_documents_name_the_python_that_the_package_needs() -> None:
    needs = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"].removeprefix(">=")
    assert f"Python {needs} or newer" in (ROOT / "README.md").read_text()


SITE = ROOT / "docs" / "site"
NOTEBOOKS = sorted((ROOT / "docs" / "notebooks").glob("*.ipynb"))


@pytest.fixture
def site_pages(monkeypatch: pytest.MonkeyPatch) -> Any:
    """What makes the pages of the site, as mkdocs loads it."""
    monkeypatch.syspath_prepend(str(SITE))
    yield importlib.import_module("pages")
    for name in ("pages", "links"):
        sys.modules.pop(name, None)


def test_the_site_shows_every_page(site_pages: Any) -> None:
    nav = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))["nav"]
    shown = re.findall(r"[\w/-]+\.md", json.dumps(nav))
    assert len(shown) == len(set(shown))
    there = {str(page.relative_to(ROOT / "docs")) for page in PAGES if page.parent != ROOT}
    made = {*site_pages.MOVED.values(), "commands.md", "decisions/index.md"}
    made |= {f"api/{name}.md" for name in site_pages.API} | {f"notebooks/{path.stem}.md" for path in NOTEBOOKS}
    assert set(shown) == there | made


def test_the_command_line_reference_has_every_command_and_option(site_pages: Any) -> None:
    parts = re.split(r"^## (.+)$", site_pages.commands_page(), flags=re.MULTILINE)
    shown = dict(zip(parts[1::2], parts[2::2], strict=True))
    known = dict(commands())
    groups = {""} | {name for name in known if any(other.startswith(f"{name} ") for other in known)}
    assert set(shown) == set(known) - groups
    absent = [
        f"{name} {option}"
        for name, text in shown.items()
        for option in known[name] - {"--help"}
        if option.startswith("-")
        if not re.search(rf"`[^`]*(?<![\w-]){re.escape(option)}(?![\w-])", text)
    ]
    assert absent == []


def test_the_api_reference_names_what_is_there(site_pages: Any) -> None:
    text = "\n".join(site_pages.api_page(name) for name in site_pages.API)
    assert [name for name in re.findall(r"^::: (\S+)", text, flags=re.MULTILINE) if missing_name(name)] == []
    package = importlib.import_module("hdm_pipeline")
    assert [name for name in package.__all__ if name != "__version__" and f".{name}\n" not in text] == []


@pytest.mark.parametrize(
    ("source", "link", "becomes"),
    [
        ("index.md", "docs/pacs.md#listening", "pacs.md#listening"),
        ("index.md", "docs/decisions/", "decisions/index.md"),
        ("pacs.md", "../pipelines/pacs_liver.yaml", "files/pipelines/pacs_liver.yaml"),
        ("tutorials/polygons.md", "../../README.md", "../index.md"),
        ("tutorials/polygons.md", "polygons.png", "polygons.png"),
        ("notebooks/flood.md", "../python.md", "../python.md"),
        ("pacs.md", "https://example.org/x.md", "https://example.org/x.md"),
    ],
)
def test_links_lead_where_pages_lie_in_the_site(site_pages: Any, source: str, link: str, becomes: str) -> None:
    links = importlib.import_module("links")
    assert links.relinked(f"[a]({link})\n\n```\n[b]({link})\n```\n", source) == (
        f"[a]({becomes})\n\n```\n[b]({link})\n```\n"
    )


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_hold_no_outputs_and_their_links_lead_somewhere(path: Path) -> None:
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    assert [cell["id"] for cell in cells if cell.get("outputs") or cell.get("execution_count")] == []
    text = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    targets = [target for target in re.findall(r"\]\(([^)\s]+)\)", text) if not re.match(r"[a-z]+:", target)]
    assert targets
    assert [problem for target in targets if (problem := missing_link(path, target))] == []
