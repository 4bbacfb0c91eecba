"""What `listen` takes in: the section `listen`."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, model_validator

from hdm_pipeline.config.base import Model, Place


class Listen(Model):
    """What `python -m hdm_pipeline listen` takes in: deliveries that are segmented one by one as they come."""

    receive: dict[str, dict[str, Any]] = Field(
        default_factory=dict, description="receivers by entry point name, each with its options: {dicom: {port: 11112}}"
    )
    folder: Place | None = Field(None, description="folder to watch; each folder in it is a delivery")
    inbox: Place | None = Field(
        None, description="folder for what receivers take in, and for the queue; by default .hdm/inbox in the output"
    )
    quiet: Annotated[
        float, Field(gt=0, le=86400, description="seconds without a change after which a delivery is complete")
    ] = 30.0
    keep: Annotated[
        float, Field(ge=0, description="hours for which received files stay in the inbox after they were worked on")
    ] = 24.0
    max_inbox_bytes: Annotated[
        int, Field(ge=1, description="most bytes in the inbox; what comes beyond is refused, never dropped")
    ] = 100 * 10**9

    @model_validator(mode="after")
    def _something_comes_in(self) -> Listen:
        if not self.receive and self.folder is None:
            raise ValueError("nothing to listen to: give `receive` (such as {dicom: {port: 11112}}) or `folder`")
        return self
