"""Plug-ins that lie are named."""

import pickle
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hdm_pipeline.contracts import (
    RasterGeometry,
    SceneHeader,
    SceneRef,
    Skipped,
    SupportRequest,
)
from hdm_pipeline.errors import ConfigError, PluginError, ReadError
from hdm_pipeline.plugin.guard import construct
from hdm_pipeline.plugin.guarded_reader import guard_reader
from hdm_pipeline.plugin.guarded_writer import guard_writer
from tests.unit.plugin.honest import HEADER, PRODUCT, REF, WINDOW, Reader, Source, Writer, labeled, reader_with


def test_honest_plugins_pass(tmp_path: Path) -> None:
    reader = guard_reader(Reader(), "honest")
    assert list(reader.discover("/archive")) == [REF, Skipped("/archive", "no scene")]
    assert reader.header(REF) == HEADER
    with reader.open(REF) as source:
        pixels, valid = source.read(WINDOW, [1])
        assert pixels.shape == (1, 8, 6)
        assert valid.all()
        assert source.sample([0, 1], 3).shape == (2, 3)
        assert source.row_areas() is not None
    assert len(reader.read_support(SupportRequest("a", "b"))) == 1
    writer = guard_writer(Writer(), "honest")
    assert writer.check(PRODUCT.classes) == []
    writer.write(PRODUCT, tmp_path / writer.filename(HEADER))
    assert (tmp_path / "mask.bin").stat().st_size == 1200


def found(**changes: Any) -> SceneRef:
    return SceneRef(**{"id": "a", "uri": "/a", "reader": "liar", "identity": "1", **changes})


@pytest.mark.parametrize("scene", ["../up", "a/b", "", ".", "..", "/abs", "a\nb", "x" * 300, "run.json", ".hidden"])
def test_ids_that_are_no_folder_names_are_caught(scene: str) -> None:
    with pytest.raises(PluginError, match="folder name"):
        list(reader_with(discover=lambda uri: iter([found(id=scene)])).discover("/"))


@pytest.mark.parametrize("item", ["a string", None, found(reader="another"), found(identity="")])
def test_wrong_discoveries_are_caught(item: Any) -> None:
    with pytest.raises(PluginError, match="'liar'"):
        list(reader_with(discover=lambda uri: iter([item])).discover("/"))


def header(**changes: Any) -> SceneHeader:
    return SceneHeader(**{**vars(HEADER), **changes})


@pytest.mark.parametrize(
    "result",
    [
        None,
        header(ref=found()),
        header(shape=(2, 40, 30)),
        header(shape=(2, 1, 0, 30)),
        header(shape=(3, 1, 40, 30)),
        header(bands=("VV", "VH")),
        header(geometry=None),
        header(geometry=RasterGeometry((1.0, 2.0))),  # type: ignore[arg-type]
        header(geometry=RasterGeometry((1.0, 0.0, np.nan, 0.0, 1.0, 0.0))),
        header(chunk=(0, 5)),
        header(attributes={"x": object()}),
        header(attributes={"x": float("nan")}),
    ],
)
def test_wrong_headers_are_caught(result: Any) -> None:
    with pytest.raises(PluginError, match="'liar'"):
        reader_with(header=lambda ref: result).header(REF)


@pytest.mark.parametrize(
    "result",
    [
        None,
        [],
        ["chip"],
        [labeled(pixels=np.ones((2, 4, 5), np.float32))],
        [labeled(pixels=np.full((2, 4, 4), np.nan, np.float32))],
        [labeled(valid=np.ones((4, 4), np.uint8))],
        [labeled(valid=np.zeros((4, 4), np.bool_))],
        [labeled(label=np.full((4, 4), 7, np.uint8))],
        [labeled(label=np.ones(16, np.uint8))],
        [labeled(bands=HEADER.bands[:1])],
    ],
)
def test_wrong_supports_are_caught(result: Any) -> None:
    with pytest.raises(PluginError, match="'liar'"):
        reader_with(read_support=lambda request: result).read_support(SupportRequest("a", "b"))


def fail(*_: Any) -> Any:
    raise KeyError("Doe^Jane")


def test_foreign_errors_are_named_and_tell_no_secrets() -> None:
    calls = {
        "discover": lambda: list(reader_with(discover=fail).discover("/")),
        "header": lambda: reader_with(header=fail).header(REF),
        "open": lambda: reader_with(open=fail).open(REF).__enter__(),
        "read_support": lambda: reader_with(read_support=fail).read_support(SupportRequest("a", "b")),
        "constructor": lambda: construct(fail, "liar", {}),
    }
    for method, call in calls.items():
        with pytest.raises(PluginError) as caught:
            call()
        assert method in caught.value.what
        assert "'liar'" in caught.value.what
        assert "KeyError" in caught.value.what
        assert "test_guard.py" in caught.value.what
        assert "Jane" not in str(caught.value)
        assert isinstance(caught.value.__cause__, KeyError)
        assert "KeyError" in str(pickle.loads(pickle.dumps(caught.value)))


def test_of_private_scenes_no_traceback_tells_either() -> None:
    """What a log shows of an error holds the text of what it was raised from; of a patient's scene it must not."""
    header = replace(HEADER, ref=replace(REF, private=True))

    class Failing(Source):
        read = sample = row_areas = fail

    class FailingWriter(Writer):
        filename = write = fail

    @contextmanager
    def opened(ref: SceneRef) -> Iterator[Any]:
        source = Failing()
        source.header = header
        yield source

    reader = reader_with(header=lambda ref: header, open=opened)
    writer = guard_writer(FailingWriter(), "liar")
    calls: list[Callable[[Any], Any]] = [
        lambda scene: scene.read(WINDOW, [0]),
        lambda scene: scene.sample([0], 10),
        lambda scene: scene.row_areas(),
        lambda scene: reader_with(header=fail).header(header.ref),
        lambda scene: reader_with(open=fail).open(header.ref).__enter__(),
        lambda scene: writer.filename(header),
        lambda scene: writer.write(replace(PRODUCT, scene=header), Path("product")),
    ]
    for call in calls:
        with reader.open(header.ref) as scene, pytest.raises(PluginError, match="KeyError at") as caught:
            call(scene)
        assert "Jane" not in "".join(traceback.format_exception(caught.value))


def leave(*_: Any) -> Any:
    raise SystemExit(3)


def test_a_plugin_cannot_end_the_process() -> None:
    with pytest.raises(PluginError, match="SystemExit"):
        reader_with(header=leave).header(REF)


def test_our_own_errors_pass() -> None:
    def broken(ref: SceneRef) -> Any:
        raise ReadError("cut short", where=ref.uri)

    def refused(options: Any) -> Any:
        raise ConfigError("unknown option")

    with pytest.raises(ReadError, match="cut short"):
        reader_with(header=broken).header(REF)
    with pytest.raises(ConfigError):
        construct(refused, "liar", {"x": 1})


def test_errors_of_the_caller_are_not_blamed_on_the_plugin() -> None:
    with pytest.raises(ZeroDivisionError), guard_reader(Reader(), "honest").open(REF):
        _ = 1 / 0


def test_a_scene_is_closed_whatever_happens() -> None:
    closed = []

    class Closing(Reader):
        @contextmanager
        def open(self, ref: SceneRef) -> Iterator[Any]:
            try:
                yield Source()
            finally:
                closed.append(ref.id)

    with pytest.raises(ZeroDivisionError), guard_reader(Closing(), "honest").open(REF):
        _ = 1 / 0
    assert closed == ["scene"]


def test_options_are_the_plugins_own_copy() -> None:
    options = {"a": 1}
    construct(Reader, "honest", options).options["a"] = 2
    assert options == {"a": 1}


def test_what_is_no_plugin_is_refused() -> None:
    with pytest.raises(PluginError, match="Reader"):
        guard_reader(object(), "liar")
    with pytest.raises(PluginError, match="Writer"):
        guard_writer(object(), "liar")
