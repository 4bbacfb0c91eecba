"""Examples entered into a pipeline file in place: comments, order, quotes and indentation stay as they are.

What is entered by a program is told from what the user wrote by its labels: they lie in a folder of the program's.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml

from hdm_pipeline.config.file import PipelineFileError, load_yaml, parse_pipeline_file
from hdm_pipeline.config.yaml_text import UnusualYamlError, YamlText, child
from hdm_pipeline.errors import ConfigError, OutputError

_BOM = "\ufeff"
_PATHS = ("image", "mask", "labels")
_BY_HAND = "enter the examples by hand"

Entries = Mapping[str, Mapping[str, Any]]
"""By class name: ``examples``, a list of mappings as in a pipeline file, with absolute paths; and for a class that the
file lacks, what else stands there: ``color``, ``codes``."""


def edited_text(path: Path, classes: Entries, labels: Path) -> str:
    """The text of a pipeline file as `enter_examples` would write it."""
    return _edited(path, _read(path), classes, labels)


def enter_examples(path: Path, classes: Entries, labels: Path, *, since: str | None = None) -> bool:
    """Enter examples into a pipeline file, in place of those that were entered earlier.

    Of each class, examples whose labels lie in the folder `labels` become those given, or go; other examples, classes
    and keys are not touched. A class that the file lacks is added, if it has examples. Paths are written relative to
    the folder of the file.

    Args:
        path: of the pipeline file.
        classes: what is entered.
        labels: folder of the caller's labels, which no example of the user's lies in.
        since: hash of the file (`hdm_pipeline.hashing.file_hash`) as the caller knows it: another one is refused.

    Returns:
        Whether the file was changed.

    Raises:
        ConfigError: it would not be accepted by `read_pipeline_file` afterwards, or cannot be changed in place. Nothing
            is written then; nor where an `OutputError` is raised.
        OutputError: the file changed since it was read, is read-only, or cannot be written.
    """
    raw = _read(path)
    if since is not None and since != hashlib.sha256(raw).hexdigest():
        raise _changed(path)
    text = _edited(path, raw, classes, labels).encode()
    if text == raw:
        return False
    _write(path, raw, text)
    return True


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        what, remedy = f"the pipeline file cannot be read: {error.strerror}", "look whether it was moved or renamed"
        raise ConfigError(what, where=str(path), remedy=remedy) from error


def _changed(path: Path) -> OutputError:
    return OutputError(
        "the pipeline file was changed by another program since it was read: nothing is written over that",
        where=str(path),
        remedy="open the pipeline again; what was drawn is kept in its own files",
    )


def _edited(path: Path, raw: bytes, classes: Entries, labels: Path) -> str:
    """The new text; the same where there is nothing to change."""
    data, _ = load_yaml(path, raw, PipelineFileError)
    text = raw.decode()
    mark, text = (_BOM, text[1:]) if text.startswith(_BOM) else ("", text)
    try:
        edit = _Edit(path, text, data, labels)
        edit.enter(_names(path, raw, data), classes)
        edited = edit.document.result() if edit.wanted != data else text
        if _loaded(edited) != edit.wanted:
            raise UnusualYamlError("values are shared by anchors, or written in an unusual way", remedy=_BY_HAND)
    except UnusualYamlError as error:
        what = f"the pipeline file cannot be changed in place: {error.what}"
        raise ConfigError(what, where=str(path), remedy=error.remedy or _BY_HAND) from error
    parse_pipeline_file((mark + edited).encode(), path)
    return mark + edited


def _loaded(text: str) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        return None


def _names(path: Path, raw: bytes, data: Mapping[str, Any]) -> list[str]:
    """Names of the classes in the order of the file; `${VAR}` in them replaced, if the file is whole."""
    try:
        return [one.name for one in parse_pipeline_file(raw, path).config.support.classes]
    except PipelineFileError:
        support = data.get("support")
        found = (support.get("classes") if isinstance(support, dict) else None) or []
        return [str(one.get("name")) if isinstance(one, dict) else "" for one in found]


class _Edit:
    """One change of a pipeline file: of its text, and of its data, which must agree in the end.

    Args:
        path: of the file.
        text: its content.
        data: the same, loaded.
        labels: folder of the caller's labels.

    Attributes:
        document: the text.
        wanted: values as they are to be.
    """

    def __init__(self, path: Path, text: str, data: Mapping[str, Any], labels: Path) -> None:
        self.wanted: dict[str, Any] = _plain(data)
        self._file, self._folder, self._labels = path, path.absolute().parent, os.path.realpath(labels)
        self.document = YamlText(text, flow_items=_written_in_lines(text))

    def enter(self, names: Sequence[str], classes: Entries) -> None:
        """Enter the examples of all classes; `names` are those of the classes in the file."""
        entries = {name: [self._written(one) for one in entry["examples"]] for name, entry in classes.items()}
        for index, name in enumerate(names):
            self._enter_class(index, name, entries.get(name, []))
        new: list[dict[str, Any]] = [
            {"name": name, **{k: v for k, v in classes[name].items() if v and k != "examples"}, "examples": examples}
            for name, examples in entries.items()
            if examples and name not in names
        ]
        if new:
            self._add_classes(new)

    def _enter_class(self, index: int, name: str, new: list[dict[str, Any]]) -> None:
        wanted = self.wanted["support"]["classes"][index]
        if not isinstance(wanted, dict):
            return
        examples: list[Any] = wanted.get("examples") or []
        own = [i for i, one in enumerate(examples) if self._is_own(one)]
        kept = [i for i in own if examples[i] in new]
        new = [one for one in new if one not in [examples[i] for i in kept]]
        free = [i for i in own if i not in kept]
        if not free and not new:
            return
        node = self._class_node(index)
        if not examples:
            wanted["examples"] = new
            self.document.put(node, "examples", new)
            return
        sequence = child(node, "examples")
        if not isinstance(sequence, yaml.SequenceNode):
            raise UnusualYamlError(
                f"the examples of class {name!r} stand elsewhere in the file (*alias or <<)",
                remedy=f"write them out under the class; or {_BY_HAND}",
            )
        replaced, gone, added = list(zip(free, new, strict=False)), free[len(new) :], new[len(free) :]
        if len(gone) == len(examples):
            raise ConfigError(
                f"class {name!r} would be left without an example",
                where=f"{self._file}: support.classes.{index}",
                remedy="draw an example of it, or take the class out of the pipeline file",
            )
        for at, one in replaced:
            self.document.replace(sequence, at, one)
            examples[at] = one
        self.document.append(sequence, added)
        self.document.remove(sequence, gone)
        wanted["examples"] = [one for i, one in enumerate(examples) if i not in gone] + added

    def _class_node(self, index: int) -> yaml.MappingNode:
        node = self._classes().value[index]
        if not isinstance(node, yaml.MappingNode):
            raise UnusualYamlError("a class is an alias", remedy=f"write it out; or {_BY_HAND}")
        return node

    def _classes(self) -> yaml.SequenceNode:
        support = child(self.document.root, "support")
        found = child(support, "classes") if isinstance(support, yaml.MappingNode) else None
        if not isinstance(found, yaml.SequenceNode):
            raise UnusualYamlError("support.classes stand elsewhere in the file (*alias or <<)", remedy=_BY_HAND)
        return found

    def _add_classes(self, new: list[dict[str, Any]]) -> None:
        support = child(self.document.root, "support")
        if not self.wanted.get("support"):
            self.wanted["support"] = {"classes": new}
            self.document.put(self.document.root, "support", {"classes": new})
        elif not self.wanted["support"].get("classes"):
            if not isinstance(support, yaml.MappingNode):
                raise UnusualYamlError("`support` is an alias, or no mapping", remedy=_BY_HAND)
            self.wanted["support"]["classes"] = new
            self.document.put(support, "classes", new)
        else:
            self.document.append(self._classes(), new)
            self.wanted["support"]["classes"] += new

    def _is_own(self, example: Any) -> bool:
        """Whether the labels of an example are a file in the folder of the caller's labels."""
        found = (example.get("mask") or example.get("labels")) if isinstance(example, dict) else None
        if not isinstance(found, str) or "${" in found or "://" in found:
            return False
        plain = re.sub(r"\[(.)\]", r"\1", found) if "[$]" in found else found
        if "*" in plain or "?" in plain:  # of the user's: this program names its files one by one
            return False
        return os.path.realpath(self._folder / Path(plain).expanduser().parent) == self._labels

    def _written(self, example: Mapping[str, Any]) -> dict[str, Any]:
        """An example as it stands in the file: paths relative to its folder."""
        return {key: self._path(value) if key in _PATHS else _plain(value) for key, value in example.items()}

    def _path(self, path: str) -> str:
        """A path that is read back as what it is: no `~`, no variable, no glob."""
        if "://" in path or path.startswith("/vsi") or not os.path.isabs(path):
            return path
        try:
            path.encode()
        except UnicodeEncodeError:
            remedy = "rename it in letters of UTF-8"
            raise ConfigError(
                "the name of a file cannot be written as text", where=ascii(path), remedy=remedy
            ) from None
        alone = os.path.commonpath([path, self._folder]) == os.sep
        written = path if alone else os.path.relpath(path, self._folder)
        written = path if written.startswith("~") else written
        # Nothing else keeps `${NAME}` from being a variable. A plain path is never taken for a glob, if it exists.
        return re.sub(r"[*?[]|\$(?=\{)", r"[\g<0>]", written) if "${" in written else written


def _written_in_lines(text: str) -> bool:
    """Whether the first example that a file names stands in braces, in one line."""
    return re.search(r"^\s*examples:\s*(#.*)?\n(\s*(#.*)?\n)*\s*-\s*\{", text, re.MULTILINE) is not None


def _plain(value: Any) -> Any:
    """A copy in which nothing is shared: where a change of a value would change another, text and values differ."""
    if isinstance(value, Mapping):
        return {key: _plain(part) for key, part in value.items()}
    return [_plain(part) for part in value] if isinstance(value, list | tuple) else value


def _write(path: Path, before: bytes, after: bytes) -> None:
    """Put the new text in the place of the old one, at once and with the same permissions."""
    file = Path(os.path.realpath(path))  # of a link, what it leads to
    part = ""
    try:
        mode = file.stat().st_mode
        if not mode & 0o222 or not os.access(file, os.W_OK):
            raise PermissionError
        handle, part = tempfile.mkstemp(prefix=f".{file.name}.", suffix=".part", dir=file.parent)
        with os.fdopen(handle, "wb") as out:
            out.write(after)
            os.fchmod(out.fileno(), mode & 0o7777)
            out.flush()
            os.fsync(out.fileno())
        if file.read_bytes() != before:
            raise _changed(path)
        os.replace(part, file)
    except OSError as error:
        read_only = isinstance(error, PermissionError) or error.errno == errno.EROFS
        what = "the pipeline file, or its folder, is read-only" if read_only else "the pipeline file cannot be written"
        remedy = "make it writable, or enter the examples by hand" if read_only else f"free space; or {_BY_HAND}"
        why = f" ({error.strerror})" if error.strerror else ""
        raise OutputError(f"{what}{why}", where=str(path), remedy=remedy) from error
    finally:
        with suppress(OSError):
            if part:
                os.unlink(part)
