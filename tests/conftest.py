"""What every test shares: where the data lie, and what is said of the tests that were skipped."""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.s3_server import S3Server, installed, s3_server

if "PYTEST_XDIST_WORKER" in os.environ:
    # One thread a worker and its children, before torch is imported: workers that share cores wait for each other's.
    os.environ.setdefault("OMP_NUM_THREADS", "1")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell that starts the tests in the background has Ctrl-C ignored, by them and by all that they start and stop.
    signal.signal(signal.SIGINT, signal.default_int_handler)

os.environ["HDM_CACHE"] = "off"  # what one test prepared is no result of another; those of the cache say where it is

REQUIRE_DATA = "HDM_REQUIRE_DATA"
_SHARED = Path(__file__).resolve().parents[2] / "shared"


def _folder(what: str, variable: str, default: Path) -> Path:
    """A folder that is not part of the repository; without it a test is skipped, or fails where it is required."""
    folder = Path(os.environ.get(variable, default))
    if folder.is_dir():
        return folder
    message = f"{what} not found at {folder}; set {variable}"
    if os.environ.get(REQUIRE_DATA) == "1":
        pytest.fail(f"{message} ({REQUIRE_DATA}=1)")
    pytest.skip(message)


@pytest.fixture(scope="session")
def test_data() -> Path:
    """The folder of real test data."""
    return _folder("real test data", "HDM_TEST_DATA", _SHARED / "data")


@pytest.fixture(scope="session")
def golden_path() -> Path:
    """The folder of golden vectors of the published network."""
    return _folder("golden vectors", "HDM_GOLDEN", _SHARED / "hdmnet" / "golden")


@pytest.fixture(scope="session")
def _s3_running() -> Iterator[S3Server]:
    if not installed():
        pytest.skip("needs moto (extra `dev`)")
    with s3_server() as running:
        running.make_bucket("out")
        yield running


@pytest.fixture
def server(_s3_running: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Server]:
    """A real S3 server with an empty bucket ``out``; clients of this process, and of those it starts, find it.

    Started once for all tests. What a test lets go wrong is mended after it.
    """
    _s3_running.enter(monkeypatch)
    _s3_running.heals()
    _s3_running.empty("out")
    _s3_running.forget()
    yield _s3_running
    _s3_running.heals()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """What takes longest starts first, so that no worker is left alone with it at the end.

    Workers share the tests file by file (`--dist loadfile`): what a file prepares for all its tests is prepared once.
    """
    if config.pluginmanager.hasplugin("xdist"):
        items.sort(key=_weight)


def _weight(item: pytest.Item) -> int:
    """0 for what needs Ray, 1 for other slow tests, 2 for the rest; the order within each stays."""
    if item.get_closest_marker("ray"):
        return 0
    return 1 if item.get_closest_marker("slow") else 2


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say how many tests were skipped and why: one line a reason."""
    reasons = Counter(
        report.longrepr[2].removeprefix("Skipped: ")
        for report in terminalreporter.stats.get("skipped", [])
        if isinstance(report.longrepr, tuple)
    )
    if reasons:
        terminalreporter.section("skipped tests")
    for reason, count in reasons.most_common():
        terminalreporter.line(f"{count} skipped: {reason}")
