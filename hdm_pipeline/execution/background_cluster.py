"""A Ray cluster that comes up beside other work: starting one takes seconds, most of them in other processes."""

from __future__ import annotations

import signal
import threading
from typing import TYPE_CHECKING

from hdm_pipeline.config.schema import Execution

if TYPE_CHECKING:
    from hdm_pipeline.execution.cluster import Shares


class BackgroundCluster:
    """Joined or started, and ended, in a thread of its own; made, asked and closed by one other thread.

    One thread for all of it, as Linux ends the processes of a local cluster when the thread ends that started them.
    """

    def __init__(self, config: Execution) -> None:
        self._config = config
        self._settled, self._end = threading.Event(), threading.Event()
        self._shares: Shares | None = None
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="hdm-cluster", daemon=True)
        self._thread.start()

    @property
    def settled(self) -> bool:
        """Whether it is up, or will never be."""
        return self._settled.is_set()

    def shares(self) -> Shares:
        """What each actor gets; waits until the cluster is up.

        Raises:
            ExecutionError: Ray cannot be reached or started, or has too few GPUs.
        """
        self._settled.wait()
        if self._error is not None:
            raise self._error
        assert self._shares is not None, "settled, with neither an error nor shares"
        return self._shares

    def close(self) -> None:
        """Leave the cluster, or end it if it was started here; waits for that, also where it is not up yet."""
        self._end.set()
        self._thread.join()

    def _run(self) -> None:
        # A terminal that is closed ends the run after what it works on, for which the cluster is still needed: its
        # processes inherit this.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
        try:
            # Here, as importing ray takes half a second, too.
            from hdm_pipeline.execution.cluster import cluster

            with cluster(self._config) as self._shares:
                self._settled.set()
                self._end.wait()
        except BaseException as error:  # noqa: BLE001 (raised again by `shares`, in the thread that can act on it)
            self._error = error
        self._settled.set()
