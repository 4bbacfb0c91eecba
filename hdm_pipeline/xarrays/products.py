"""The published files of a scene as a dataset, and what is known of all scenes as a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import rioxarray
import xarray

from hdm_pipeline.errors import ReadError, UnsupportedSceneError
from hdm_pipeline.output.ledger import SceneRecord
from hdm_pipeline.xarrays.legend import PROBABILITY, mask_attributes, plain

_MASK, _SCORE = "mask", "score"
_TEXTS = ("state", "input", "warnings", "error")
_BY_CLASS = ("pixels", "area_m2", "volume_ml")


def open_products(root: Path, record: SceneRecord, attributes: Mapping[str, Any], chunks: int | None) -> xarray.Dataset:
    """The GeoTIFF products of a finished scene; only their headers are read.

    Args:
        root: the output directory.
        record: the scene, as the ledger knows it.
        attributes: of the dataset.
        chunks: side of dask's chunks in pixels, or None.

    Raises:
        UnsupportedSceneError: there is none.
        ReadError: one cannot be opened.
    """
    files = [root / output for output in record.outputs if output.endswith(".tif")]
    if not files:
        made = ", ".join(Path(output).name for output in record.outputs) or "nothing"
        remedy = "open DICOM SEG with highdicom.seg.segread, NIfTI with nibabel.load; or publish `mask` and `score`"
        what = f"the scene has no GeoTIFF product (there is {made}), and open_output opens no other kind"
        raise UnsupportedSceneError(what, where=f"scene {record.id}", remedy=remedy)
    names = list(record.info.get("pixels", ()))
    variables, tags = {}, {}
    for file in files:
        array = _opened(file, chunks)
        tags.update({k.lower(): v for k, v in array.attrs.items() if k.startswith("HDM_") and k != "HDM_SCENE"})
        name = "probability" if file.stem == _SCORE else file.stem
        variables[name] = _mask(array, names) if file.stem == _MASK else _measures(array, name, names)
    return xarray.Dataset(variables, attrs=plain({**attributes, **tags}))


def _opened(file: Path, chunks: int | None) -> xarray.DataArray:
    """A product (band, y, x): the mask as stored, everything else with its scale, NaN where nodata."""
    given = None if chunks is None else {"x": chunks, "y": chunks}
    try:
        found = rioxarray.open_rasterio(file, chunks=given, mask_and_scale=file.stem != _MASK)
    except OSError as error:
        what = f"a product cannot be opened: {error}" if file.exists() else "a product of the scene is gone"
        remedy = "delete the scene's folder and run the pipeline again: what is missing is published anew"
        raise ReadError(what, where=str(file), remedy=remedy) from error
    if not isinstance(found, xarray.DataArray):
        raise ReadError("a product is no single image", where=str(file), remedy="delete it and run the pipeline again")
    return found


def _mask(array: xarray.DataArray, names: Sequence[str]) -> xarray.DataArray:
    found = array.isel(band=0, drop=True)
    found.attrs = mask_attributes(names)
    return found


def _measures(array: xarray.DataArray, name: str, names: Sequence[str]) -> xarray.DataArray:
    """Bands by class, where there is one for each."""
    units = array.attrs.get("units")
    attributes = dict(PROBABILITY) if name == "probability" else {"long_name": name}
    if name != "probability" and isinstance(units, str):
        attributes["units"] = units
    if array.sizes["band"] == len(names):
        array = array.rename(band="class").assign_coords({"class": list(names)})
    else:
        array = array.rename(band=f"{name}_band")
    array.attrs = attributes
    # How the file stores numbers is not how others should: integers without a nodata value would lose NaN.
    array.encoding = {name: array.encoding[name] for name in ("grid_mapping",) if name in array.encoding}
    return array


def scene_table(
    records: Sequence[SceneRecord], inputs: Mapping[str, str], attributes: Mapping[str, Any]
) -> xarray.Dataset:
    """See `RunOutput.table`."""
    classes = list(dict.fromkeys(name for record in records for name in record.info.get("pixels") or ()))
    columns: dict[str, Any] = {
        name: ("scene", np.array([_text(record, name, inputs) for record in records], dtype=str)) for name in _TEXTS
    }
    valid = [record.info.get("valid") if record.status == "done" else None for record in records]
    columns["valid"] = "scene", _numbers(valid)
    for name in _BY_CLASS:
        rows = [record.info.get(name) or {} if record.status == "done" else {} for record in records]
        if name != "volume_ml" or any(rows):
            found = _numbers([row.get(one) for row in rows for one in classes]).reshape(len(records), len(classes))
            columns[name] = ("scene", "class"), found
    coords = {"scene": [record.id for record in records], "class": classes}
    return xarray.Dataset({**columns}, coords=coords, attrs=plain(attributes))


def _text(record: SceneRecord, name: str, inputs: Mapping[str, str]) -> str:
    if name == "state":
        return record.status
    if name == "input":
        return inputs.get(record.id, "")
    if name == "error":
        return str((record.error or {}).get("what", ""))
    told = record.info.get("warnings", ()) if record.status == "done" else ()
    return ", ".join(dict.fromkeys(str(one["kind"]) for one in told if isinstance(one, dict)))


def _numbers(values: Sequence[float | int | None]) -> np.ndarray[Any, np.dtype[np.float64]]:
    return np.array([np.nan if value is None else value for value in values], dtype=np.float64)
