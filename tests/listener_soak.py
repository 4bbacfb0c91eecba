"""Many associations at once, and a listener that is killed while they send: is anything acknowledged and lost?"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset

from tests.dicom_series import make_slice, uid
from tests.listening import ListenerProcess, Sender, stored_uids


@dataclass(frozen=True)
class Soak:
    """What was seen.

    Attributes:
        sent: different instances.
        acknowledged: of them, by status 0.
        found: of them, in the inbox, whole.
        lost: acknowledged and not found.
        twice: found more than once.
        kills: of the listener.
        associations: that were established altogether.
        seconds: from the first instance to the last acknowledgement, restarts included.
    """

    sent: int
    acknowledged: int
    found: int
    lost: int
    twice: int
    kills: int
    associations: int
    seconds: float


def instances(sender: int, count: int) -> list[Dataset]:
    """Small instances of two studies; neighbouring senders share one of them."""
    rng = np.random.default_rng(sender)
    made: list[Dataset] = []
    for index in range(count):
        pixels = rng.integers(0, 4000, (16, 16), dtype=np.uint16)
        dataset = make_slice(index, pixels, series=f"series {sender},", position=(0, 0, index))
        dataset.StudyInstanceUID = uid("study,", (sender + index % 2) // 2)
        dataset.SeriesInstanceUID = uid("series", sender, ",", index % 2)
        made.append(dataset)
    return made


def soak(pipeline: Path, inbox: Path, port: int, *, senders: int, count: int, kills: int, seconds: float) -> Soak:
    """Send `count` instances over `senders` associations at once; kill the listener `kills` times meanwhile.

    Args:
        pipeline: with `listen: {receive: {dicom: {port: PORT, plain: true}}}` and a quiet time longer than all this.
        inbox: its inbox.
        port: of the listener.
        senders: associations at once.
        count: instances altogether.
        kills: evenly spread over the acknowledgements.
        seconds: after which senders give up.
    """
    each = count // senders
    threads = [Sender(port, instances(number, each), seconds=seconds) for number in range(senders)]
    sent = senders * each
    start = time.monotonic()
    for kill in range(kills + 1):
        with ListenerProcess(pipeline) as listener:
            if kill == 0:
                start = time.monotonic()
                for thread in threads:
                    thread.start()
            wanted = sent * (kill + 1) // (kills + 1)
            while _acknowledged(threads) < wanted and any(thread.is_alive() for thread in threads):
                time.sleep(0.02)
            if kill < kills:
                listener.kill()
            else:
                for thread in threads:
                    thread.join()
                took = time.monotonic() - start
    acknowledged = {name for thread in threads for name in thread.acknowledged}
    found = stored_uids(inbox)
    return Soak(
        sent,
        len(acknowledged),
        len(found),
        len(acknowledged - found.keys()),
        sum(number > 1 for number in found.values()),
        kills,
        sum(thread.associations for thread in threads),
        took,
    )


def _acknowledged(threads: list[Sender]) -> int:
    return sum(len(thread.acknowledged) for thread in threads)
