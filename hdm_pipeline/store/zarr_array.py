"""Zarr arrays on a shared disk or in an object store: written in whole files, read anywhere. Only here is zarr known.

zarr-python does the work, with the codecs of zarrs (Rust). Work files need four things more than these two give, and
this module adds them (docs/decisions/zarr-python.md):

- A file appears whole or not at all. zarrs writes a file in its place; here it writes into a folder of its own, and
  the finished file is renamed into its place.
- A missing file is an error. To zarr it is a part of the array that holds the fill value.
- A file of nothing but the fill value is stored. zarrs leaves it out.
- Damage is an error. zarrs skips the checksums of the codec "crc32c" when it reads a part of a file, so each chunk is
  a zstd frame with zstd's own checksum: no chunk is decoded without it.

Nothing is flushed to the disk (fsync). A killed process loses nothing; after a power cut files may be missing, cut
short or hollow although the ledger has their receipt. That raises `StoreError`, and the scene's work is redone.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import product
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import zarr
from zarr.codecs import ZstdCodec
from zarr.storage import LocalStore, MemoryStore, StorePath

from hdm_pipeline.errors import StoreError
from hdm_pipeline.objects.folder import ObjectFolder
from hdm_pipeline.output.files import output_errors, remove_tree, write_json
from hdm_pipeline.store.fetched import FETCHED

Selection = tuple[slice, ...]

Place = Path | ObjectFolder
"""Where an array may lie."""

_METADATA = "zarr.json"

_LEVEL = -50
"""Zstd's fast levels are negative. Noisy pixels are then copied, not compressed; smooth scores still shrink."""

_RUST = {
    "codec_pipeline.path": "zarrs.ZarrsCodecPipeline",
    "codec_pipeline.strict": True,  # what zarrs cannot do is an error, not a slower way
    "codec_pipeline.validate_checksums": True,
    "threading.max_workers": 1,  # more threads would take the cores from the model
    "array.write_empty_chunks": False,  # leaves out the chunks of a file that lie outside the array
}
_PYTHON = {
    "codec_pipeline.path": "zarr.core.codec_pipeline.BatchedCodecPipeline",
    "array.write_empty_chunks": True,
}

_configuring = threading.Lock()
"""zarr's settings are the whole process's: one thread changes them at a time, and puts them back at once."""

_OS_ERROR = re.compile(r"\(os error (\d+)\)")
"""How Rust ends the text of an error of the operating system."""


@dataclass(frozen=True)
class ArrayLayout:
    """How an array is cut.

    Attributes:
        shape: of the array.
        dtype: numpy name, of unsigned integers.
        file: shape of what one file holds; a multiple of `chunk`.
        chunk: shape of what is compressed and read at once. A file of several chunks is a shard.
    """

    shape: tuple[int, ...]
    dtype: str
    file: tuple[int, ...]
    chunk: tuple[int, ...]

    def metadata(self, attributes: Mapping[str, Any]) -> dict[str, Any]:
        """The content of ``zarr.json``, with these JSON-able attributes.

        Raises:
            ValueError: not a layout that zarr knows.
        """
        facts: dict[str, Any] = json.loads(_metadata_text(self))
        facts["attributes"] = json.loads(json.dumps(attributes))
        return facts

    @classmethod
    def of(cls, metadata: Mapping[str, Any]) -> ArrayLayout:
        """The layout that a ``zarr.json`` speaks of, if `metadata` made it.

        Raises:
            ValueError, TypeError, LookupError: it did not.
        """
        file = tuple(metadata["chunk_grid"]["configuration"]["chunk_shape"])
        outer = metadata["codecs"][0]
        sharded = outer["name"] == "sharding_indexed"
        chunk = tuple(outer["configuration"]["chunk_shape"]) if sharded else file
        layout = cls(tuple(metadata["shape"]), metadata["data_type"], file, chunk)
        if layout.metadata(metadata["attributes"]) != metadata:
            raise ValueError("metadata that this release did not write")
        return layout


class ZarrArray:
    """An array in a folder. Make one with `create` or `open`. Pickled, it is opened again where it arrives.

    In an object store each file is one object, written and fetched whole. What was written or fetched stays on a disk
    of this node for a while (`store.fetched`), so that a process asks for each object once.
    """

    def __init__(self, path: Place, layout: ArrayLayout, metadata: dict[str, Any]) -> None:
        self.path = path
        self.layout = layout
        self.attributes: dict[str, Any] = metadata["attributes"]
        self._metadata = metadata

    @classmethod
    def create(cls, path: Place, layout: ArrayLayout, attributes: Mapping[str, Any]) -> ZarrArray:
        """Make an array, or open it where it is there already with this layout and these attributes.

        Anything else there is removed.

        Raises:
            OutputError: the folder cannot be written.
        """
        metadata = layout.metadata(attributes)
        if isinstance(path, ObjectFolder):
            _create_object(path, metadata)
            return cls(path, layout, metadata)
        file = path / "zarr.json"
        with output_errors(path):
            if not file.is_file() or _parsed(file) != metadata:
                if path.exists():
                    shutil.rmtree(path)
                path.mkdir(parents=True)
                write_json(file, metadata)
        return cls(path, layout, metadata)

    @classmethod
    def open(cls, path: Place) -> ZarrArray:
        """Open an array.

        Raises:
            StoreError: there is none, or its metadata are damaged or of another kind.
        """
        try:
            metadata = _object_metadata(path) if isinstance(path, ObjectFolder) else _file_metadata(path)
            return cls(path, ArrayLayout.of(metadata), metadata)
        except (OSError, ValueError, TypeError, LookupError, AttributeError) as error:
            raise _damaged("cannot be opened", f"{path}/{_METADATA}") from error

    def __reduce__(self) -> tuple[Any, ...]:
        return ZarrArray.open, (self.path,)

    @cached_property
    def _reader(self) -> zarr.Array[Any]:
        return _open(self._folder, self._metadata, _RUST, read_only=True)

    @cached_property
    def _folder(self) -> Path:
        """Where zarr finds the files: the array's own folder, or one for what is fetched."""
        if isinstance(self.path, Path):
            return self.path
        return FETCHED.folder(str(self.path))

    def write(self, selection: Selection, values: npt.NDArray[Any]) -> None:
        """Write whole files.

        Args:
            selection: a box; along each axis it starts at a file's first element and ends at a file's or the
                array's last one.
            values: of its shape.

        Raises:
            OutputError: disk full or not writable.
        """
        whole = zip(selection, self.layout.file, self.layout.shape, strict=True)
        if not all(s.start % f == 0 and (s.stop % f == 0 or s.stop == n) for s, f, n in whole):
            raise ValueError(f"{selection} does not consist of whole files of {self.path}")
        shape = tuple(s.stop - s.start for s in selection)
        if values.shape != shape:
            raise ValueError(f"{values.shape} values for a selection of shape {shape} of {self.path}")
        names = self._files(selection)
        here = self.path if isinstance(self.path, Path) else self._folder
        with output_errors(here), _folder_aside(here) as aside:
            with _errors_of_rust():
                _open(aside, self._metadata, _RUST).set_basic_selection(selection, values)
                if not all(map(os.path.exists, (aside / name for name in names))):  # it is all fill value
                    _open(aside, self._metadata, _PYTHON).set_basic_selection(selection, values)
            for name in names:
                if isinstance(self.path, ObjectFolder):
                    content = (aside / name).read_bytes()
                    self.path.put(name, content)
                os.replace(aside / name, here / name)
                if isinstance(self.path, ObjectFolder):
                    FETCHED.add(here / name, len(content))

    def read(self, selection: Selection) -> npt.NDArray[Any]:
        """Read any box within the array.

        Raises:
            StoreError: a file it needs was never written, or is damaged.
        """
        files = [self._folder / name for name in self._files(selection)]
        if isinstance(self.path, Path):
            return self._read(selection, files)
        with FETCHED.using(files, self.path.get) as missing:
            if missing:
                raise _damaged("was never written or is gone", self.path.at(missing[0].name))
            try:
                return self._read(selection, files)
            except StoreError:
                FETCHED.forget(files)  # what is written anew is fetched anew
                raise

    def _read(self, selection: Selection, files: Sequence[Path]) -> npt.NDArray[Any]:
        try:
            values = self._reader.get_basic_selection(selection)
        except (OSError, ValueError, RuntimeError, LookupError) as error:  # zarrs has no type of its own
            one = f"{self.path}/{files[0].name}" if len(files) == 1 else str(self.path)
            raise _damaged("is damaged", one) from error
        # Afterwards, so that a file that was removed meanwhile is missed, too.
        for file in files:
            if not os.path.exists(file):
                raise _damaged("was never written or is gone", f"{self.path}/{file.name}")
        return cast("npt.NDArray[Any]", values)

    def _files(self, selection: Selection) -> list[str]:
        """Names of the files that hold a part of a selection."""
        ranges = [range(s.start // f, -(-s.stop // f)) for s, f in zip(selection, self.layout.file, strict=True)]
        return ["c." + ".".join(map(str, index)) for index in product(*ranges)]


@lru_cache(maxsize=64)
def _metadata_text(layout: ArrayLayout) -> str:
    array = zarr.create_array(
        MemoryStore(),
        shape=layout.shape,
        dtype=layout.dtype,
        shards=None if layout.file == layout.chunk else layout.file,
        chunks=layout.chunk,
        compressors=ZstdCodec(level=_LEVEL, checksum=True),
        # Hardly ever what a whole chunk holds, and never what scores and validity do: a chunk that were missing in
        # spite of all would not pass for background.
        fill_value=int(np.iinfo(layout.dtype).max),
        chunk_key_encoding={"name": "default", "separator": "."},
        zarr_format=3,
    )
    return json.dumps(array.metadata.to_dict())


def remove(path: Place) -> None:
    """Remove a folder of work files, with all that lies in it.

    Raises:
        OSError: a folder of a disk cannot be removed.
        ObjectStoreError: the store does not answer, or refuses.
    """
    if isinstance(path, ObjectFolder):
        _remove_objects(path)
    else:
        remove_tree(path)


def _file_metadata(path: Path) -> Any:
    return json.loads((path / _METADATA).read_bytes())


_known: dict[str, Any] = {}
"""Metadata of arrays in an object store by address: each step opens them anew, and they do not change."""

_MOST_KNOWN = 512


def _object_metadata(path: ObjectFolder) -> Any:
    if path.address not in _known:
        content = path.get(_METADATA)
        if content is None:
            raise FileNotFoundError(path.at(_METADATA))
        _remember(path, json.loads(content))
    return _known[path.address]


def _create_object(path: ObjectFolder, metadata: dict[str, Any]) -> None:
    """Write the metadata of an array; where others lie there, its objects go first."""
    found = path.get(_METADATA)
    if found is None or _parse(found) != metadata:
        if found is not None:
            _remove_objects(path)
        path.put(_METADATA, (json.dumps(metadata, indent=1) + "\n").encode())
    _remember(path, metadata)


def _remove_objects(path: ObjectFolder) -> None:
    """Remove all below a folder, and what this process holds of it."""
    for known in [address for address in _known if f"{address}/".startswith(f"{path.address}/")]:
        _known.pop(known, None)
    path.delete_all()
    FETCHED.forget_below(path.address)


def _remember(path: ObjectFolder, metadata: Any) -> None:
    while len(_known) >= _MOST_KNOWN:
        _known.pop(next(iter(_known)))
    _known[path.address] = metadata


def _open(folder: Path, metadata: dict[str, Any], config: dict[str, Any], read_only: bool = False) -> zarr.Array[Any]:
    """The array that `metadata` describes, in a folder that need not hold a ``zarr.json``."""
    with _configuring, zarr.config.set(config):  # an array keeps the settings under which it is opened
        return zarr.Array.from_dict(StorePath(LocalStore(folder, read_only=read_only)), metadata)


def _parsed(file: Path) -> Any:
    """The content of a JSON file, or None if it is not JSON."""
    return _parse(file.read_bytes())


def _parse(content: bytes) -> Any:
    try:
        return json.loads(content)
    except ValueError:
        return None


@contextmanager
def _folder_aside(path: Path) -> Iterator[Path]:
    """A new folder within `path`, which is removed with what is left in it."""
    folder = tempfile.mkdtemp(prefix=".writing-", dir=path)
    try:
        yield Path(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _errors_of_rust() -> Iterator[None]:
    """Raise an error of the operating system as OSError with its number: zarrs gives its text only."""
    try:
        yield
    except RuntimeError as error:
        number = _OS_ERROR.search(str(error))
        if number is None:
            raise
        raise OSError(int(number[1]), os.strerror(int(number[1]))) from error


def _damaged(what: str, where: str) -> StoreError:
    return StoreError(f"a work file {what}", where=where, remedy="run again: what it held is then computed again")
