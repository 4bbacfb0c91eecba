"""Work of the network that is broken off as soon as somebody waits."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from hdm_pipeline.session.values import TryEndedError


@contextmanager
def giving_way(is_urgent: Callable[[], bool]) -> Iterator[None]:
    """Within: whatever layer of PyTorch comes next in this thread raises `TryEndedError` once somebody waits.

    Hooks of one network would not do: segmenters compute with copies of it that were made earlier.

    Args:
        is_urgent: whether somebody waits; asked before each layer.
    """
    from torch import cuda
    from torch.nn.modules.module import register_module_forward_pre_hook

    here = threading.get_ident()

    def look(*_: object) -> None:
        if threading.get_ident() != here or not is_urgent():
            return
        if not cuda.is_available() or not cuda.is_current_stream_capturing():  # a recording is not broken off
            raise TryEndedError("somebody tries a window", where="settle", remedy="it begins anew by itself")

    handle = register_module_forward_pre_hook(look)
    try:
        yield
    finally:
        handle.remove()
