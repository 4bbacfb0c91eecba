"""How the threads of the network wait for each other: a moment awake, then asleep.

GNU's OpenMP, which torch computes with on Linux, lets a thread that waits for the others spin for milliseconds. Where
other programs want the processors (the processes of a starting Ray, the examples beside the first scenes, whatever else
a laptop does), the thread that all wait for cannot run, and the others burn the time that it needs:
docs/decisions/first-minute.md.
"""

from __future__ import annotations

import os

SPINS = "3000"
"""Some 0.1 ms: longer than from one operation of a network to the next, shorter than the kernel's slice of time."""

_CHOICES = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")


def wait_asleep() -> None:
    """Let threads of OpenMP in this process, and in those that it starts, sleep soon where they wait.

    Does nothing where torch is loaded already, which has read the environment, or where the user has chosen.
    """
    if not any(name in os.environ for name in _CHOICES):
        os.environ["GOMP_SPINCOUNT"] = SPINS
