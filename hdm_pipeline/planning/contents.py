"""What entries of a remote archive turned out to hold when they were fetched, as the ledger remembers it.

It is filed under the id of the entry, not under a key: whoever changes the pipeline still knows which scenes came with
which entry, though it must be fetched again to be sure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hdm_pipeline.config.schema import PipelineConfig
from hdm_pipeline.hashing import stable_hash
from hdm_pipeline.output.ledger import Ledger, Receipt
from hdm_pipeline.planning.keys import SceneKeys

_STEP = "fetch"


@dataclass(frozen=True)
class Contents:
    """What one entry held.

    Attributes:
        parts: ids of the scenes, which may be none, or the entry's own alone.
        left_out: reasons why other things in it are no scenes.
        current: found under the very choice and options that hold now. What is not may be otherwise by now.
    """

    parts: tuple[str, ...]
    left_out: tuple[str, ...]
    current: bool = True


def note(
    ledger: Ledger, config: PipelineConfig, whole: str, keys: SceneKeys, found: Contents | None, seconds: float = 0.0
) -> None:
    """Remember what an entry holds.

    Args:
        ledger: written to.
        config: of the pipeline that fetched it.
        whole: id of the entry.
        keys: of the entry.
        found: None if it is what it was listed as, and nothing else; what was known before is then forgotten.
        seconds: that it took.
    """
    ledger.forget(whole, _STEP)
    if found is not None:
        detail = {"parts": list(found.parts), "left_out": list(found.left_out), "under": _under(config, keys)}
        ledger.record([Receipt(whole, _STEP, 0, seconds, detail)])


def known(ledger: Ledger, config: PipelineConfig, whole: str, keys: SceneKeys) -> Contents | None:
    """What an entry held when it was last fetched; None where that is not known, or is the entry itself."""
    receipt = ledger.receipts(whole, _STEP).get(0)
    if receipt is None:
        return None
    detail = receipt.detail
    parts, left_out = _texts(detail.get("parts", ())), _texts(detail.get("left_out", ()))
    return Contents(parts, left_out, current=detail.get("under") == _under(config, keys))


def _under(config: PipelineConfig, keys: SceneKeys) -> str:
    """What decides which scenes an entry holds: what it is, how it is read, and what is chosen of it."""
    return stable_hash([keys.stage, config.input.select])


def _texts(values: Sequence[Any]) -> tuple[str, ...]:
    return tuple(str(value) for value in values)
