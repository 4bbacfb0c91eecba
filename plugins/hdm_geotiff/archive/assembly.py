"""From files to scenes: files of one band each become one scene, by the user's patterns or by their names.

With `bands: {B04: "*_B04.tif", B08: "*_B08.tif"}` each file that fits a pattern is a band. A pattern without a slash is
compared with the file's name, one with slashes with the end of its path below the archive. Files are bands of one scene

* that lie in one ``.SAFE`` folder, else
* for which the group of the option `scene`, a regular expression searched in the path, is the same, else
* for which ``{scene}``, written in each pattern, stands for the same, else
* for which the stars of the patterns stand for the same, in one folder (with slashes: below one folder).

Without patterns, files that are called like those of Sentinel-2 and Landsat (`hdm_geotiff.recipes.products_by_name`)
become a scene where there are several of it; every other file is a scene.
"""

from __future__ import annotations

import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import PurePosixPath

from hdm_geotiff.archive.listing import Found
from hdm_geotiff.dates import date_of_name
from hdm_geotiff.options import ReaderOptions
from hdm_geotiff.recipes.layers import Layer, LayeredScene, layered_ref
from hdm_geotiff.recipes.products_by_name import (
    BandFile,
    band_file,
    is_metadata,
    may_be_of_product,
    safe_root,
)
from hdm_geotiff.recipes.scene_ids import scene_id
from hdm_pipeline.contracts import SceneRef, Skipped

_STAR = {"**/": "(?:.*/)?", "**": ".*", "*": "([^/]*)", "?": "[^/]", "{scene}": "(?P<scene>[^/]+?)"}
_TOKEN = re.compile(r"\*\*/|\*\*|\*|\?|\{scene\}|\[!?[^\]/]+\]|.", re.DOTALL)

_NUMBER = re.compile(r"^\s*\d+\s*$|\bb\d+\b")
"""A band by its number: `2`, or `b2` in arithmetic."""


@dataclass
class _Group:
    """Files of one scene.

    Attributes:
        relative: path below the archive that its id is made of.
        uri: what reports call it.
        files: its files by band.
    """

    relative: str
    uri: str
    files: dict[str, list[Found]] = field(default_factory=lambda: defaultdict(list))


def assemble(found: Iterable[Found], options: ReaderOptions, reader: str) -> list[SceneRef | Skipped]:
    """Make scenes of files.

    Args:
        found: files of bands, of whole scenes, and metadata of products.
        options: of the reader.
        reader: name of the plug-in that opens the scenes.
    """
    # In an order of their own: that of a folder differs from disk to disk, and identities and names follow from it.
    files = sorted(_once(found))
    texts = [one for one in files if one.uri[-4:].lower() in (".xml", ".txt")]  # nothing else can be metadata
    described = {one for one in texts if is_metadata(os.path.basename(one.uri))}
    rasters = [one for one in files if one not in described] if described else files
    metadata = _Metadata(sorted(described))
    if options.bands:
        return _by_pattern(rasters, metadata, options, reader)
    return _by_name(rasters, metadata, options, reader)


def _once(found: Iterable[Found]) -> list[Found]:
    """Each file once, which a list may name by several spellings of its path; the first in order counts.

    Sorted, as a listing nearly is, they are compared faster than looked up by name.
    """
    named = sorted((os.path.normpath(one.uri), one) for one in found)
    return [*(one for _, one in named[:1]), *(one for (before, _), (name, one) in pairwise(named) if before != name)]


def unmatched(found: Iterable[Found], options: ReaderOptions) -> list[str]:
    """The bands, with their patterns, that no file at all fits."""
    if not options.bands:
        return []
    paths = [one.relative for one in found]
    fits = {name: _compiled(pattern).fullmatch for name, pattern in options.bands}
    return [f"{name} ({pattern})" for name, pattern in options.bands if not any(map(fits[name], paths))]


def _by_pattern(
    rasters: Sequence[Found], metadata: _Metadata, options: ReaderOptions, reader: str
) -> list[SceneRef | Skipped]:
    patterns = {name: _compiled(pattern) for name, pattern in options.bands}
    groups: dict[str, _Group] = {}
    made: list[SceneRef | Skipped] = []
    for one in rasters:
        fits = [(name, match) for name, pattern in patterns.items() if (match := pattern.fullmatch(one.relative))]
        if not fits:
            listed = ", ".join(pattern for _, pattern in options.bands)
            made.append(Skipped(one.uri, f"fits no pattern of bands ({listed})"))
            continue
        for name, match in fits:
            relative = _scene_of(one, match, options)
            if relative is None:
                made.append(Skipped(one.uri, "the reader option scene does not fit its path"))
                break
            groups.setdefault(relative, _Group(relative, _root_uri(one))).files[name].append(one)
    return [*made, *(_pattern_scene(group, metadata, options, reader) for group in groups.values())]


def _scene_of(one: Found, match: re.Match[str], options: ReaderOptions) -> str | None:
    """What the scene of a band is called, as a path below the archive; None if the option `scene` does not fit."""
    if options.scene is not None:
        told = re.search(options.scene, one.relative)
        if told is None:
            return None
        return "_".join(part for part in told.groups() if part) or told[0]
    above = match["above"] or ""
    if "scene" in match.groupdict():
        return f"{above}{match['scene']}"
    if safe := safe_root(one.uri):
        return _safe_relative(one, safe)
    stars = "_".join(part.strip("_-. ") for part in _stars(match))
    name = stars.strip("_-. ")
    return f"{above}{name}" if name else (above.rstrip("/") or os.path.basename(os.path.dirname(one.uri)))


def _stars(match: re.Match[str]) -> list[str]:
    named = set(match.re.groupindex.values())
    return [part for index, part in enumerate(match.groups(), 1) if index not in named and part]


def _pattern_scene(group: _Group, metadata: _Metadata, options: ReaderOptions, reader: str) -> SceneRef:
    layers: list[Layer] = []
    used: list[Found] = []
    problems: list[str] = []
    for name, pattern in options.bands:
        files = group.files.get(name, [])
        if not files:
            problems.append(f"band {name} is missing: no file fits {pattern}")
        elif len(files) > 1:
            listed = ", ".join(os.path.basename(one.uri) for one in files[:4])
            problems.append(f"band {name} is in {len(files)} files: {listed}")
        for one in files[:1]:
            known = band_file(os.path.basename(one.uri))
            code, categorical = (known.band, known.categorical) if known else ("", False)
            layers.append(Layer(name, one.uri, code=code, categorical=categorical))
            used.append(one)
    problem, remedy = "", ""
    if problems:
        had = ", ".join(f"{layer.name} in {os.path.basename(layer.uri)}" for layer in layers)
        problem = f"{'; '.join(problems)} (it has {had})"
        remedy = (
            "add the file, or leave the scene out; what stars stand for must be the same in all files of a scene: "
            "where it is not, write {scene} for the part that is, or set the reader option scene"
        )
    return _ref(group, layers, used, metadata, options, reader, problem=problem, remedy=remedy)


def _by_name(
    rasters: Sequence[Found], metadata: _Metadata, options: ReaderOptions, reader: str
) -> list[SceneRef | Skipped]:
    groups: dict[tuple[str, str], _Group] = {}
    made: list[SceneRef | Skipped] = []
    single: list[Found] = []
    of_products: list[Found] = []
    for one in rasters:  # of a million there may be none of a product: one look has to do
        (of_products if may_be_of_product(one.uri) else single).append(one)
    unused: dict[str, bool] = {}
    for one in of_products:
        known = band_file(os.path.basename(one.uri))
        safe = safe_root(one.uri)
        if safe is not None:
            unused.setdefault(safe, True)
        if known is None:
            if safe is None:
                single.append(one)
            continue  # a preview or a mask of quality of a product
        if safe is not None:
            unused[safe] = False
            key, relative = (safe, known.scene), _safe_relative(one, safe)
        else:
            folder = _without_resolution(os.path.dirname(one.relative))
            key, relative = (folder, known.scene), "/".join(part for part in (folder, known.scene) if part)
        groups.setdefault(key, _Group(relative, safe or one.uri)).files[known.band].append(one)
    for safe, empty in unused.items():
        if empty:
            what = "no band of a Sentinel-2 product is in it; name the files of its bands by the reader option bands"
            made.append(Skipped(safe, what))
    granules = Counter(place for place, _ in groups)
    several = any(len(group.files) > 1 for group in groups.values())
    numbered = _numbered(groups.values()) if any(_NUMBER.search(entry) for entry in options.asked) else {}
    for (place, scene), group in groups.items():
        files = [one for of_band in group.files.values() for one in of_band]
        named = any(band.casefold() in entry.casefold() for band in group.files for entry in options.asked)
        if len(files) == 1 and safe_root(files[0].uri) is None and not several and not named:
            single += files  # an archive of one band, each file a scene
            continue
        if safe_root(files[0].uri) and granules[place] > 1:
            group.relative = f"{group.relative}__{scene}"
        made.append(_named_scene(group, numbered, metadata, options, reader))
    made += [SceneRef(scene_id(one.relative, options.ids), one.uri, reader, one.identity) for one in single]
    return made


def _numbered(groups: Iterable[_Group]) -> dict[str, list[BandFile]]:
    """The bands of an archive's products that have numbers, by kind of product, in their order.

    Numbers count among these in every scene: were they to count in each scene by itself, they would mean other bands in
    a scene that lacks one.
    """
    found: dict[str, dict[str, BandFile]] = {}
    for group in groups:
        for files in group.files.values():
            known = band_file(os.path.basename(files[0].uri))
            if known is not None and not known.extra:
                found.setdefault(known.product, {})[known.band] = known
    return {product: sorted(bands.values(), key=lambda band: band.order) for product, bands in found.items()}


def _named_scene(
    group: _Group,
    numbered: Mapping[str, Sequence[BandFile]],
    metadata: _Metadata,
    options: ReaderOptions,
    reader: str,
) -> SceneRef:
    chosen: list[tuple[BandFile, Found]] = []
    for files in group.files.values():
        known = [(band, one) for one in files if (band := band_file(os.path.basename(one.uri)))]
        chosen.append(min(known, key=lambda pair: (pair[0].resolution or 1, pair[1].relative)))
    layers = {
        band.band: Layer(band.band, one.uri, code=band.band, extra=band.extra, categorical=band.categorical)
        for band, one in sorted(chosen, key=lambda pair: pair[0].order)
    }
    if numbered:
        plain = [layers.pop(band.band, Layer(band.band, "")) for band in numbered.get(chosen[0][0].product, ())]
        layers = {layer.name: layer for layer in (*plain, *layers.values())}
    return _ref(group, list(layers.values()), [one for _, one in chosen], metadata, options, reader)


def _ref(
    group: _Group,
    layers: Sequence[Layer],
    used: Sequence[Found],
    metadata: _Metadata,
    options: ReaderOptions,
    reader: str,
    *,
    problem: str = "",
    remedy: str = "",
) -> SceneRef:
    known = next((band for one in used if (band := band_file(os.path.basename(one.uri)))), None)
    said = metadata.of(used[0], known) if known else None
    scene = LayeredScene(
        tuple(layers),
        product=known.product if known else "",
        metadata=said.uri if said else "",
        datetime=date_of_name(known.scene if known else PurePosixPath(group.relative).name),
        problem=problem,
        remedy=remedy,
    )
    parts = [(one.relative, one.identity) for one in (*used, *([said] if said else []))]
    relative = re.sub(r"\.SAFE(?=__|$)", "", group.relative, flags=re.IGNORECASE)
    return layered_ref(scene, scene_id(relative, options.ids), group.uri, parts, reader)


class _Metadata:
    """Metadata of products, by where they lie: Sentinel-2's by folder, Landsat's by folder and scene."""

    def __init__(self, files: Iterable[Found]) -> None:
        self._found: dict[tuple[str, str], Found] = {}
        for file in files:
            folder, name = os.path.split(file.uri)
            scene, landsat, _ = name.upper().partition("_MTL")
            self._found.setdefault((folder, scene if landsat else ""), file)

    def of(self, one: Found, known: BandFile) -> Found | None:
        """Those of a band: in its folder, or the nearest above it."""
        scene = known.scene.upper() if known.product == "landsat" else ""
        folder = os.path.dirname(one.uri)
        while (folder, scene) not in self._found:
            above = os.path.dirname(folder)
            if above == folder:
                return None
            folder = above
        return self._found[folder, scene]


def _safe_relative(one: Found, safe: str) -> str:
    """The path of a product's folder below the archive; its name where the archive is the folder."""
    return safe_root(one.relative) or os.path.basename(safe)


def _root_uri(one: Found) -> str:
    return safe_root(one.uri) or one.uri


def _without_resolution(folder: str) -> str:
    """A folder without the last parts that tell bands, not scenes, apart: ``IMG_DATA/R10m``."""
    return re.sub(r"(?:^|/)(?:IMG_DATA/?)?(?:R\d\dm)?$", "", folder, flags=re.IGNORECASE)


def _compiled(pattern: str) -> re.Pattern[str]:
    """A glob as a regular expression over whole paths; what lies above it is the group ``above``."""
    text = "".join(_translated(token) for token in _TOKEN.findall(pattern.strip("/")))
    return re.compile(rf"(?P<above>(?:.*/)?){text}", re.IGNORECASE | re.DOTALL)


def _translated(token: str) -> str:
    if token in _STAR:
        return _STAR[token]
    if token.startswith("[") and token.endswith("]") and len(token) > 2:
        inside = token[1:-1].replace("\\", "\\\\")
        return f"[^{inside[1:]}]" if inside.startswith("!") else f"[{inside}]"
    return re.escape(token)
