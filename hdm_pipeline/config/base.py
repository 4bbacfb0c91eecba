"""What all sections of a pipeline file have in common."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict


class Model(BaseModel):
    """Base of all sections: frozen, unknown keys refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)


def _usable(value: str) -> str:
    if not value.strip():
        raise ValueError("is empty: give a value, or leave the key out")
    try:
        encoded = value.encode(errors="surrogateescape")
    except UnicodeEncodeError:
        encoded = b"\0"
    if b"\0" in encoded:
        raise ValueError("holds a character that no path holds: leave it out")
    return value


Place = Annotated[str, AfterValidator(_usable)]
"""A path or an address. An empty one, of a variable that is not set say, would mean the folder of the file."""
