"""Small pipelines, and our plug-in in QGIS to run them."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import yaml
from rasterio.transform import from_origin

from tests.judges.headless_qgis import SYSTEM_PYTHON, Qgis, find_qgis

PLUGINS = Path(__file__).resolve().parents[2] / "plugins"
INI = ".local/share/QGIS/QGIS3/profiles/default/QGIS/QGIS3.ini"
LAKE = "#0072b2"


def prepared(folder: Path, command: str) -> Qgis:
    """QGIS with our plug-in enabled; what it sets for its own Python and PROJ would break ours."""
    trap = folder / "trap"
    trap.mkdir()
    (trap / "hdm_pipeline.py").write_text("raise SystemExit('the PYTHONPATH of QGIS was handed on')")
    qgis = find_qgis(
        folder / "home", QGIS_PLUGINPATH=str(PLUGINS), PYTHONPATH=f"{trap}:{PLUGINS}", PROJ_LIB="/usr/share/proj"
    )
    ini = folder / "home" / INI
    ini.parent.mkdir(parents=True)
    ini.write_text(f"[Processing]\nConfiguration\\HDM_COMMAND={command}\n")
    qgis.call("qgis_process.bin", "plugins", "enable", "qgis_hdm")
    return qgis


def in_qgis(qgis: Qgis, algorithm: str, **task: Any) -> dict[str, Any]:
    """See `plugin_in_qgis.py`."""
    picture = {name: str(task.pop(name)) for name in ("picture", "under") if name in task}
    more = {name: task.pop(name) for name in ("cancel_at", "layers") if name in task}
    parameters = {name: str(value) if isinstance(value, Path) else value for name, value in task.items()}
    text = json.dumps({"algorithm": algorithm, "parameters": parameters, "command": sys.executable, **picture, **more})
    script = Path(__file__).with_name("plugin_in_qgis.py")
    return dict(json.loads(qgis.call(SYSTEM_PYTHON, str(script), text).stdout.splitlines()[-1]))


def lake(height: int, width: int) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    return np.asarray(((y - height * 0.45) / (height * 0.25)) ** 2 + ((x - width * 0.5) / (width * 0.22)) ** 2 < 1)


def write(path: Path, pixels: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    bands, height, width = pixels.shape
    place = {"crs": "EPSG:32633", "transform": from_origin(500000, 5200000, 10, 10)}
    shape = {"count": bands, "height": height, "width": width, "dtype": pixels.dtype.name}
    with rasterio.open(path, "w", driver="GTiff", **shape, **place) as file:
        file.write(pixels)
    return path


def write_scene(path: Path, height: int, width: int, seed: int) -> Path:
    """A dark lake on bright land, three bands of uint16."""
    noise = np.random.default_rng(seed).normal(0, 90, (3, height, width))
    levels = np.stack([np.where(lake(height, width), a, b) for a, b in ((250, 1800), (275, 2100), (150, 2900))])
    return write(path, (levels + noise).clip(1, 65535).astype(np.uint16))


def pipeline(folder: Path, **sections: dict[str, Any]) -> Path:
    """A pipeline over one scene of 192 by 160 pixels."""
    write_scene(folder / "scenes" / "a.tif", 192, 160, 0)
    write_scene(folder / "chip.tif", 128, 128, 7)
    write(folder / "chip_mask.tif", lake(128, 128)[None].astype(np.uint8))
    content: dict[str, Any] = {
        "name": "lakes",
        "input": {"uri": "scenes", "bands": [1, 2, 3], "scale": {"fixed": [0, 4000]}},
        "support": {
            "adapt": "off",
            "classes": [{"name": "lake", "color": LAKE, "examples": [{"image": "chip.tif", "mask": "chip_mask.tif"}]}],
        },
        "model": {"weights": "builtin:pyramid-small", "reduction": 1},
        "tiling": {"size": 128, "overlap": 32},
        "execution": {"executor": "inline"},
        "output": {"directory": "out", "products": ["mask", "score"]},
    }
    for name, section in sections.items():
        content[name] = {**content[name], **section}
    path = folder / "lakes.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def iou(mask: Path, truth: np.ndarray) -> float:
    with rasterio.open(mask) as file:
        found = file.read(1) == 1
    return float((found & truth).sum() / (found | truth).sum())
