"""The extras of the package: what each is for, which libraries it brings, and the error that names a missing one.

`pip install hdm-pipeline` brings the network, Ray and zarr; what opens and writes files of one world is an extra, so
that who works on scanners needs no GDAL, and who works on satellites no DICOM. The same table stands in
`pyproject.toml`; a test compares both.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec

from hdm_pipeline.errors import MissingExtraError

PACKAGE = "hdm-pipeline"


@dataclass(frozen=True)
class Extra:
    """One extra.

    Attributes:
        purpose: what works with it, for people.
        libraries: distribution by module that it brings; where one of these is missing, it is not installed.
    """

    purpose: str
    libraries: Mapping[str, str]


EXTRAS: Mapping[str, Extra] = {
    "geo": Extra(
        "GeoTIFF scenes: reader, masks, polygons, STAC items; the sample archive",
        {
            "rasterio": "rasterio",
            "pyproj": "pyproj",
            "pyogrio": "pyogrio",
            "shapely": "shapely",
            "pystac": "pystac",
        },
    ),
    "dicom": Extra(
        "DICOM series: reader, segmentations, structure sets, reports, NIfTI",
        {
            "pydicom": "pydicom",
            "highdicom": "highdicom",
            "nibabel": "nibabel",
            "pylibjpeg": "pylibjpeg",
            "openjpeg": "pylibjpeg-openjpeg",
            "jpeg_ls": "pyjpegls",
            "gdcm": "python-gdcm",
        },
    ),
    "xarray": Extra(
        "`segment` over DataArrays, `open_output`",
        {"xarray": "xarray", "rioxarray": "rioxarray", "dask": "dask[array]"},
    ),
    "stac": Extra("scenes of a STAC API", {"pystac_client": "pystac-client"}),
    "parquet": Extra("labels and polygons as GeoParquet", {"pyarrow": "pyarrow"}),
    "s3": Extra("scenes of an S3 bucket", {"boto3": "boto3"}),
    "cloud": Extra("output and work in an object store", {"obstore": "obstore"}),
    "cluster": Extra("Ray jobs: the job server and its client", {"aiohttp_cors": "ray[default]"}),
    "pacs": Extra("studies from and to a PACS", {"pynetdicom": "pynetdicom", "dicomweb_client": "dicomweb-client"}),
    "studio": Extra("the local page to label and correct on", {"fastapi": "fastapi", "uvicorn": "uvicorn"}),
    "openvino": Extra("faster inference on CPUs", {"openvino": "openvino"}),
    "foundation": Extra("backbones of other families from a folder", {"transformers": "transformers"}),
    "tensorboard": Extra("training curves", {"tensorboard": "tensorboard"}),
    "distributed": Extra("training by several processes", {"tensorboardX": "ray[train]"}),
}


def lacking(extra: str) -> list[str]:
    """Distributions of an extra that are not installed, in order; nothing is imported."""
    return [name for module, name in EXTRAS[extra].libraries.items() if not _is_there(module)]


def install(extra: str) -> str:
    """The command that installs an extra."""
    return f"pip install '{PACKAGE}[{extra}]'"


def extra_of(module: str | None) -> str | None:
    """The extra that brings a module, such as the name that an ImportError gives; None where none does."""
    root = (module or "").partition(".")[0]
    return next((name for name, extra in EXTRAS.items() if root and root in extra.libraries), None)


def missing_extra(extra: str, doing: str, *, where: str = "", otherwise: str = "") -> MissingExtraError:
    """The error to raise where an extra is needed and not installed.

    Args:
        extra: its name.
        doing: what needs it, the beginning of a sentence: ``"reading GeoTIFF scenes"``.
        where: what asked for it.
        otherwise: what the user can do without it, after "or".
    """
    names = lacking(extra)
    told = " and ".join([", ".join(names[:-1]), names[-1]]) if len(names) > 1 else "".join(names)
    what = f"{doing} needs {told or f'the extra {extra!r}'}, not installed here"
    return MissingExtraError(what, where=where, remedy=install(extra) + (f", or {otherwise}" if otherwise else ""))


def of_import(error: ImportError, doing: str, *, where: str = "") -> MissingExtraError | None:
    """The error to raise instead of one of an import, where an extra that is not installed brings the module.

    None where the import failed otherwise, as it does over a library that is there and broken: that is to be seen.
    """
    extra = extra_of(error.name)
    return missing_extra(extra, doing, where=where) if extra is not None and lacking(extra) else None


def absent(modules: Iterable[str]) -> str | None:
    """The first of some modules that is not installed; nothing is imported."""
    return next((module for module in modules if not _is_there(module)), None)


def require(extra: str, doing: str, *, where: str = "", otherwise: str = "") -> None:
    """Refuse what cannot be done without an extra; the arguments are those of `missing_extra`.

    Raises:
        MissingExtraError: it is not installed.
    """
    if lacking(extra):
        raise missing_extra(extra, doing, where=where, otherwise=otherwise)


def _is_there(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # the package around it is missing
        return False
