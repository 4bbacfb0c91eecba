"""Zip and tar archives as people make them: each image within is read, or it is told why not."""

from __future__ import annotations

import gzip
import subprocess
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from hdm_geotiff.files.containers import Container, read_text
from hdm_geotiff.reader import GeoTiffReader
from hdm_pipeline.contracts import SceneRef, Skipped
from hdm_pipeline.errors import ArchiveError, ReadError
from hdm_pipeline.grid import Window
from tests.unit.geotiff.conftest import WriteTif

PIXELS = np.arange(20, dtype=np.uint8).reshape(1, 4, 5)


@pytest.fixture
def image(write_tif: WriteTif) -> Path:
    return write_tif("in/a.tif", PIXELS)


def found_in(archive: Path, **options: object) -> tuple[set[str], dict[str, str]]:
    """Ids of the scenes, each of which holds `PIXELS`; and by name why others are left out."""
    reader, read, left_out = GeoTiffReader(options), set(), {}
    for one in reader.discover(str(archive)):
        if isinstance(one, Skipped):
            left_out[Path(one.uri).name] = one.reason
            continue
        assert isinstance(one, SceneRef)
        with reader.open(one) as source:
            assert np.array_equal(source.read(Window.whole(0, (4, 5)), [0])[0], PIXELS)
        read.add(one.id)
    return read, left_out


def pack_dot(folder: Path, archive: Path) -> None:
    subprocess.run(["tar", "-C", folder, "-cf", archive, "."], check=True)


def pack_dot_compressed(folder: Path, archive: Path) -> None:
    subprocess.run(["tar", "-C", folder, "-czf", archive, "."], check=True)


def zip_dot(folder: Path, archive: Path) -> None:
    with zipfile.ZipFile(archive, "w") as packed:
        for file in folder.iterdir():
            packed.writestr(f"./{file.name}", file.read_bytes())


@pytest.mark.parametrize(("pack", "name"), [(pack_dot, "a.tar"), (pack_dot_compressed, "a.tar.gz"), (zip_dot, "a.zip")])
def test_names_that_begin_with_a_dot_and_a_slash(
    image: Path, tmp_path: Path, pack: Callable[[Path, Path], None], name: str
) -> None:
    """Such as `tar -cf a.tar .` writes."""
    image.with_name("note.xml").write_text("said")
    pack(image.parent, tmp_path / name)
    assert found_in(tmp_path / name) == ({"a"}, {})
    assert read_text(f"{Container(str(tmp_path / name)).uri}/note.xml") == "said"


def test_a_text_that_is_not_in_the_archive(image: Path, tmp_path: Path) -> None:
    for pack, name in ((pack_dot, "a.tar"), (zip_dot, "a.zip")):
        pack(image.parent, tmp_path / name)
        with pytest.raises(ReadError, match="metadata cannot be read"):
            read_text(f"{Container(str(tmp_path / name)).uri}/none.xml")


def test_what_gdal_cannot_read_of_a_tar_is_told(image: Path, tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as packed:
        packed.add(image, "a.tif")
        packed.add(image, f"{'p' * 120}.tif")
        for name, kind in (("soft.tif", tarfile.SYMTYPE), ("hard.tif", tarfile.LNKTYPE)):
            link = tarfile.TarInfo(name)
            link.type, link.linkname = kind, "a.tif"
            packed.addfile(link)
    read, left_out = found_in(path)
    assert read == {"a"}
    assert "a link within the archive" in left_out["soft.tif"]
    assert "a link within the archive" in left_out["hard.tif"]
    assert "does not read its name" in left_out[f"{'p' * 120}.tif"]
    assert all("unpack" in reason for reason in left_out.values())


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_what_gdal_cannot_read_of_a_zip_is_told(image: Path, tmp_path: Path, method: int) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.write(image, "a.tif")
        packed.write(image, "other.tif", compress_type=method)
        packed.write(image, "secret.tif")
    data = bytearray(path.read_bytes())
    entry = data.index(b"PK\x01\x02", data.rindex(b"other.tif"))  # the last of the table of contents
    data[entry + 8] |= 1
    path.write_bytes(data)
    read, left_out = found_in(path)
    assert read == {"a"}
    assert "compressed by a method" in left_out["other.tif"]
    assert "encrypted" in left_out["secret.tif"]


def test_archives_of_other_kinds_are_told(image: Path, tmp_path: Path) -> None:
    folder = image.parent
    with zipfile.ZipFile(tmp_path / "inner.zip", "w") as packed:
        packed.write(image, "b.tif")
    with zipfile.ZipFile(folder / "outer.zip", "w") as packed:
        packed.write(tmp_path / "inner.zip", "inner.zip")
    for name in ("a.7z", "a.rar", "a.tar.bz2", "a.tar.xz"):
        (folder / name).write_bytes(b"anything")
    with gzip.open(folder / "b.TIF.gz", "wb") as packed_image:
        packed_image.write(image.read_bytes())
    (folder / "table.csv.gz").write_bytes(b"no image")
    read, left_out = found_in(folder, recursive=True)
    assert read == {"a"}
    assert left_out.keys() == {"inner.zip", "a.7z", "a.rar", "a.tar.bz2", "a.tar.xz", "b.TIF.gz"}
    assert all("unpack" in reason for reason in left_out.values())


@pytest.mark.parametrize(
    ("start", "name"),
    [(b"7z\xbc\xaf\x27\x1c", "7-Zip"), (b"BZh91AY", "bzip2"), (b"\xfd7zXZ\x00", "xz"), (b"Rar!\x1a\x07", "RAR")],
)
def test_an_archive_of_another_kind_is_called_what_it_is(tmp_path: Path, start: bytes, name: str) -> None:
    path = tmp_path / "a.pack"
    path.write_bytes(start + bytes(200))
    reader = GeoTiffReader()
    (ref,) = reader.discover(str(path))
    assert isinstance(ref, SceneRef)
    with pytest.raises(ReadError) as caught:
        reader.header(ref)
    assert name in caught.value.remedy
    assert "unpack it" in caught.value.remedy


def test_an_image_in_an_archive_that_is_damaged(image: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as packed:
        packed.writestr("a.tif", image.read_bytes()[:60])
    with pytest.raises((ReadError, ArchiveError)) as caught:
        found_in(tmp_path / "a.zip")
    assert "unpack the archive" in caught.value.remedy
