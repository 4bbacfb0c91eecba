"""Products say what their files are, so that `validate` refuses to send to a PACS what is no DICOM."""

from __future__ import annotations

from typing import Any

import pytest

from hdm_pipeline.config.schema import PipelineConfig
from hdm_pipeline.errors import ConfigError
from hdm_pipeline.planning.routes import make_route

PACS = "dicomweb://pacs.example/dicom-web"
MADE: list[str | dict[str, dict[str, Any]]] = [
    "segmentation",
    "rtstruct",
    "report",
    "parametric_map",
    "preview",
    "nifti",
    "label_image",
    {"measurements": {"format": "json"}},
]


def config(products: list[str] | None) -> PipelineConfig:
    return PipelineConfig.model_validate(
        {
            "name": "test",
            "input": {"uri": "series", "reader": "dicom", "scale": {"fixed": "liver"}},
            "support": {"classes": [{"name": "liver", "examples": [{"image": "a", "mask": "b.nii.gz"}]}]},
            "output": {"directory": "out", "products": MADE, "send": {"to": PACS, "products": products}},
        }
    )


def test_a_pacs_gets_all_that_is_dicom() -> None:
    asked = config(None)
    route, _ = make_route(asked, asked.output.send[0])
    assert route.products == ("parametric_map", "preview", "report", "rtstruct", "segmentation")


@pytest.mark.parametrize(
    ("product", "kind"),
    [("nifti", "application/x-nifti"), ("label_image", "image/png"), ("measurements", "application/json")],
)
def test_what_is_no_dicom_is_refused(product: str, kind: str) -> None:
    asked = config(["report", product])
    with pytest.raises(ConfigError) as caught:
        make_route(asked, asked.output.send[0])
    assert f"{product!r} ({kind}) cannot be sent to {PACS}" in caught.value.what
