"""Senders that break their contract are named; none of their texts gets out."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import pytest

from hdm_pipeline.contracts import SendAnswer
from hdm_pipeline.errors import ConfigError, PluginError, PluginLoadError
from hdm_pipeline.plugin.guarded_sender import guarded_sender


class Honest:
    """Stores everything."""

    name: ClassVar[str] = "honest"
    takes: ClassVar[tuple[str, ...]] = ("image/tiff",)

    def __init__(self, address: str, options: Any = None) -> None:
        if options.pop("wrong", None):
            raise ConfigError("wrong")
        self.answers: Any = options.get("answers")

    def check(self) -> list[str]:
        return []

    def fits(self, path: Path) -> bool:
        return True

    def send(self, files: tuple[Path, ...]) -> Any:
        if self.answers == "raise":
            raise KeyError("Doe^Jane")
        return [SendAnswer("stored", "x" * 1000) for _ in files] if self.answers is None else self.answers


def make(answers: Any = None) -> Any:
    return guarded_sender(Honest, "honest", "honest://x", {"answers": answers})


def test_an_honest_sender_passes_and_long_answers_are_cut() -> None:
    (answer,) = make().send([Path("a")])
    assert (answer.outcome, len(answer.what)) == ("stored", 500)


@pytest.mark.parametrize("answers", [[], ["stored"], [SendAnswer("maybe", "")], [SendAnswer("stored", "")] * 2])  # type: ignore[arg-type]
def test_answers_that_are_none(answers: list[Any]) -> None:
    with pytest.raises(PluginError, match="broke its contract"):
        make(answers).send([Path("a")])


def test_what_it_raises_is_told_without_its_text() -> None:
    with pytest.raises(PluginError, match="failed in send: KeyError") as caught:
        make("raise").send([Path("a")])
    assert caught.value.__suppress_context__
    assert "Doe" not in str(caught.value)


def test_what_is_no_sender_cannot_be_loaded() -> None:
    with pytest.raises(PluginLoadError, match="lacks methods"):
        guarded_sender(lambda address, options: object(), "odd", "odd://x", {})
    with pytest.raises(ConfigError, match="wrong"):
        guarded_sender(Honest, "honest", "honest://x", {"wrong": True})
