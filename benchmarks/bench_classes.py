"""Seconds that one, two and four classes of a pipeline take for a tile of 512 x 512 pixels.

    python -m benchmarks.bench_classes [--threads 2] [--weights NAME] [--json FILE]

CPU seconds of the shipped network in float32, median of seven in turn. Classes at one reduction share the pass of the
backbone; the last row is what two classes cost that do not.
"""

from __future__ import annotations

import sys

import numpy as np

from benchmarks._segmenter import from_command_line
from benchmarks._table import Row, alternate, at_most, median, show
from hdm_pipeline.execution.malloc import keep_freed

_SIDE = 512
_REPEATS = 7
_CLASSES = (1, 2, 4)


def main() -> int:
    """Measure and print."""
    options, segmenter = from_command_line(__doc__)
    keep_freed()
    rng = np.random.default_rng(0)
    image = rng.random((3, _SIDE, _SIDE), dtype=np.float32)
    banks = []
    for number in range(max(_CLASSES)):
        label = np.zeros((_SIDE, _SIDE), np.uint8)
        label[40 + 60 * number : 240 + 60 * number, 150 + 20 * number : 400] = 1
        banks.append(segmenter.encode_support([image], [label]))
    other = segmenter.refitted(segmenter.network, 1.01)  # about the same pixels, but another pass

    def apart() -> None:
        segmenter.predict(image[None], banks[:1])
        other.predict(image[None], banks[1:2])

    calls = [lambda n=n: segmenter.predict(image[None], banks[:n]) for n in _CLASSES]  # type: ignore[misc]
    for call in (*calls, apart):
        call()
    seconds = [median(values) for values in alternate(_REPEATS, *calls, apart)]
    rows = [Row(f"{n} class{'es' if n > 1 else ''}, one pass", s, "s") for n, s in zip(_CLASSES, seconds, strict=False)]
    rows.append(Row("2 classes, a pass each", seconds[-1], "s"))
    rows.append(at_most("2 classes in one pass / a pass each", seconds[1] / seconds[-1], "", 0.9))
    return show(f"{options.weights}, {options.threads} threads, {_SIDE}x{_SIDE}", rows, options.json)


if __name__ == "__main__":
    sys.exit(main())
