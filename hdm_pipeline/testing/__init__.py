"""Conformance suites for plug-ins: run yours against the checks that ours pass.

    from hdm_pipeline.testing import check_reader, check_writer, example_product

    def test_my_reader():
        check_reader(MyReader, "tests/data/scenes", damaged=["tests/data/cut_short.xyz"])

    def test_my_writer(tmp_path):
        check_writer(MyWriter, example_product(), tmp_path)

Each raises one `ConformanceError` that lists everything found. Needs only numpy; works with any test runner.
"""

from hdm_pipeline.testing.findings import ConformanceError
from hdm_pipeline.testing.products import example_header, example_product
from hdm_pipeline.testing.reader import check_reader
from hdm_pipeline.testing.sender import check_sender
from hdm_pipeline.testing.writer import check_writer

__all__ = ["ConformanceError", "check_reader", "check_sender", "check_writer", "example_header", "example_product"]
