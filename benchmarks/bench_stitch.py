"""Stitching rate on one core: tiles of one block blended, strips merged, scores labelled.

    python benchmarks/bench_stitch.py [--side 4096] [--repeats 5] [--json FILE]

A pixel of the scene counts once a class, however many tiles overlap there.
"""

from __future__ import annotations

import sys

import numpy as np
from _table import Row, alternate, arguments, at_least, show

from hdm_pipeline.grid import TileGrid
from hdm_pipeline.stitch import BlockAccumulator, BlockScores, labels, merge_cell

LEAST = 100.0
"""Mpx/s a core that stitching must reach."""


def stitch_all(grid: TileGrid, tile: np.ndarray, classes: int) -> None:
    blocks = grid.blocks(16)
    parts: dict[int, BlockScores] = {}
    for block in blocks:
        accumulator = BlockAccumulator(grid, block, classes)
        for index in grid.tiles(block):
            accumulator.add(index, tile)
        parts[block.index] = accumulator.finish()
    for block in blocks:
        merge_cell(parts[block.index], [parts[other.index] for other in grid.neighbors(block, blocks)], grid)


def main() -> int:
    parser = arguments(__doc__)
    parser.add_argument("--side", type=int, default=4096, help="side of the scene in pixels")
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    cases = [(512, 64, 1), (512, 64, 3), (512, 128, 1), (512, 256, 1), (256, 32, 1)]
    rows: list[Row] = []
    for size, overlap, classes in cases:
        grid = TileGrid((1, options.side, options.side), size, overlap)
        tile = rng.integers(0, 256, (classes, size, size), dtype=np.uint8)
        (seconds,) = alternate(options.repeats, lambda g=grid, t=tile, c=classes: stitch_all(g, t, c))
        name = f"stitch tiles of {size}, overlap {overlap}, {classes} classes"
        rows.append(at_least(name, options.side**2 * classes / min(seconds) / 1e6, "Mpx/s", LEAST))
    for classes in (1, 4):
        scores = rng.integers(0, 256, (classes, options.side, options.side), dtype=np.uint8)
        valid = scores[0] > 20
        out = np.empty(valid.shape, np.uint8)
        (seconds,) = alternate(options.repeats, lambda s=scores, v=valid, o=out: labels(s, v, 0.5, o))
        rows.append(Row(f"labels of {classes} classes", valid.size * classes / min(seconds) / 1e6, "Mpx/s"))
    return show("Stitching, CPU seconds of one core", rows, options.json)


if __name__ == "__main__":
    sys.exit(main())
