"""Reading a pipeline file or a training file: YAML, `${VAR}`, overrides, and every problem at once with its line.

YAML is read within the bounds of `config.bounded`, that of overrides as well.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from pydantic import BaseModel, ValidationError

from hdm_pipeline.arguments import kind_argument, path_argument, texts_argument
from hdm_pipeline.config.bounded import RefusedTextError, load_bounded
from hdm_pipeline.config.listen import Listen
from hdm_pipeline.config.problems import Key, Problem, dotted, from_pydantic, line_of
from hdm_pipeline.config.schema import PipelineConfig
from hdm_pipeline.errors import ConfigError

MAX_BYTES = 1 << 20

_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}")

_Model = TypeVar("_Model", bound=BaseModel)


class FileError(ConfigError):
    """A file with one or more problems, all of them named."""

    kind: ClassVar[str] = "file"
    keys: ClassVar[str] = "the documentation"
    """Where a user can look up the keys."""

    def __init__(self, file: str, problems: Sequence[Problem]) -> None:
        lines = [
            f"{file}{f':{p.line}' if p.line else ''}: {p.key + ': ' if p.key else ''}{p.what}"
            + (f"\n    remedy: {p.remedy}" if p.remedy else "")
            for p in problems
        ]
        count = f"{len(problems)} problem{'s' if len(problems) != 1 else ''} in the {self.kind}"
        super().__init__("\n".join([count, *lines]), where=file, remedy="correct the values named above")
        self.file = file
        self.problems = tuple(problems)

    def __str__(self) -> str:
        return self.what

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.file, self.problems)


class PipelineFileError(FileError):
    """A pipeline file with one or more problems."""

    kind = "pipeline"
    keys = "`python -m hdm_pipeline schema`"


class TrainingFileError(FileError):
    """A training file with one or more problems."""

    kind = "training file"
    keys = "`python -m pydoc hdm_pipeline.training.config`"


@dataclass(frozen=True)
class PipelineFile:
    """A pipeline file that was read: the configuration, and where each value stands.

    Attributes:
        path: the file.
        config: its content, with paths still as written.
        lines: line of each key.
        overrides: what was given in place of values of the file.
    """

    path: Path
    config: PipelineConfig
    lines: Mapping[Key, int]
    overrides: tuple[str, ...] = ()

    def problem(self, key: Key, what: str, remedy: str) -> Problem:
        """A problem at `key`, with its line."""
        return Problem(dotted(key), line_of(self.lines, key), what, remedy)

    def resolve(self, path: str) -> str:
        """`path` made absolute against the folder of the pipeline file; URLs stay as they are."""
        if "://" in path or path.startswith("/vsi"):
            return path
        return os.path.normpath(self.path.parent / Path(path).expanduser())

    def _with_files(self, connection: Mapping[str, Any]) -> dict[str, Any]:
        """Options of a connection, whose files (`ca_file`, ...) lie relative to the pipeline file, too."""
        return {
            key: self.resolve(value) if key.endswith("_file") and isinstance(value, str) and value else value
            for key, value in connection.items()
        }

    def absolute(self) -> PipelineConfig:
        """The configuration with every path made absolute, as workers on other machines need it."""
        c = self.config
        weights = c.model.weights if c.model.weights.startswith("builtin:") else self.resolve(c.model.weights)
        backbone = c.model.backbone
        if backbone is not None:
            backbone = backbone.model_copy(update={"path": self.resolve(backbone.path)})
        classes = [
            k.model_copy(
                update={
                    "examples": [
                        e.model_copy(
                            update={
                                name: self.resolve(path)
                                for name, path in (("image", e.image), ("mask", e.mask), ("labels", e.labels))
                                if path is not None
                            }
                        )
                        for e in k.examples
                    ]
                }
            )
            for k in c.support.classes
        ]
        send = [one.model_copy(update={"options": self._with_files(one.options)}) for one in c.output.send]
        options = dict(c.input.options)
        if isinstance(options.get("connection"), dict):
            options["connection"] = self._with_files(options["connection"])
        aoi = None if c.input.aoi is None else self.resolve(c.input.aoi)
        return c.model_copy(
            update={
                "input": c.input.model_copy(
                    update={"uri": [self.resolve(uri) for uri in c.input.uris], "aoi": aoi, "options": options}
                ),
                "support": c.support.model_copy(update={"classes": classes}),
                "execution": c.execution.model_copy(
                    update={"work": None if c.execution.work is None else self.resolve(c.execution.work)}
                ),
                "model": c.model.model_copy(update={"weights": weights, "backbone": backbone}),
                "output": c.output.model_copy(update={"directory": self.resolve(c.output.directory), "send": send}),
                "listen": None if c.listen is None else self._listen(c.listen),
            }
        )

    def _listen(self, listen: Listen) -> Listen:
        """Its paths made absolute: folders, and options of receivers that are called `..._file`."""
        return listen.model_copy(
            update={
                "folder": None if listen.folder is None else self.resolve(listen.folder),
                "inbox": None if listen.inbox is None else self.resolve(listen.inbox),
                "receive": {name: self._with_files(options) for name, options in listen.receive.items()},
            }
        )


def read_pipeline_file(
    path: str | os.PathLike[str], overrides: Sequence[str] = (), environment: Mapping[str, str] | None = None
) -> PipelineFile:
    """Read a pipeline file.

    Args:
        path: the YAML file.
        overrides: ``key.path=value`` items that replace values of the file; the value is read as YAML.
        environment: variables for ``${VAR}`` and ``${VAR:-default}``; the process's own by default.

    Raises:
        PipelineFileError: with every problem found.
        ConfigError: an argument is of another kind.
    """
    path = path_argument(path, "the pipeline file", "pipeline file")
    overrides = texts_argument(overrides, "overrides", "pipeline file")
    if environment is not None:
        kind_argument(environment, Mapping, "the environment", "pipeline file", "give a mapping of names to texts")
        texts_argument(environment.values(), "values of the environment", "pipeline file")
    raw = _bytes(path, PipelineFileError)
    config, lines = _read(path, raw, PipelineConfig, PipelineFileError, overrides, environment)
    return PipelineFile(path.absolute(), config, lines, tuple(overrides))


def parse_pipeline_file(raw: bytes, path: Path) -> PipelineFile:
    """What `read_pipeline_file` would give if these bytes were the file.

    Raises:
        PipelineFileError: with every problem found.
    """
    return PipelineFile(path.absolute(), *_read(path, raw, PipelineConfig, PipelineFileError, (), None))


def read_training_file(path: Path, model: type[_Model], overrides: Sequence[str] = ()) -> _Model:
    """Read a training file; `overrides` as in `read_pipeline_file`.

    Args:
        path: the YAML file.
        model: what it must hold (`hdm_pipeline.training.config.TrainConfig`, which this room does not know).
        overrides: ``key.path=value`` items that replace values of the file.

    Raises:
        TrainingFileError: with every problem found.
    """
    return _read(path, _bytes(path, TrainingFileError), model, TrainingFileError, overrides, None)[0]


def _bytes(path: Path, kind: type[FileError]) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(MAX_BYTES + 1)  # a user may name a raster by mistake
    except OSError as error:
        what, remedy = f"cannot be read: {error.strerror}", f"check the path of the {kind.kind}"
        raise kind(str(path), [Problem("", None, what, remedy)]) from error


def _read(
    path: Path,
    raw: bytes,
    model: type[_Model],
    kind: type[FileError],
    overrides: Sequence[str],
    environment: Mapping[str, str] | None,
) -> tuple[_Model, dict[Key, int]]:
    data, lines = load_yaml(path, raw, kind)
    problems = [*_apply_overrides(data, overrides, lines)]
    data = _substitute(data, (), os.environ if environment is None else environment, lines, problems)
    try:
        config = model.model_validate(data)
    except ValidationError as error:
        problems.extend(from_pydantic(error, data, lines, kind.keys, model))
    if problems:
        raise kind(str(path), problems)
    return config, lines


def load_yaml(path: Path, raw: bytes, kind: type[FileError]) -> tuple[dict[str, Any], dict[Key, int]]:
    """The values of a file, with `${VAR}` as written, and the line of each key.

    Args:
        path: for messages.
        raw: content of the file.
        kind: of the errors.

    Raises:
        FileError: too large, too deep, no YAML, no mapping, or a key stands twice.
    """

    def refuse(what: str, remedy: str, line: int | None = None) -> FileError:
        return kind(str(path), [Problem("", line, what, remedy)])

    if len(raw) > MAX_BYTES:
        raise refuse(f"larger than {MAX_BYTES} bytes", "it should be a page of YAML; pass data by path")
    try:
        data, lines = load_bounded(raw.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise refuse(f"not a YAML text: {error}", "save the file as UTF-8 YAML") from error
    except RefusedTextError as error:
        raise refuse(error.what, error.remedy, error.line) from error
    if not isinstance(data, dict):
        raise refuse("the file is not a mapping of keys to values", "start from one of the files in pipelines/")
    return data, lines


def _apply_overrides(data: dict[str, Any], overrides: Sequence[str], lines: dict[Key, int]) -> Iterator[Problem]:
    for item in overrides:
        name, separator, text = item.partition("=")
        if not separator or not name:
            yield Problem(item, None, "not of the form key.path=value", "write --set tiling.size=512, for example")
            continue
        key: Key = tuple(int(part) if part.isdigit() else part for part in name.split("."))
        try:
            _assign(data, key, load_bounded(text)[0])
        except (KeyError, IndexError, TypeError):
            yield Problem(name, None, "no such place in the file", "name a section, or an item of a list by number")
        except RefusedTextError as error:
            yield Problem(name, None, f"the value: {error.what}", "quote the value, if it is a text")
        for known in [k for k in lines if k[: len(key)] == key]:
            del lines[known]


def _assign(data: Any, key: Key, value: Any) -> None:
    """Set the value at `key`; missing sections are made, list items must exist."""
    for part in key[:-1]:
        _require_fit(data, part)
        data = data.setdefault(part, {}) if isinstance(data, dict) else data[part]
    _require_fit(data, key[-1])
    data[key[-1]] = value


def _require_fit(data: Any, part: str | int) -> None:
    """A section has no item of a number, unless the file has such a key."""
    if isinstance(data, dict) and isinstance(part, int) and part not in data:
        raise KeyError(part)


def _substitute(
    value: Any, key: Key, environment: Mapping[str, str], lines: Mapping[Key, int], problems: list[Problem]
) -> Any:
    """Replace `${VAR}` and `${VAR:-default}` in every string below `value`."""
    if isinstance(value, dict):
        return {k: _substitute(v, (*key, str(k)), environment, lines, problems) for k, v in value.items()}
    if isinstance(value, list):
        return [_substitute(v, (*key, i), environment, lines, problems) for i, v in enumerate(value)]
    if not isinstance(value, str):
        return value

    def replace(match: re.Match[str]) -> str:
        name, default = match.group(1), match.group(2)
        found = environment.get(name) or default
        if found is None:
            what, remedy = f"environment variable {name} is not set", f"set {name}, or write ${{{name}:-default}}"
            problems.append(Problem(dotted(key), line_of(lines, key), what, remedy))
            return ""
        if match.start() == 0 and name in environment and os.path.exists(found):
            # What a user types on the command line is relative to where she stands, not to the pipeline file.
            return os.path.abspath(found)
        return found

    if "${" in _VARIABLE.sub(lambda match: match.group(2) or "", value):
        what = f"`${{` in {value!r} begins no variable that can be read"
        problems.append(Problem(dotted(key), line_of(lines, key), what, "write ${NAME} or ${NAME:-default}"))
    return _VARIABLE.sub(replace, value)
