from __future__ import annotations

from hdm_pipeline import __version__
from tests.command import hdm


def test_the_version_needs_no_command() -> None:
    said = hdm("--version")
    assert (said.returncode, said.stdout) == (0, f"{__version__}\n")


def test_without_a_command_the_help_is_shown() -> None:
    said = hdm()
    assert said.returncode == 2
    assert "studio" in said.stdout + said.stderr
