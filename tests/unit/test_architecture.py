"""The house is built as docs/architecture.md draws it: the table of rooms there is the rule that is checked here."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CORE = ROOT / "hdm_pipeline"
PLUGINS = ROOT / "plugins"
PROMISED = {"contracts", "grid", "errors"}
"""What plug-ins may know of the core."""

CALLERS = {"hdm_studio": PROMISED | {"", "session"}}
"""Programs that call the public API, and what they may know of the core."""

_ROW = re.compile(r"\| (\d+) \| `([a-z_]+)` \| ([^|]+) \|([^|]*)\|")


@dataclass(frozen=True)
class Room:
    """A row of the table."""

    floor: int
    libraries: frozenset[str]


@dataclass(frozen=True)
class Import:
    """One import statement of a file: the module, and the name that is taken from it, if any."""

    line: int
    module: str
    name: str | None


def rooms() -> dict[str, Room]:
    """The table of rooms in docs/architecture.md."""
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    return {
        name: Room(int(floor), frozenset(re.findall(r"`(\w+)`", libraries)))
        for floor, name, _, libraries in _ROW.findall(text)
    }


HEAVY = {"torch", "ray", "zarr", "rasterio", "pydicom", "highdicom", "scipy", "sklearn", "prometheus_client"}
"""What the checks before a run can do without."""

ROOMS = rooms()
GUARDED = frozenset[str]().union(*(room.libraries for room in ROOMS.values()))
"""Libraries that only the rooms which name them may import."""


def imports(file: Path) -> Iterator[Import]:
    """Every import of a file, also those within functions and for type checkers only."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (Import(node.lineno, alias.name, None) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            yield from (Import(node.lineno, module, alias.name) for alias in node.names)


def modules(folder: Path, package: str) -> dict[str, Path]:
    """Files of a package by module name."""
    return {
        ".".join((package, *file.relative_to(folder).with_suffix("").parts)).removesuffix(".__init__"): file
        for file in sorted(folder.rglob("*.py"))
    }


CORE_MODULES = modules(CORE, "hdm_pipeline")
PLUGIN_MODULES = {
    name: file
    for package in sorted(folder.name for folder in PLUGINS.glob("hdm_*"))
    for name, file in modules(PLUGINS / package, package).items()
}


def room_of(module: str) -> str:
    """`hdm_pipeline.model.bank` is in room `model`."""
    return module.split(".")[1] if "." in module else ""


def target(found: Import, known: dict[str, Path]) -> str | None:
    """The module of the house that an import reaches, or None for other libraries."""
    full = f"{found.module}.{found.name}"
    return full if full in known else found.module if found.module in known else None


def test_the_table_and_the_folders_name_the_same_rooms() -> None:
    there = {room_of(name) for name in CORE_MODULES} - {"", "__main__"}
    assert there == set(ROOMS)


def test_imports_go_down() -> None:
    upward = [
        f"{file.relative_to(ROOT)}:{found.line} imports {reached}"
        for name, file in CORE_MODULES.items()
        if (room := room_of(name)) in ROOMS
        for found in imports(file)
        if (reached := target(found, CORE_MODULES)) is not None
        if (other := room_of(reached)) not in ("", room)
        if ROOMS[other].floor >= ROOMS[room].floor
    ]
    assert not upward, "\n".join(upward)


@pytest.mark.parametrize("plugin", ["hdm_geotiff", "hdm_dicom", "hdm_studio"])
def test_imports_of_a_plug_in_go_down(plugin: str) -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    floors = {name: int(floor) for floor, name in re.findall(rf"\| (\d+) \| `{plugin}\.(\w+)` \|", text)}
    own = {name: file for name, file in PLUGIN_MODULES.items() if name.startswith(f"{plugin}.")}
    assert {room_of(name) for name in own} == set(floors)
    upward = [
        f"{file.relative_to(ROOT)}:{found.line} imports {reached}"
        for name, file in own.items()
        for found in imports(file)
        if (reached := target(found, own)) is not None
        if room_of(reached) != room_of(name) and floors[room_of(reached)] >= floors[room_of(name)]
    ]
    assert not upward, "\n".join(upward)


@pytest.mark.parametrize("known", [CORE_MODULES, PLUGIN_MODULES], ids=["core", "plugins"])
def test_no_file_imports_itself_in_a_circle(known: dict[str, Path]) -> None:
    edges = {
        name: {reached for found in imports(file) if (reached := target(found, known)) not in (None, name)}
        for name, file in known.items()
    }
    done: set[str] = set()
    for start in edges:
        trail: list[str] = []
        _walk(start, edges, trail, done)


def _walk(name: str | None, edges: dict[str, set[str | None]], trail: list[str], done: set[str]) -> None:
    if name is None or name in done:
        return
    assert name not in trail, " -> ".join([*trail[trail.index(name) :], name])
    trail.append(name)
    for other in sorted(filter(None, edges[name])):
        # The package's own door names everything lazily; nothing is loaded by it.
        if other != "hdm_pipeline":
            _walk(other, edges, trail, done)
    done.add(trail.pop())


def test_a_library_is_known_to_its_rooms_only() -> None:
    strangers = [
        f"{file.relative_to(ROOT)}:{found.line} imports {library}"
        for name, file in CORE_MODULES.items()
        for found in imports(file)
        if (library := found.module.split(".")[0]) in GUARDED
        if library not in (ROOMS[room_of(name)].libraries if room_of(name) in ROOMS else ())
    ]
    assert not strangers, "\n".join(strangers)


def test_a_room_imports_every_library_that_it_names() -> None:
    used: dict[str, set[str]] = {name: set() for name in ROOMS}
    for module, file in CORE_MODULES.items():
        used.setdefault(room_of(module), set()).update(found.module.split(".")[0] for found in imports(file))
    unused = {name: sorted(room.libraries - used[name]) for name, room in ROOMS.items() if room.libraries - used[name]}
    assert not unused


def test_the_core_knows_no_plug_in_and_plug_ins_know_its_promises_only() -> None:
    packages = {name.split(".")[0] for name in PLUGIN_MODULES}
    wrong = [
        f"{file.relative_to(ROOT)}:{found.line} imports {found.module}"
        for name, file in CORE_MODULES.items()
        for found in imports(file)
        if found.module.split(".")[0] in packages
    ]
    for name, file in PLUGIN_MODULES.items():
        for found in imports(file):
            reached = target(found, CORE_MODULES)
            own = found.module.split(".")[0] in (packages - {name.split(".")[0]})
            promised = CALLERS.get(name.split(".")[0], PROMISED)
            if own or (reached is not None and room_of(reached) not in promised):
                wrong.append(f"{file.relative_to(ROOT)}:{found.line} imports {found.module}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    ("names", "heavy"),
    [
        ("hdm_pipeline", HEAVY | {"numpy", "pydantic"}),
        ("hdm_pipeline.pipeline, hdm_pipeline.cli.main, hdm_pipeline.planning.plan", HEAVY),
    ],
    ids=["package", "validate and plan"],
)
def test_what_reads_no_pixels_loads_nothing_heavy(names: str, heavy: set[str]) -> None:
    script = f"import sys, {names}; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("name", ["Pipeline", "Session", "segment", "FewShotSegmenter", "open_output"])
def test_public_names_come_from_the_package(name: str) -> None:
    package = __import__("hdm_pipeline")
    assert getattr(package, name).__name__ == name
    assert name in dir(package)


def test_a_name_that_is_not_public_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no_such_name"):
        __import__("hdm_pipeline").no_such_name  # noqa: B018
