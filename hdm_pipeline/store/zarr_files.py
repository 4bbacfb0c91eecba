"""Arrays in zarr format 3 on a shared disk, whole files at a time. Nothing else knows zarr's format.

Any zarr library reads these arrays. They are not written by one, as the pipeline needs less and needs it faster: only
whole files are written, each by one worker, so nothing is ever read back and merged, and no event loop stands between
a block and the disk (docs/decisions/zarr-files.md has the figures).

A file is one chunk, or a shard of several (codec "sharding_indexed": the chunks one after the other, then an index of
offset and length of each, then the index's checksum). Every chunk ends with its own checksum (codec "crc32c"). A file
is put in place by rename, so it is whole or not there. All files are stored, those of zeros too: one that is missing
is an error and never reads as zeros.

Nothing is flushed to the disk (fsync). A killed process loses nothing; after a power cut files may be missing, cut
short or hollow although the ledger has their receipt. That raises `StoreError`, and the scene's work is redone.
"""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np
import numpy.typing as npt
from google_crc32c import value as crc32c
from numcodecs import blosc  # type: ignore[import-untyped]

from hdm_pipeline.errors import StoreError
from hdm_pipeline.output.files import output_errors

# Blosc's own threads would take the cores from the model.
blosc.use_threads = False

Codec = Literal["none", "lz4", "lz4-shuffle"]
Selection = tuple[slice, ...]

_ABSENT = 2**64 - 1
"""Offset and length of a chunk that is not stored."""

_CRC_BYTES = 4
_CRC_CODEC: dict[str, Any] = {"name": "crc32c"}


@dataclass(frozen=True)
class ArrayLayout:
    """What an array's ``zarr.json`` says.

    Attributes:
        shape: of the array.
        dtype: numpy name, of integers.
        file: shape of what one file holds; a multiple of `chunk`. Files at the end of an axis are padded with zeros.
        chunk: shape of what is compressed and read at once.
        codec: how chunks are compressed; "lz4-shuffle" for integers of several bytes that are small.
        attributes: JSON-able facts.
    """

    shape: tuple[int, ...]
    dtype: str
    file: tuple[int, ...]
    chunk: tuple[int, ...]
    codec: Codec = "lz4"
    attributes: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> bytes:
        """The content of ``zarr.json`` (zarr core specification 3, "Array metadata")."""
        codecs = self._chunk_codecs()
        if self.file != self.chunk:
            index = [{"name": "bytes", "configuration": {"endian": "little"}}, _CRC_CODEC]
            sharding = {"chunk_shape": self.chunk, "codecs": codecs, "index_codecs": index, "index_location": "end"}
            codecs = [{"name": "sharding_indexed", "configuration": sharding}]
        metadata = {
            "zarr_format": 3,
            "node_type": "array",
            "shape": self.shape,
            "data_type": self.dtype,
            "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": self.file}},
            "chunk_key_encoding": {"name": "default", "configuration": {"separator": "."}},
            "fill_value": 0,
            "codecs": codecs,
            "attributes": {"layout": {"codec": self.codec, "chunk": self.chunk}, **self.attributes},
        }
        return json.dumps(metadata).encode()

    def _chunk_codecs(self) -> list[dict[str, Any]]:
        size = np.dtype(self.dtype).itemsize
        codecs: list[dict[str, Any]] = [{"name": "bytes", "configuration": {"endian": "little"}}]
        if self.codec != "none":
            shuffle = "shuffle" if self.codec == "lz4-shuffle" else "noshuffle"
            facts = {"typesize": size, "cname": "lz4", "clevel": 1, "shuffle": shuffle, "blocksize": 0}
            codecs.append({"name": "blosc", "configuration": facts})
        return [*codecs, _CRC_CODEC]

    @classmethod
    def from_json(cls, text: bytes) -> ArrayLayout:
        """Read ``zarr.json`` as `to_json` writes it.

        Raises:
            ValueError: it says something else, or nothing.
        """
        try:
            facts = json.loads(text)
            attributes = dict(facts["attributes"])
            layout = attributes.pop("layout")
            found = cls(
                shape=tuple(facts["shape"]),
                dtype=facts["data_type"],
                file=tuple(facts["chunk_grid"]["configuration"]["chunk_shape"]),
                chunk=tuple(layout["chunk"]),
                codec=layout["codec"],
                attributes=attributes,
            )
            same = found.to_json() == text
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"unexpected metadata: {type(error).__name__} {error}") from error
        if not same:
            raise ValueError("metadata that this release did not write")
        return found


class ZarrArray:
    """An array in a folder. Make one with `create` or `open`."""

    def __init__(self, path: Path, layout: ArrayLayout) -> None:
        self.path = path
        self.layout = layout
        self._dtype = np.dtype(layout.dtype).newbyteorder("<")
        self._chunks = tuple(f // c for f, c in zip(layout.file, layout.chunk, strict=True))

    @classmethod
    def create(cls, path: Path, layout: ArrayLayout) -> ZarrArray:
        """Make an array, or open it where it is there already with this layout; anything else there is removed.

        Raises:
            OutputError: the folder cannot be written.
        """
        file, text = path / "zarr.json", layout.to_json()
        with output_errors(path):
            if not file.is_file() or file.read_bytes() != text:
                if path.exists():
                    shutil.rmtree(path)
                path.mkdir(parents=True)
                _put(file, [text])
        return cls(path, layout)

    @classmethod
    def open(cls, path: Path) -> ZarrArray:
        """Open an array.

        Raises:
            StoreError: there is none, or its metadata are damaged.
        """
        try:
            return cls(path, ArrayLayout.from_json((path / "zarr.json").read_bytes()))
        except (OSError, ValueError) as error:
            raise _damaged("cannot be opened", path / "zarr.json") from error

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
        with output_errors(self.path):
            for name, origin in self._files(selection):
                inside = tuple(
                    slice(o - s.start, min(o + f, s.stop) - s.start)
                    for o, f, s in zip(origin, self.layout.file, selection, strict=True)
                )
                _put(self.path / name, self._encode_file(values[inside]))

    def read(self, selection: Selection) -> npt.NDArray[Any]:
        """Read any box.

        Raises:
            StoreError: a file it needs was never written, or is damaged.
        """
        values = np.empty(tuple(s.stop - s.start for s in selection), dtype=self._dtype)
        for name, origin in self._files(selection):
            path = self.path / name
            try:
                with open(path, "rb", buffering=0) as file:
                    self._read_file(file, origin, selection, values)
            except FileNotFoundError as error:
                raise _damaged("was never written or is gone", path) from error
            except (OSError, ValueError, RuntimeError) as error:
                raise _damaged("is damaged", path) from error
        return values

    def _files(self, selection: Selection) -> Iterator[tuple[str, tuple[int, ...]]]:
        """(name, first element) of each file that holds a part of a selection."""
        ranges = [range(s.start // f, -(-s.stop // f)) for s, f in zip(selection, self.layout.file, strict=True)]
        for index in product(*ranges):
            origin = tuple(i * f for i, f in zip(index, self.layout.file, strict=True))
            yield "c." + ".".join(map(str, index)), origin

    def _encode_file(self, values: npt.NDArray[Any]) -> list[bytes]:
        if self._chunks == (1,) * len(self._chunks):
            return self._encode_chunk(values)
        parts: list[bytes] = []
        index = np.full((*self._chunks, 2), _ABSENT, dtype="<u8")
        offset = 0
        for place in np.ndindex(self._chunks):
            chunk = values[tuple(slice(i * c, (i + 1) * c) for i, c in zip(place, self.layout.chunk, strict=True))]
            if chunk.size:
                encoded = self._encode_chunk(chunk)
                length = sum(map(len, encoded))
                index[place] = offset, length
                offset += length
                parts += encoded
        table = index.tobytes()
        return [*parts, table, _checksum(table)]

    def _encode_chunk(self, chunk: npt.NDArray[Any]) -> list[bytes]:
        if chunk.shape != self.layout.chunk:
            padded = np.zeros(self.layout.chunk, dtype=self._dtype)
            padded[tuple(map(slice, chunk.shape))] = chunk
            chunk = padded
        if self.layout.codec == "none":
            content = chunk.astype(self._dtype, copy=False).tobytes()
        else:
            plain = np.ascontiguousarray(chunk, dtype=self._dtype)
            shuffle = blosc.SHUFFLE if self.layout.codec == "lz4-shuffle" else blosc.NOSHUFFLE
            content = blosc.compress(plain.reshape(-1), b"lz4", 1, shuffle, 0)
        return [content, _checksum(content)]

    def _read_file(
        self, file: BinaryIO, origin: tuple[int, ...], selection: Selection, values: npt.NDArray[Any]
    ) -> None:
        """Copy what a file holds of a selection into `values`."""
        size = os.fstat(file.fileno()).st_size
        index = self._read_index(file, size)
        ranges = [
            range(max(0, s.start - o) // c, -(-min(f, s.stop - o) // c))
            for o, f, c, s in zip(origin, self.layout.file, self.layout.chunk, selection, strict=True)
        ]
        for place in product(*ranges):
            start = [o + i * c for o, i, c in zip(origin, place, self.layout.chunk, strict=True)]
            cut = [
                (max(a, s.start), min(a + c, s.stop))
                for a, c, s in zip(start, self.layout.chunk, selection, strict=True)
            ]
            inside = tuple(slice(a - b, e - b) for (a, e), b in zip(cut, start, strict=True))
            target = tuple(slice(a - s.start, e - s.start) for (a, e), s in zip(cut, selection, strict=True))
            offset, length = (int(n) for n in index[place])
            values[target] = self._read_chunk(file, offset, length, size)[inside]

    def _read_index(self, file: BinaryIO, size: int) -> npt.NDArray[np.uint64]:
        if self._chunks == (1,) * len(self._chunks):
            return np.array([0, size], dtype="<u8").reshape(*self._chunks, 2)
        length = 16 * math.prod(self._chunks)
        table = _read_checked(file, size - length - _CRC_BYTES, length, size)
        return np.frombuffer(table, dtype="<u8").reshape(*self._chunks, 2)

    def _read_chunk(self, file: BinaryIO, offset: int, length: int, size: int) -> npt.NDArray[Any]:
        content = _read_checked(file, offset, length - _CRC_BYTES, size)
        if self.layout.codec == "none":
            return np.frombuffer(content, dtype=self._dtype).reshape(self.layout.chunk)
        chunk = np.empty(self.layout.chunk, dtype=self._dtype)
        blosc.decompress(content, chunk)
        return chunk


def _read_checked(file: BinaryIO, offset: int, length: int, size: int) -> bytes:
    """`length` bytes at `offset` that a checksum follows."""
    if length < 0 or offset < 0 or offset + length + _CRC_BYTES > size:
        raise ValueError("the file is cut short")
    content = os.pread(file.fileno(), length, offset)
    if os.pread(file.fileno(), _CRC_BYTES, offset + length) != _checksum(content):
        raise ValueError("a checksum does not match")
    return content


def _checksum(content: bytes) -> bytes:
    return int(crc32c(content)).to_bytes(_CRC_BYTES, "little")


def _put(path: Path, parts: list[bytes]) -> None:
    """Write a file beside its place and rename it there."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with open(temporary, "wb", buffering=0) as file:
            for part in parts:
                view = memoryview(part)
                while view:
                    view = view[file.write(view) :]
        os.replace(temporary, path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


def _damaged(what: str, path: Path) -> StoreError:
    return StoreError(f"a work file {what}", where=str(path), remedy="run again: what it held is then computed again")
