"""Random kill -9 for half an hour: `python -m tests.soak [--minutes 30] [--scenes 300] [--seed N]`.

A small archive is run inline, undisturbed. Then it is run again and again on a local cluster of three nodes, while the
driver, model actors, step actors and whole nodes are killed at random moments; a run that died is started again, as
cron would. When a run is through, every published byte must be that of the undisturbed run. The seed decides scenes
and the order of kills; which step a kill meets depends on the machine, too.

Exit code 0: all rounds published the same bytes. 1: bytes differ or scenes are missing; the folder is kept.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from tests.integration.conftest import KIT, Workbench, published, write_mask, write_scene
from tests.soak.victims import Victims

_PATIENCE = 900.0
"""Seconds that a round may take once nothing is killed any more."""


def make_archive(folder: Path, count: int, rng: random.Random) -> Workbench:
    """Scenes of one to some thirty tiles, supports and cheap weights."""
    from hdm_testkit.network import MeanColor

    from hdm_pipeline.model.checkpoints import save_weights

    for number in range(count):
        height, width = rng.randint(40, 330), rng.randint(40, 330)
        path = folder / "scenes" / f"scene-{number:04}.tif"
        write_scene(path, height, width, number, nodata_rows=rng.choice([0, 0, 30]))
    write_scene(folder / "support" / "chip.tif", 128, 128, 10_001)
    write_mask(folder / "support" / "chip_mask.tif", 128, 128, 10_001)
    weights = folder / "mean-color.safetensors"
    save_weights(MeanColor(), weights)
    return Workbench(folder, weights)


class Soak:
    """The rounds of one soak.

    Args:
        bench: the archive.
        scenes: how many scenes it holds.
        rng: decides when and whom to kill.
        seconds: until when processes are killed.
        pause: most seconds between two kills.
    """

    def __init__(self, bench: Workbench, scenes: int, rng: random.Random, seconds: float, pause: float) -> None:
        self._bench = bench
        self._scenes = scenes
        self._rng = rng
        self._pause = pause
        self._until = time.monotonic() + seconds
        self._expected = published(bench.root / "undisturbed")
        self.kills: Counter[str] = Counter()
        self.codes: Counter[int] = Counter()

    @property
    def over(self) -> bool:
        """Whether the time for killing is up."""
        return time.monotonic() >= self._until

    def round(self, name: str) -> list[str]:
        """Run the archive to its end under fire; returns what is wrong with the outcome."""
        with Victims(self._rng) as victims:
            execution = {"executor": "ray", "actors": 2, "threads": 1, "address": victims.address, "step_timeout": 120}
            file = self._bench.pipeline(name, execution=execution)
            code = -1
            while code != 0:
                if time.monotonic() > self._until + _PATIENCE:
                    return [f"{name}: not through {_PATIENCE:g} s after the last kill"]
                code = self._run(file, victims)
                self.codes[code] += 1
        return self._compare(name)

    def _run(self, file: Path, victims: Victims) -> int:
        """One start of the command; killing goes on at the same time."""
        # By bad luck kills meet one block twice, and its scene is suspected: such scenes are tried again.
        command = [sys.executable, "-m", "hdm_pipeline", "run", str(file), "--retry-quarantined", "--wait"]
        with (
            (file.parent / "driver.log").open("ab") as log,
            subprocess.Popen(command, stdout=log, stderr=log) as driver,
        ):
            next_kill = time.monotonic() + self._rng.uniform(0.5, self._pause)
            while driver.poll() is None:
                time.sleep(0.1)
                if not self.over and time.monotonic() >= next_kill:
                    killed = victims.kill_one(driver.pid)
                    next_kill = time.monotonic() + self._rng.uniform(0.5, self._pause)
                    self.kills.update([killed] if killed else [])
                if time.monotonic() > self._until + _PATIENCE:
                    driver.kill()
            return driver.returncode

    def _compare(self, name: str) -> list[str]:
        found = published(self._bench.root / name)
        wrong = [f"{name}: missing {path}" for path in sorted(self._expected.keys() - found.keys())]
        wrong += [f"{name}: not expected {path}" for path in sorted(found.keys() - self._expected.keys())]
        shared = sorted(self._expected.keys() & found.keys())
        wrong += [f"{name}: other bytes in {path}" for path in shared if found[path] != self._expected[path]]
        done = json.loads((self._bench.root / name / "run.json").read_text())["totals"]["done"]
        if done != self._scenes:
            wrong.append(f"{name}: run.json counts {done} scenes done, not {self._scenes}")
        return wrong


def main() -> int:
    """Soak and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--scenes", type=int, default=300)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1_000_000))
    parser.add_argument("--pause", type=float, default=8, help="most seconds between two kills; more on a busy machine")
    options = parser.parse_args()
    print(f"seed {options.seed}, {options.scenes} scenes, {options.minutes:g} minutes", flush=True)
    os.environ["PYTHONPATH"] = os.pathsep.join([str(KIT), os.environ.get("PYTHONPATH", "")])
    sys.path.insert(0, str(KIT))
    from hdm_pipeline.pipeline import Pipeline

    rng = random.Random(options.seed)
    folder = Path(tempfile.mkdtemp(prefix="hdm-soak-"))
    bench = make_archive(folder, options.scenes, rng)
    Pipeline.from_yaml(bench.pipeline("undisturbed")).run()
    soak = Soak(bench, options.scenes, rng, options.minutes * 60, options.pause)
    wrong: list[str] = []
    rounds = 0
    while not soak.over and not wrong:
        rounds += 1
        wrong = soak.round(f"round-{rounds}")
        kills = ", ".join(f"{count} {kind}" for kind, count in sorted(soak.kills.items()))
        print(f"round {rounds}: {'WRONG' if wrong else 'same bytes'}; killed so far: {kills or 'nobody'}", flush=True)
        if not wrong:
            shutil.rmtree(folder / f"round-{rounds}")
    print(f"{rounds} rounds, {soak.kills.total()} kills, exit codes of the runs: {dict(sorted(soak.codes.items()))}")
    if wrong:
        print("\n".join([*wrong, f"seed {options.seed}; everything is kept in {folder}"]))
        return 1
    shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
