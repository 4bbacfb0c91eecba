"""Every error that a user can meet says what to do: the source is walked for calls that leave the remedy out."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted([*(ROOT / "hdm_pipeline").rglob("*.py"), *(ROOT / "plugins").glob("hdm_*/**/*.py")])
TREES = {path: ast.parse(path.read_text(encoding="utf-8")) for path in SOURCES}

FUNCTIONS = {node.name for tree in TREES.values() for node in tree.body if isinstance(node, ast.FunctionDef)}
"""Of modules: those that make errors are looked into themselves."""


def kinds(trees: list[ast.Module]) -> set[str]:
    """Names of the classes below `HdmError` that take its three texts: those with a constructor of their own do not."""
    classes = [node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    found, before = {"HdmError"}, 0
    while len(found) > before:
        before = len(found)
        for one in classes:
            own = any(isinstance(part, ast.FunctionDef) and part.name == "__init__" for part in one.body)
            if not own and any(isinstance(base, ast.Name) and base.id in found for base in one.bases):
                found.add(one.name)
    return found


def without_remedy(tree: ast.Module, names: set[str]) -> Iterator[int]:
    """Lines of the calls that make an error of such a name without a remedy, or raise one whose class is a variable."""
    raised = {id(node.exc) for node in ast.walk(tree) if isinstance(node, ast.Raise)}
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name = getattr(node.func, "id", getattr(node.func, "attr", ""))
        given = {keyword.arg: keyword.value for keyword in node.keywords}
        if name not in names and not (id(node) in raised and "where" in given and name not in FUNCTIONS):
            continue
        remedy = given.get("remedy")
        if None not in given and (remedy is None or (isinstance(remedy, ast.Constant) and not remedy.value)):
            yield node.lineno


@pytest.mark.parametrize(
    ("code", "lines"),
    [
        ("raise ConfigError('no', where='here')", [1]),
        ("raise errors.ConfigError('no', where='here', remedy='')", [1]),
        ("found = Own('no')", [1]),
        ("raise kind('no', where='here')", [1]),
        ("raise ConfigError('no', remedy='do this')\nraise ValueError('no')\nraise Telling('file', [])", []),
    ],
)
def test_what_is_found(code: str, lines: list[int]) -> None:
    classes = "class ConfigError(HdmError): ...\nclass Own(ConfigError): ...\nclass Telling(ConfigError):\n"
    names = kinds([ast.parse(classes + "    def __init__(self, file, problems): ...\nclass Other(ValueError): ...")])
    assert names == {"HdmError", "ConfigError", "Own"}
    assert list(without_remedy(ast.parse(code), names)) == lines


def test_every_error_says_what_to_do() -> None:
    names = kinds(list(TREES.values()))
    assert len(names) > 30
    lacking = [f"{path.relative_to(ROOT)}:{line}" for path in SOURCES for line in without_remedy(TREES[path], names)]
    assert lacking == []
