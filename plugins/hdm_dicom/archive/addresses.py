"""Addresses that this reader could never take, told before anything is looked for. A PACS is asked elsewhere."""

from __future__ import annotations

import re

from hdm_pipeline.errors import ConfigError

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")


def check_input(uri: str) -> None:
    """Refuse an address on a network, or of another program; opens nothing.

    Raises:
        ConfigError: it is one. Only its scheme is repeated: the rest may hold a key or a name.
    """
    scheme = _SCHEME.match(uri)
    if scheme is not None:
        raise ConfigError(
            f"the reader dicom does not take addresses of {scheme[1].lower()}://",
            where="input.uri",
            remedy="name a folder, a file, a zip archive, a glob or a list file on this machine, or a PACS: "
            "dicomweb://HOST/PATH or dimse://AET@HOST:PORT",
        )
