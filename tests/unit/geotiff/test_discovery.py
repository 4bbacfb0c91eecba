"""Finding scenes: folders, patterns, lists, names, and what is left out."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hdm_geotiff.files.uris import check_uri
from hdm_geotiff.reader import GeoTiffReader
from hdm_geotiff.recipes.scene_ids import scene_id
from hdm_pipeline.contracts import SceneRef, Skipped
from hdm_pipeline.errors import ArchiveError, ConfigError, EmptyArchiveError, ReadError, UnsupportedSceneError
from hdm_pipeline.output.layout import checked_component
from tests.unit.geotiff.conftest import find


def touch(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"II*\0")


def ids(uri: Path | str, **options: object) -> list[str]:
    return [found.id for found in GeoTiffReader(options).discover(str(uri)) if isinstance(found, SceneRef)]


def left_out(uri: Path | str, **options: object) -> dict[str, str]:
    found = GeoTiffReader(options).discover(str(uri))
    return {os.path.basename(one.uri): one.reason for one in found if isinstance(one, Skipped)}


def test_a_folder_gives_its_tiffs_sorted(tmp_path: Path) -> None:
    touch(
        tmp_path,
        "b.tif",
        "a.TIFF",
        "c.Tif",
        "c.Tif.msk",
        "c.tif.aux.xml",
        "README.md",
        "d.vrt",
        "e.img",
        "f.JP2",
        "._b.tif",
    )
    touch(tmp_path, "sub/g.tif")
    assert ids(tmp_path) == ["a", "b", "c", "f"]
    assert ids(tmp_path, allow_vrt=True) == ["a", "b", "c", "d", "f"]
    assert ids(tmp_path, recursive=True) == ["a", "b", "c", "f", "g"]
    reasons = left_out(tmp_path)
    assert reasons.keys() == {"._b.tif", "d.vrt", "e.img"}
    assert "allow_vrt" in reasons["d.vrt"]


def test_a_pattern_and_a_single_file(tmp_path: Path) -> None:
    touch(tmp_path, "x/a_VV.tif", "x/a_VH.tif", "y/b_VV.tif", "odd[1].tif", "no_suffix")
    assert ids(tmp_path / "*" / "*_VV.tif") == ["a_VV", "b_VV"]
    odd = scene_id("odd[1].tif", "name")
    assert ids(tmp_path / "**" / "*.tif") == ["a_VH", "a_VV", "b_VV", odd]
    assert ids(tmp_path / "odd[1].tif") == [odd]
    assert ids(tmp_path / "no_suffix") == ["no_suffix"]


def test_a_list_is_relative_to_itself_and_keeps_missing_files(tmp_path: Path) -> None:
    touch(tmp_path, "x/a.tif", "b.tif")
    (tmp_path / "list.txt").write_text(f"# comment\n\nx/a.tif\n  {tmp_path / 'b.tif'}  \ngone.tif\n")
    assert ids(tmp_path / "list.txt") == ["a", "b", "gone"]
    reader = GeoTiffReader()
    gone = next(
        ref for ref in reader.discover(str(tmp_path / "list.txt")) if isinstance(ref, SceneRef) and ref.id == "gone"
    )
    with pytest.raises(ReadError, match="No such file") as caught:
        reader.header(gone)
    assert "moved or deleted" in caught.value.remedy


def test_two_scenes_of_one_name_are_an_error_that_names_both(tmp_path: Path) -> None:
    touch(tmp_path, "x/a.tif", "y/a.tif")
    with pytest.raises(ArchiveError) as caught:
        ids(tmp_path, recursive=True)
    assert str(tmp_path / "x" / "a.tif") in caught.value.where
    assert str(tmp_path / "y" / "a.tif") in caught.value.where
    assert ids(tmp_path, recursive=True, ids="path") == ["x__a", "y__a"]
    assert ids(tmp_path / "*" / "a.tif", ids="path") == ["x__a", "y__a"]


def test_names_that_differ_in_case_or_suffix_alone_collide(tmp_path: Path) -> None:
    touch(tmp_path, "a.tif", "A.tiff")
    with pytest.raises(ArchiveError, match="two scenes"):
        ids(tmp_path)


def test_nothing_found_says_so(tmp_path: Path) -> None:
    touch(tmp_path, "a.img")
    with pytest.raises(EmptyArchiveError, match=r"a\.img: neither GeoTIFF nor"):
        ids(tmp_path)
    with pytest.raises(EmptyArchiveError, match="does not exist") as caught:
        ids(tmp_path / "nowhere")
    assert "in a pipeline file" in caught.value.remedy  # `segment` has none
    with pytest.raises(EmptyArchiveError):
        ids(tmp_path / "*.tiff")


def test_identity_changes_with_the_file_and_its_mask(tmp_path: Path) -> None:
    touch(tmp_path, "a.tif")
    first = find(tmp_path)
    assert find(tmp_path) == first
    assert find(tmp_path / "a.tif").identity == first.identity
    touch(tmp_path, "a.tif.msk")
    with_mask = find(tmp_path)
    assert with_mask.identity != first.identity
    assert find(tmp_path / "a.tif").identity == with_mask.identity
    os.utime(tmp_path / "a.tif", ns=(0, time.time_ns() + 10**9))
    assert find(tmp_path).identity != with_mask.identity


@pytest.mark.parametrize("uri", ["s3://bucket/a/", "https://example.org/a.tif"])
def test_the_network_needs_permission(uri: str) -> None:
    with pytest.raises(ArchiveError, match="network"):
        ids(uri)
    with pytest.raises(UnsupportedSceneError, match="network"):
        GeoTiffReader().header(SceneRef("a", uri, "geotiff", ""))


@pytest.mark.parametrize(
    ("uri", "what"),
    [
        ("/vsizip//vsicurl/http://x/x.zip/a.tif", "only archives on disk"),
        ("/vsizip/{/vsis3/bucket/x.zip}/a.tif", "only archives on disk"),
        ("/vsi7z/x.7z/a.tif", "only archives on disk"),
        ("zip+https://x/x.zip!a.tif", "only archives on disk"),
        ("/vsicurl/http://x/a.tif", "virtual paths"),
        ("ftp://x/a.tif", "not a path or a known URI"),
    ],
)
@pytest.mark.parametrize("allow_network", [False, True])
def test_other_addresses_are_called_what_they_are(uri: str, what: str, allow_network: bool, tmp_path: Path) -> None:
    reader = GeoTiffReader({"allow_network": allow_network})
    (tmp_path / "list.txt").write_text(uri)
    for archive in (uri, str(tmp_path / "list.txt")):
        with pytest.raises(ArchiveError, match=what):
            list(reader.discover(archive))
    with pytest.raises(UnsupportedSceneError, match=what):
        reader.header(SceneRef("a", uri, "geotiff", ""))


@given(st.text(min_size=1, max_size=300), st.sampled_from(["name", "path"]))
def test_any_name_becomes_a_safe_folder_name(relative: str, ids: str) -> None:
    name = scene_id(relative.replace("\x00", "") + ".tif", ids)
    assert checked_component(name) == name
    assert name.casefold() not in ("con", "nul")


def test_names_of_plain_characters_are_kept_and_others_stay_apart(tmp_path: Path) -> None:
    plain = ["S2A_20220126.v1", "a b", "x+y=z@1", "_under", "0"]
    assert [scene_id(f"{name}.tif", "name") for name in plain] == plain
    odd = ["lake (1)", "lake [1]", "lake {1}", "\u00fcn\u00efcode", "unicode\u0301", "a,b", "a'b", 'a"b', "a#b", "a&b"]
    odd += [
        "a%b",
        "a;b",
        "-dash",
        ".dot",
        "=eq",
        "con",
        "x" * 300 + "a",
        "x" * 300 + "b",
        "\u6e56",
        "\U0001f30a",
        "a\nb",
    ]
    touch(tmp_path, *[f"{name}.tif" for name in [*plain, *odd] if len(name) < 250])
    found = [ref for ref in GeoTiffReader().discover(str(tmp_path)) if isinstance(ref, SceneRef)]
    assert len({ref.id for ref in found}) == len(plain) + len(odd) - 2
    assert all(checked_component(ref.id) for ref in found)
    assert len({scene_id(f"{name}.tif", "name") for name in odd}) == len(odd)
    assert scene_id("\u00fcn\u00efcode.tif", "name").startswith("unicode-")
    assert scene_id("lake (1).tif", "name").startswith("lake _1_-")


def test_a_name_that_is_no_text_is_found_and_refused(tmp_path: Path) -> None:
    with open(os.fsencode(tmp_path) + b"/caf\xe9.tif", "wb"):
        pass
    ref = find(tmp_path)
    assert checked_component(ref.id)
    with pytest.raises(UnsupportedSceneError, match="not text") as caught:
        GeoTiffReader().header(ref)
    assert str(caught.value).isprintable() or "\n" in str(caught.value)
    str(caught.value).encode()


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-8"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_lists_of_any_editor(tmp_path: Path, encoding: str, newline: str) -> None:
    touch(tmp_path, "a.tif", "b.tif")
    (tmp_path / "list.txt").write_bytes(newline.join(["a.tif", "b.tif", ""]).encode(encoding))
    refs = [ref for ref in GeoTiffReader().discover(str(tmp_path / "list.txt")) if isinstance(ref, SceneRef)]
    assert [ref.id for ref in refs] == ["a", "b"]
    assert all(ref.identity != "missing" for ref in refs)


def test_output_directories_are_passed_over(tmp_path: Path) -> None:
    touch(tmp_path, "a.tif", "sub/b.tif", "sub/masks/a/mask.tif", "sub/masks/b/mask.tif", "old/x/mask.tif")
    for output in ("sub/masks", "old"):
        (tmp_path / output / ".hdm").mkdir()
    assert ids(tmp_path, recursive=True) == ["a", "b"]
    assert ids(tmp_path / "**" / "*.tif") == ["a", "b"]
    reasons = left_out(tmp_path, recursive=True)
    assert reasons.keys() == {"masks", "old"} == left_out(tmp_path / "**" / "*.tif").keys()
    assert "output directory" in reasons["old"]
    assert ids(tmp_path / "old" / "x") == ["mask"]  # asked for by name


def test_a_link_to_a_folder_is_named(tmp_path: Path) -> None:
    touch(tmp_path, "elsewhere/b.tif", "in/a.tif")
    product = "S2A_MSIL2A_20240602T101031_N0510_R022_T32UQD_20240602T162400.SAFE"
    for name in (product, "more"):
        (tmp_path / "in" / name).symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    assert ids(tmp_path / "in") == ids(tmp_path / "in", recursive=True) == ["a"]
    assert left_out(tmp_path / "in").keys() == {product}
    assert left_out(tmp_path / "in", recursive=True).keys() == {product, "more"}
    assert "symbolic link" in left_out(tmp_path / "in")[product]


def test_a_link_that_leads_round_in_a_circle_is_one_scenes_trouble(tmp_path: Path) -> None:
    touch(tmp_path, "a.tif")
    (tmp_path / "loop.tif").symlink_to("loop.tif")
    (tmp_path / "loops").symlink_to("loops")
    assert ids(tmp_path) == ids(tmp_path, recursive=True) == ["a", "loop"]
    with pytest.raises(ReadError) as caught:
        GeoTiffReader().header(find(tmp_path / "loop*.tif"))
    assert "a symbolic link that leads round in a circle" in caught.value.remedy


@pytest.mark.parametrize("name", ["loop.tif", "loop", "loop.zip", "loop/a.tif"])
def test_an_input_that_is_a_link_in_a_circle_is_called_one(tmp_path: Path, name: str) -> None:
    link = tmp_path / name.partition("/")[0]
    link.symlink_to(link.name)
    with pytest.raises(EmptyArchiveError, match="is a symbolic link that leads round in a circle"):
        ids(tmp_path / name)


@pytest.mark.parametrize("name", ['NETCDF:"a.nc":var', "HDF5:a.h5://band", "/data/NETCDF:a.nc:t", "GTIFF_DIR:2:a.tif"])
def test_a_subdataset_of_gdal_is_called_one(name: str) -> None:
    with pytest.raises(EmptyArchiveError, match="a part of a file, as GDAL names it") as caught:
        GeoTiffReader().discover(name).__next__()
    assert "gdal_translate" in caught.value.remedy


def test_a_link_to_what_is_not_there_names_that(tmp_path: Path) -> None:
    (tmp_path / "a.tif").symlink_to("moved/a.tif")
    with pytest.raises(ReadError) as caught:
        GeoTiffReader().header(find(tmp_path / "a*.tif"))
    assert "a symbolic link to what is not there: moved/a.tif" in caught.value.remedy


def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.tif")
    for uri in (tmp_path, tmp_path / "*.tif"):
        with pytest.raises(ReadError, match="pipe"):
            GeoTiffReader().header(find(uri))


def test_a_file_that_a_list_names_twice_is_one_scene(tmp_path: Path) -> None:
    touch(tmp_path, "x/a.tif", "y/a.tif")
    (tmp_path / "list.txt").write_text(f"x/a.tif\n./x/a.tif\ny/../x/a.tif\n{tmp_path / 'x' / 'a.tif'}\n")
    assert ids(tmp_path / "list.txt") == ["a"]
    (tmp_path / "list.txt").write_text("x/a.tif\ny/a.tif\n")
    with pytest.raises(ArchiveError, match="two scenes"):
        ids(tmp_path / "list.txt")


def test_scenes_and_products_in_one_folder_are_refused_where_they_cannot_be_told_apart(tmp_path: Path) -> None:
    touch(tmp_path, "a.tif", "a/mask.tif")
    (tmp_path / ".hdm").mkdir()
    assert ids(tmp_path) == ["a"]
    for uri, options in ((tmp_path, {"recursive": True}), (tmp_path / "**" / "*.tif", {})):
        with pytest.raises(ArchiveError, match="cannot be told apart"):
            ids(uri, **options)


def test_a_folder_is_listed_without_opening(tmp_path: Path) -> None:
    """The files are empty: to open one would fail."""
    for number in range(2_000):
        (tmp_path / f"s{number:04}.tif").touch()
    found = list(GeoTiffReader().discover(str(tmp_path)))
    assert [ref.id for ref in found if isinstance(ref, SceneRef)] == [f"s{number:04}" for number in range(2_000)]


@pytest.mark.parametrize(
    "options",
    [
        {"recusive": True},
        {"recursive": "yes"},
        {"ids": "uuid"},
        {"max_pixels": 0},
        {"max_pixels": True},
        {"max_block_bytes": 1.5},
        {"aoi": 3},
        {"aoi": "/nowhere.geojson"},
    ],
)
def test_wrong_options_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(ConfigError) as caught:
        GeoTiffReader(options)
    assert caught.value.where
    assert caught.value.remedy


def test_a_number_in_quotes_is_called_one() -> None:
    with pytest.raises(ConfigError) as caught:
        GeoTiffReader({"nodata": {"a*": "0"}})
    assert "without quotes: 0" in caught.value.remedy


@pytest.mark.skipif(os.name == "nt", reason="such paths are at home there")
def test_a_path_of_windows_is_called_one(tmp_path: Path) -> None:
    for uri in ("C:\\data\\scenes", "C:/data", f"{tmp_path}/D:\\data\\a.tif"):
        with pytest.raises(EmptyArchiveError, match="path of Windows"):
            ids(Path(uri))
        with pytest.raises(UnsupportedSceneError, match="one of Windows"):
            check_uri(uri, allow_network=False, allow_vrt=False)


def test_two_bands_of_one_pattern_are_named() -> None:
    with pytest.raises(ConfigError, match=r"red and nir have the same pattern, '\*_B4.tif'"):
        GeoTiffReader({"bands": {"red": "*_B4.tif", "nir": "*_B4.tif"}})
