"""What a person looks at after a run. Nothing here changes pixels: no work is done again for it."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from hdm_pipeline.config.base import Model


class Report(Model):
    """`report.html`, and the pictures in it."""

    html: bool = Field(True, description="write report.html at the end of each run")
    pixels: Literal["auto"] | bool = Field(
        "auto", description="show pictures of scenes and examples: auto shows none of private archives (DICOM)"
    )

    @field_validator("pixels", mode="before")
    @classmethod
    def _no_number(cls, value: object) -> object:
        if isinstance(value, int) and not isinstance(value, bool):
            raise ValueError("say auto, true or false")
        return value

    def shows_pixels(self, *, private: bool) -> bool:
        """Whether pictures may be made and shown, of an archive or a scene that is private or not."""
        return not private if self.pixels == "auto" else self.pixels
