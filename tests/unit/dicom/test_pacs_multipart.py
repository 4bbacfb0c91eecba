"""multipart/related as a stream: however it is cut into pieces, the parts are the same; what is cut off is an error."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hdm_dicom.pacs.multipart import Multipart
from hdm_pipeline.errors import PeerError

TYPE = 'multipart/related; type="application/dicom"; boundary="xx"'


def body(parts: list[bytes], head: bytes = b"Content-Type: application/dicom\r\n") -> bytes:
    return b"".join(b"\r\n--xx\r\n" + head + b"\r\n" + part for part in parts) + b"\r\n--xx--\r\n"


def taken(content: bytes, size: int) -> list[bytes]:
    pieces = (content[start : start + size] for start in range(0, len(content), size))
    return [b"".join(part) for part in Multipart(pieces, TYPE, "peer")]


@given(
    st.lists(st.binary(max_size=60) | st.sampled_from([b"", b"\r\n", b"\r\n--x", b"--xx", b"\r\n\r\n--"]), max_size=4),
    st.integers(1, 50),
    st.booleans(),
)
def test_parts_do_not_depend_on_pieces(parts: list[bytes], size: int, preamble: bool) -> None:
    parts = [part for part in parts if b"\r\n--xx" not in part and not part.endswith(b"\r\n--x")]
    content = body(parts) if parts else b"\r\n--xx--"
    content = b"a preamble" + content if preamble else content.removeprefix(b"\r\n")
    assert taken(content, size) == parts


@pytest.mark.parametrize("end", [1, 9, 30, 60, 95, 110])
def test_an_answer_that_is_cut_off(end: int) -> None:
    content = body([b"first" * 5, b"second" * 5])
    assert len(content) > 120
    with pytest.raises(PeerError, match="ends before its end"):
        taken(content[:end], 7)


@pytest.mark.parametrize("kind", ["", "application/json", "multipart/related", "text/html; boundary=xx"])
def test_what_is_no_multipart(kind: str) -> None:
    with pytest.raises(PeerError, match="no multipart"):
        Multipart(iter([b"--xx--"]), kind, "peer")


def test_a_head_without_end() -> None:
    with pytest.raises(PeerError, match="head of a part"):
        taken(b"--xx\r\n" + b"X: y\r\n" * 20_000, 4096)
