"""Files of Sentinel-2 and Landsat products, known by their names.

Sentinel-2, Level-1C and Level-2A, in a ``.SAFE`` folder or taken out of it: ``T33UUP_20220126T100321_B04_10m.jp2``.
Of a band that comes at several resolutions the finest is meant. Landsat, Collection 1 and 2:
``LC08_L2SP_193027_20220126_20220201_02_T1_SR_B4.TIF``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_SENTINEL2 = re.compile(
    r"(?P<scene>(?:.*_)?T\d\d[A-Z]{0,3}_\d{8}(?:T\d{6})?|S2[A-D]_.+?)"
    r"_(?P<band>B(?:0[1-9]|1[0-2]|8A)|SCL|AOT|WVP)(?:_(?P<resolution>\d\d)m)?\.(?:jp2|j2k|tiff?)",
    re.IGNORECASE,
)
_LANDSAT = re.compile(
    r"(?P<scene>L[COTEM]\d\d_.+?|L[COTEM]\d{14}[A-Z]{3}\d\d)"
    r"_(?P<band>S[RT]_B\d{1,2}|B\d{1,2}(?:_VCID_\d)?|QA_[A-Z]+|BQA|S[RT]_[A-Z_]+|SAA|SZA|VAA|VZA)\.tiff?",
    re.IGNORECASE,
)
_PRODUCT = re.compile(
    r"S2[A-D]_\w+\.SAFE|S2[A-D]_MSIL\w+|L[COTEM]\d\d_[A-Z0-9]{4}_\d{6}_\d{8}_\d{8}_\d\d_\w\w"
    r"|L[COTEM]\d{14}[A-Z]{3}\d\d",
    re.IGNORECASE,
)
_METADATA = re.compile(
    r"MTD_MSIL\w+\.xml|S2[A-D]_\w+_MTD_SAFL\w+\.xml|L[COTEM]\d\d_\w+_MTL\.(?:txt|xml)", re.IGNORECASE
)
_SAFE = re.compile(r".*?[^/]*\.SAFE(?=/|$)", re.IGNORECASE)
_BEGIN = re.compile(r"S2[A-D]_|L[COTEM]\d\d|(?:.*_)?T\d\d", re.IGNORECASE)
"""How names of bands begin, as `_SENTINEL2` and `_LANDSAT` have it."""

_CLASSES = re.compile(r"SCL|.*QA.*", re.IGNORECASE)
SENTINEL2_BANDS = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B10", "B11", "B12")
"""In the order in which the metadata number them, from 0."""


@dataclass(frozen=True)
class BandFile:
    """What the name of a band's file says.

    Attributes:
        product: ``sentinel2`` or ``landsat``.
        scene: what all bands of the scene begin with.
        band: name of the band, in capitals.
        resolution: metres a pixel, where the name says so; else 0.
    """

    product: str
    scene: str
    band: str
    resolution: int = 0

    @property
    def extra(self) -> bool:
        """Whether it holds something else than measurements of the ground."""
        return self.band not in SENTINEL2_BANDS and not re.fullmatch(r"(?:S[RT]_)?B\d+(?:_VCID_\d)?", self.band)

    @property
    def categorical(self) -> bool:
        """Whether it holds classes or flags."""
        return bool(_CLASSES.fullmatch(self.band))

    @property
    def order(self) -> tuple[object, ...]:
        """By which the bands of a scene are sorted: reflectance, temperature, and then everything else."""
        if self.product == "sentinel2":
            return (self.extra, SENTINEL2_BANDS.index(self.band) if self.band in SENTINEL2_BANDS else 0, self.band)
        number = re.search(r"\d+", self.band)
        return (self.extra, self.band.startswith("ST_"), int(number[0]) if number else 0, self.band)


def band_file(name: str) -> BandFile | None:
    """What the name of a file, without its folder, says of a band; None if it is no band of these products."""
    if found := _SENTINEL2.fullmatch(name):
        return BandFile("sentinel2", found["scene"], found["band"].upper(), int(found["resolution"] or 0))
    if found := _LANDSAT.fullmatch(name):
        return BandFile("landsat", found["scene"], found["band"].upper())
    return None


def may_be_of_product(path: str) -> bool:
    """Whether `band_file` of the file's name or `safe_root` of its path, with forward slashes, may find something.

    It takes a quarter of their time, and says no of nearly every file that they find nothing in.
    """
    return ".safe" in path.lower() or _BEGIN.match(path.rpartition("/")[2]) is not None


def is_product(name: str) -> bool:
    """Whether a folder, or an archive without its suffix, is called like a product."""
    return bool(_PRODUCT.fullmatch(name)) or name.lower().endswith(".safe")


def is_metadata(name: str) -> bool:
    """Whether a file, by its name without folder, holds a product's metadata."""
    return bool(_METADATA.fullmatch(name))


def safe_root(path: str) -> str | None:
    """The part of a path, with forward slashes, up to its ``.SAFE`` folder; None without one."""
    found = _SAFE.match(path) if ".safe" in path.lower() else None
    return found[0] if found else None
