"""What a compressed image asks of its decoder, by its own header: decoders allocate by it."""

from __future__ import annotations

_SOF = frozenset({0xC0, 0xC1, 0xC2, 0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xF7})


def codestream_size(raw: bytes) -> tuple[int, int] | None:
    """(rows, columns) that a JPEG, JPEG-LS or JPEG 2000 codestream states; None for others."""
    start = raw.find(b"\xff\x4f\xff\x51", 0, 1024)
    if start >= 0 and len(raw) >= start + 24:
        width, height, left, top = (
            int.from_bytes(raw[start + 8 + 4 * i : start + 12 + 4 * i], "big") for i in range(4)
        )
        return height - top, width - left
    if raw[:2] != b"\xff\xd8":
        return None
    at = 2
    while at + 9 < len(raw) and raw[at] == 0xFF:
        marker = raw[at + 1]
        if marker in _SOF:
            return int.from_bytes(raw[at + 5 : at + 7], "big"), int.from_bytes(raw[at + 7 : at + 9], "big")
        at += 1 if marker == 0xFF else 2 + int.from_bytes(raw[at + 2 : at + 4], "big")
    return None
