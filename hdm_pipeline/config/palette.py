"""The colors that classes have where the pipeline file names none."""

from __future__ import annotations

from collections.abc import Iterator

_SAFE = ("#e69f00", "#56b4e9", "#009e73", "#f0e442", "#0072b2", "#d55e00", "#cc79a7")
"""Colors that people with any of the usual kinds of color blindness tell apart (M. Okabe and K. Ito, 2008)."""

_SHADES = (0.0, -0.45, 0.55, -0.7, 0.8)
"""How far the next rounds are darker (towards black) or lighter (towards white): lightness is seen by everyone."""


def default_colors() -> Iterator[str]:
    """Colors ``#rrggbb`` without end and without repeats, the safest first: the first seven differ for everyone.

    Hue and lightness tell the first 35 apart. After that each color is only a little off an earlier one.
    """
    given: set[str] = set()
    step = 0
    while True:
        for shade in _SHADES:
            for color in _SAFE:
                shown = _nudged(_shaded(color, shade), step)
                if shown not in given:
                    given.add(shown)
                    yield shown
        step += 1


def _shaded(color: str, shade: float) -> tuple[int, int, int]:
    """A color moved towards black (shade < 0) or white."""
    target = 255 if shade > 0 else 0
    red, green, blue = (round(value + (target - value) * abs(shade)) for value in bytes.fromhex(color[1:]))
    return red, green, blue


def _nudged(rgb: tuple[int, int, int], step: int) -> str:
    """A color some steps further, each channel by its own stride; none for step 0."""
    moved = ((value + step * stride) % 256 for value, stride in zip(rgb, (37, 59, 83), strict=True))
    return "#" + bytes(moved).hex()
