"""A Dockerfile's instructions, and its commands carried out in an empty root where no container engine is at hand.

    python -m tests.dockerfile deploy/Dockerfile --root FOLDER [--build-arg NAME=VALUE ...]

FOLDER is a Debian with Python as `python` (`mmdebstrap --include=python3.11-venv,ca-certificates bookworm FOLDER`). It
is changed. Of Dockerfiles only what ours use is understood; anything else is an error.
"""

from __future__ import annotations

import argparse
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[1]
_KNOWN = {"FROM", "ARG", "ENV", "RUN", "USER", "WORKDIR", "CMD"}


@dataclass(frozen=True)
class Instruction:
    """One instruction, its continued lines put together."""

    name: str
    text: str

    def pairs(self) -> dict[str, str]:
        """``NAME=VALUE ...`` of ARG and ENV."""
        return dict((*word.split("=", 1), "")[:2] for word in shlex.split(self.text))

    def mounts(self) -> list[tuple[str, str]]:
        """(source, target) of a RUN's bind mounts."""
        found = []
        for word in re.findall(r"--mount=(\S+)", self.text):
            options = dict(part.split("=", 1) for part in word.split(","))
            if options["type"] != "bind":
                raise ValueError(f"not understood: {word}")
            found.append((options["source"], options["target"]))
        return found

    def command(self) -> str:
        """What a RUN gives the shell."""
        return re.sub(r"^(--mount=\S+\s+)+", "", self.text)


def instructions(file: Path) -> list[Instruction]:
    """The instructions of a Dockerfile."""
    lines = [line for line in file.read_text().splitlines() if not line.lstrip().startswith("#")]
    whole = re.sub(r"\\\n\s*", "", "\n".join(lines))
    found = [Instruction(*line.split(None, 1)) for line in whole.splitlines() if line.strip()]
    for one in found:
        if one.name not in _KNOWN:
            raise ValueError(f"not understood: {one.name}")
    return found


@dataclass
class Root:
    """A folder in which instructions are carried out.

    Attributes:
        folder: it.
        given: values of ARG.
        variables: environment so far.
        user: ``UID:GID``.
        place: working directory.
    """

    folder: Path
    given: dict[str, str] = field(default_factory=dict)
    variables: dict[str, str] = field(default_factory=lambda: {"PATH": "/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"})
    user: str = "0:0"
    place: str = "/"

    def do(self, one: Instruction) -> None:
        """Carry out one instruction."""
        if one.name == "ARG":
            self.variables |= {name: self.given.get(name, value) for name, value in one.pairs().items()}
        elif one.name == "ENV":
            old = self.variables
            self.variables = old | {name: value.replace("$PATH", old["PATH"]) for name, value in one.pairs().items()}
        elif one.name == "USER":
            self.user = one.text
        elif one.name == "WORKDIR":
            self.place = one.text
        elif one.name == "RUN":
            subprocess.run(self.entered(one.command(), one.mounts()), check=True, env=self.variables)

    def entered(self, command: str, mounts: list[tuple[str, str]]) -> list[str]:
        """The command line that gives `command` to a shell within the root, with the files of the build context."""
        steps = [f"mount -t proc proc {shlex.quote(str(self.folder / 'proc'))}"]
        for source, target in mounts:
            inside = shlex.quote(str(self.folder / target.lstrip("/")))
            make = "mkdir -p" if (ROOT / source).is_dir() else "touch"
            steps += [f"{make} {inside}", f"mount --bind {shlex.quote(str(ROOT / source))} {inside}"]
        entered = f"exec chroot --userspec={self.user} {shlex.quote(str(self.folder))}"
        steps.append(f"{entered} /bin/sh -c {shlex.quote(f'cd {self.place} && {command}')}")
        return ["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", " && ".join(steps)]


def main() -> int:
    """Carry out a Dockerfile."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--build-arg", action="append", default=[])
    options = parser.parse_args()
    root = Root(options.root.resolve(), dict(one.split("=", 1) for one in options.build_arg))
    for one in instructions(options.file):
        print(f"{one.name} {one.text[:100]}", flush=True)
        root.do(one)
    return 0


if __name__ == "__main__":
    sys.exit(main())
