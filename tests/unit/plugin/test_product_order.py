"""Products that refer to others are written after them."""

from typing import Any

import pytest

from hdm_pipeline.errors import ConfigError, PluginError
from hdm_pipeline.plugin.guarded_writer import GuardedWriter, guard_writer
from hdm_pipeline.plugin.product_order import in_order
from tests.unit.plugin.honest import Writer


def writers(**after: Any) -> dict[str, GuardedWriter]:
    return {name: guard_writer(type("Honest", (Writer,), {"after": named})(), name) for name, named in after.items()}


def test_a_product_comes_after_those_that_it_refers_to_and_the_rest_stays_in_place() -> None:
    given = writers(report=("segmentation",), mask=(), summary=("report", "mask"), segmentation=())
    assert [name for name, _ in in_order(given)] == ["segmentation", "report", "mask", "summary"]


def test_a_product_that_refers_to_one_that_is_not_made_is_refused() -> None:
    with pytest.raises(ConfigError, match="segmentation, which is not made") as caught:
        in_order(writers(report=("segmentation",), mask=()))
    assert caught.value.remedy == "add segmentation to output.products"


def test_products_that_wait_for_each_other_are_refused() -> None:
    with pytest.raises(ConfigError, match="after the other"):
        in_order(writers(a=("b",), b=("a",)))


@pytest.mark.parametrize("after", ["segmentation", (1,), None])
def test_an_after_that_is_no_tuple_of_names_is_a_bug_of_the_plug_in(after: Any) -> None:
    with pytest.raises(PluginError, match="after"):
        writers(liar=after)
