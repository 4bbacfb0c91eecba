"""What a scene costs that is smaller than a tile, over one of a tile's size: inference alone, tiles of 512 pixels.

    python -m benchmarks.bench_small_scenes [--weights NAME] [--scenes 6] [--json FILE]

CPU seconds of this process, one thread; the least of all scenes of a size, and sizes take turns.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import torch

from benchmarks._scenes import write_pipeline, write_scene, write_support
from benchmarks._table import Row, arguments, show
from hdm_pipeline.model.segmenter import FewShotSegmenter
from hdm_pipeline.pipeline import Pipeline

_TILE = 512
_SIDES = (512, 384, 256, 128)


def seconds_by_side(pipeline: Path) -> dict[int, float]:
    """CPU seconds that the network takes for a scene, by its side."""
    found: dict[int, list[float]] = {}
    answer = FewShotSegmenter.answer

    def timed(self: FewShotSegmenter, kind, tiles, *given, **named):  # type: ignore[no-untyped-def]
        start = time.process_time()
        scores = answer(self, kind, tiles, *given, **named)
        if kind == "distance":  # what runs ask
            found.setdefault(tiles.shape[-1], []).append(time.process_time() - start)
        return scores

    FewShotSegmenter.answer = timed  # type: ignore[method-assign]
    try:
        Pipeline.from_yaml(pipeline).run()
    finally:
        FewShotSegmenter.answer = answer  # type: ignore[method-assign]
    return {side: min(times) for side, times in found.items()}


def main() -> int:
    """Measure and print."""
    parser = arguments(__doc__)
    parser.add_argument("--weights", default="builtin:pyramid")
    parser.add_argument("--scenes", type=int, default=6, help="of each size")
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for number in range(options.scenes):
            for side in _SIDES:
                write_scene(folder / "scenes" / f"{number}_{side}.tif", side, seed=number)
        write_support(folder, side=_TILE)
        tiling = {"size": _TILE, "overlap": 64}
        found = seconds_by_side(write_pipeline(folder, "small", options.weights, tiling=tiling))
    whole = found[_TILE]
    rows = [Row(f"a scene of {side} / of {_TILE} pixels a side", found[side] / whole, "x") for side in _SIDES[1:]]
    return show("small scenes", rows, options.json)


if __name__ == "__main__":
    sys.exit(main())
