"""Pictures in a terminal: which kind it draws, and the characters that make it draw one."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Literal

import numpy as np
from PIL import Image

from hdm_pipeline.pictures.color import Picture, png

Graphics = Literal["kitty", "iterm2", "sixel"]
"""Protocols of terminals."""

_ITERM2 = ("iTerm.app", "WezTerm", "mintty", "vscode")
_KITTY = ("ghostty",)
_SIXEL = ("foot", "mlterm", "contour", "yaft")
_CHUNK = 4096
_COLORS = 128
_BAND = 6
"""Rows that sixels paint at once."""


def graphics_of(environment: Mapping[str, str]) -> Graphics | None:
    """What the terminal says of itself that it draws; None where it says nothing.

    A terminal is never asked: the answer of one that does not know the question would land in the user's next command.
    Within tmux and screen nothing is drawn: they do not pass pictures on.

    Args:
        environment: variables of the process.
    """
    term, program = environment.get("TERM", ""), environment.get("TERM_PROGRAM", "")
    if "TMUX" in environment or "STY" in environment or term.startswith(("tmux", "screen")) or term in ("", "dumb"):
        return None
    if "KITTY_WINDOW_ID" in environment or "kitty" in term or program in _KITTY:
        return "kitty"
    if program in _ITERM2 or environment.get("LC_TERMINAL") == "iTerm2":
        return "iterm2"
    if "sixel" in term or term.startswith(_SIXEL):
        return "sixel"
    return None


def drawn(picture: Picture, graphics: Graphics) -> str:
    """What a terminal must get to draw a picture [y, x, 3] at the cursor; ends with a new line."""
    match graphics:
        case "kitty":
            return _kitty(png(picture))
        case "iterm2":
            return _iterm2(png(picture))
        case "sixel":
            return _sixel(picture)


def _kitty(content: bytes) -> str:
    """https://sw.kovidgoyal.net/kitty/graphics-protocol/: PNG, sent and shown (a=T,f=100), in chunks."""
    text = base64.standard_b64encode(content).decode("ascii")
    chunks = [text[start : start + _CHUNK] for start in range(0, len(text), _CHUNK)]
    found = []
    for number, chunk in enumerate(chunks):
        head = "a=T,f=100,q=2," if number == 0 else ""  # q=2: no answer, which nobody would read
        found.append(f"\x1b_G{head}m={int(number < len(chunks) - 1)};{chunk}\x1b\\")
    return "".join(found) + "\n"


def _iterm2(content: bytes) -> str:
    """https://iterm2.com/documentation-images.html."""
    text = base64.standard_b64encode(content).decode("ascii")
    return f"\x1b]1337;File=inline=1;size={len(content)};preserveAspectRatio=1:{text}\x07\n"


def _sixel(picture: Picture) -> str:
    """Sixels (DEC STD 070): six rows at a time, one color after the other; runs are counted."""
    image = Image.fromarray(picture).quantize(_COLORS, dither=Image.Dither.NONE)
    palette = np.asarray(image.getpalette(), np.uint8).reshape(-1, 3)
    indices = np.asarray(image)
    height, width = indices.shape
    found = [f'\x1bP0;1q"1;1;{width};{height}']
    used = np.unique(indices)
    found += [f"#{n};2;" + ";".join(str(round(int(v) * 100 / 255)) for v in palette[n]) for n in used]
    weights = (1 << np.arange(_BAND))[:, None]
    for top in range(0, height, _BAND):
        rows = indices[top : top + _BAND]
        painted = []
        for color in np.unique(rows):
            bits = ((rows == color) * weights[: len(rows)]).sum(axis=0)
            painted.append(f"#{color}{_runs(bits)}")
        found.append("$".join(painted) + "-")
    return "".join(found) + "\x1b\\\n"


def _runs(bits: np.ndarray) -> str:
    """Sixels of one color along a row; the same one again and again as a count."""
    edges = np.flatnonzero(np.diff(bits)) + 1
    starts = np.concatenate([[0], edges])
    counts = np.diff(np.concatenate([starts, [len(bits)]]))
    text = []
    for start, number in zip(starts, counts, strict=True):
        sixel = chr(63 + int(bits[start]))
        text.append(f"!{number}{sixel}" if number > 3 else sixel * int(number))
    return "".join(text)
