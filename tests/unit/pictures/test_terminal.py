"""Pictures in terminals: only where the terminal says that it shows them, and with every pixel in its place."""

from __future__ import annotations

import base64
import io
import re

import numpy as np
import pytest
from PIL import Image

from hdm_pipeline.pictures.color import Picture
from hdm_pipeline.pictures.terminal import Graphics, drawn, graphics_of


@pytest.mark.parametrize(
    ("environment", "graphics"),
    [
        ({"TERM": "xterm-kitty"}, "kitty"),
        ({"TERM": "xterm-256color", "KITTY_WINDOW_ID": "1"}, "kitty"),
        ({"TERM": "xterm-256color", "TERM_PROGRAM": "iTerm.app"}, "iterm2"),
        ({"TERM": "xterm-256color", "LC_TERMINAL": "iTerm2"}, "iterm2"),
        ({"TERM": "foot"}, "sixel"),
        ({"TERM": "xterm-sixel"}, "sixel"),
        ({"TERM": "xterm-256color"}, None),
        ({"TERM": "screen-256color", "KITTY_WINDOW_ID": "1"}, None),
        ({"TERM": "xterm-256color", "TMUX": "/tmp/tmux", "TERM_PROGRAM": "iTerm.app"}, None),
        ({"TERM": "dumb", "KITTY_WINDOW_ID": "1"}, None),
        ({}, None),
    ],
)
def test_a_terminal_is_known_by_its_environment(environment: dict[str, str], graphics: Graphics | None) -> None:
    assert graphics_of(environment) == graphics


def picture(height: int = 13, width: int = 40) -> Picture:
    """Few colors, so that sixels keep them all, in a size that is no multiple of six."""
    rng = np.random.default_rng(0)
    colors = np.array([(0, 0, 0), (255, 0, 0), (0, 255, 255), (255, 255, 255)], np.uint8)
    return colors[rng.integers(0, 4, (height, width)).repeat(1, 0)]


def test_kitty_gets_the_whole_picture_in_chunks() -> None:
    shown = np.random.default_rng(1).integers(0, 255, (90, 90, 3), np.uint8)
    chunks = re.findall(r"\x1b_G([^;]*);([^\x1b]*)\x1b\\", drawn(shown, "kitty"))
    assert [head for head, _ in chunks] == ["a=T,f=100,q=2,m=1", *["m=1"] * (len(chunks) - 2), "m=0"]
    assert all(len(chunk) <= 4096 for _, chunk in chunks)
    content = base64.b64decode("".join(chunk for _, chunk in chunks))
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(content))), shown)


def test_iterm2_gets_the_whole_picture() -> None:
    found = re.fullmatch(
        r"\x1b]1337;File=inline=1;size=(\d+);preserveAspectRatio=1:(.*)\x07\n", drawn(picture(), "iterm2")
    )
    assert found is not None
    content = base64.b64decode(found[2])
    assert len(content) == int(found[1])
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(content))), picture())


def test_sixels_paint_every_pixel() -> None:
    shown = picture()
    text = drawn(shown, "sixel")
    body = re.fullmatch(r'\x1bP0;1q"1;1;40;13(.*)\x1b\\\n', text)
    assert body is not None
    np.testing.assert_array_equal(painted(body[1], 13, 40), shown)


def painted(text: str, height: int, width: int) -> Picture:
    """What a terminal paints of sixels."""
    colors: dict[int, list[int]] = {}
    canvas = np.full((height, width, 3), 77, np.uint8)
    top = left = color = 0
    for token in re.finditer(r"#(\d+);2;(\d+);(\d+);(\d+)|#(\d+)|!(\d+)([?-~])|([?-~])|([$-])", text):
        if token[1]:
            colors[int(token[1])] = [round(int(token[n]) * 2.55) for n in (2, 3, 4)]
        elif token[5]:
            color = int(token[5])
        elif token[9]:
            top, left = (top + 6 if token[9] == "-" else top), 0
        else:
            bits = ord(token[7] or token[8]) - 63
            run = slice(left, left + int(token[6] or 1))
            for row in (n for n in range(6) if bits >> n & 1):
                canvas[top + row, run] = colors[color]
            left = run.stop
    return canvas
