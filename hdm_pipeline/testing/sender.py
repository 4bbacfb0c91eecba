"""The conformance suite for senders."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from hdm_pipeline.contracts import SendAnswer, Sender
from hdm_pipeline.errors import ConfigError
from hdm_pipeline.plugin.guarded_sender import guarded_sender
from hdm_pipeline.testing.findings import Findings


def check_sender(
    kind: type[Sender],
    address: str,
    files: Sequence[Path],
    *,
    options: Mapping[str, Any] | None = None,
    odd: Path | None = None,
    nobody: str | None = None,
    stored: Callable[[Path], bytes | None] | None = None,
) -> None:
    """Run every check of the contract of senders.

    Args:
        kind: the sender's class.
        address: of a peer that runs, takes the files and holds none of them yet.
        files: two at least, all of which can be sent.
        options: what to construct it with.
        odd: a file that the sender cannot send.
        nobody: an address of the same kind where nobody answers.
        stored: what the peer holds of a file, by another way than the sender's; None where it holds nothing.

    Raises:
        ConformanceError: with everything found.
    """
    findings = Findings(kind.__qualname__)
    given = dict(options or {})

    def make(to: str = address) -> Sender:
        return guarded_sender(kind, kind.name, to, given)

    _check_constructed(findings, kind, address, given)
    with findings.check("before a run"):
        findings.require(all(isinstance(line, str) for line in make().check()), "warnings are not texts")
    with findings.check("what fits"):
        _check_fits(findings, make(), files, odd)
    before = [path.read_bytes() for path in files]
    with findings.check("sending"):
        _check_sent(findings, files, make().send(files), stored)
    with findings.check("sending again"):
        # As after a crash between the peer's answer and our receipt; in another order, by a new process.
        again = list(reversed(files))
        _check_sent(findings, again, make().send(again), stored)
    if odd is not None:
        with findings.check("a file that cannot be sent"):
            told = make().send([odd, files[0]])
            findings.require([one.outcome for one in told] == ["refused", "stored"], f"the answers are {told}")
    if nobody is not None:
        with findings.check("nobody answers"):
            _check_away(findings, make(nobody).send(files))
    findings.require([path.read_bytes() for path in files] == before, "files are changed")
    findings.close()


def _check_constructed(findings: Findings, kind: type[Sender], address: str, given: Mapping[str, Any]) -> None:
    with findings.check("construction"):
        scheme = address.partition("://")[0]
        findings.require(kind.name == scheme, f"the class is called {kind.name!r}, its addresses begin with {scheme!r}")
        kinds = [one for one in kind.takes if isinstance(one, str) and "/" in one]
        findings.require(bool(kinds) and len(kinds) == len(kind.takes), "`takes` names no media types")
        guarded_sender(kind, kind.name, address, given)
        unknown = {**given, "no such option": 1}
        findings.raises((ConfigError,), lambda: kind(address, unknown), "an unknown option")


def _check_fits(findings: Findings, sender: Sender, files: Sequence[Path], odd: Path | None) -> None:
    findings.require(all(sender.fits(path) for path in files), "files that can be sent do not fit")
    findings.require(odd is None or not sender.fits(odd), "a file of another kind fits")


def _check_away(findings: Findings, answers: Sequence[SendAnswer]) -> None:
    away = all(one.outcome == "unavailable" and one.again and one.what for one in answers)
    findings.require(away, f"the answers are {answers}, not `unavailable` with `again`")


def _check_sent(
    findings: Findings,
    files: Sequence[Path],
    answers: Sequence[SendAnswer],
    stored: Callable[[Path], bytes | None] | None,
) -> None:
    for path, answer in zip(files, answers, strict=True):
        findings.require(answer.outcome == "stored", f"{path.name} is not stored: {answer.what}")
        findings.require(bool(answer.what), "an answer says nothing")
        if stored is not None:
            findings.require(stored(path) == path.read_bytes(), f"the peer does not hold {path.name} as it is")
