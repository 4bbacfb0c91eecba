"""Sends what a run publishes, and what earlier runs owe, while the run goes on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import Self

from hdm_pipeline.delivery.parcel import is_settled, parcel_of
from hdm_pipeline.delivery.postman import Postman
from hdm_pipeline.options import SendSummary
from hdm_pipeline.output.deliveries import Deliveries, Lacking
from hdm_pipeline.output.layout import Workspace
from hdm_pipeline.output.ledger import Ledger
from hdm_pipeline.planning.routes import Route
from hdm_pipeline.reporting.events import Event, Listener, SceneDone

_POLL = 0.2
"""Seconds between two looks at whether the run is to stop."""


class Courier:
    """Hands scenes that are done to one thread a peer; a context manager. Its methods are for the run's thread.

    Args:
        routes: to the peers; without any, nothing is started.
        workspace: where products and the ledger lie.
        ledger: what is known of scenes; it is read only.
    """

    def __init__(self, routes: Sequence[Route], workspace: Workspace, ledger: Ledger) -> None:
        self._workspace, self._ledger = workspace, ledger
        self._news: SimpleQueue[Event] = SimpleQueue()
        self._postmen = [Postman(route, workspace, self._news.put) for route in routes]
        self._deliveries: Deliveries | None = None
        self._pool: ThreadPoolExecutor | None = None
        self._ended: list[Future[None]] = []

    def __enter__(self) -> Self:
        if self._postmen:
            self._deliveries = Deliveries(self._workspace.ledger)
            self._pool = ThreadPoolExecutor(len(self._postmen), thread_name_prefix="hdm-send")
            self._ended = [self._pool.submit(postman.run) for postman in self._postmen]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for postman in self._postmen:
            postman.stop()
        if self._pool is not None:
            # Whatever happened: who sends after the run's lock is given back meets the threads of the next run.
            self._pool.shutdown(wait=True)
        if self._deliveries is not None:
            self._deliveries.close()

    def catch_up(self, done: Iterable[str], vanished: Iterable[str]) -> int:
        """Offer what peers lack of scenes that earlier runs finished; returns how many deliveries that are.

        Args:
            done: ids of scenes whose products are as the pipeline asks.
            vanished: ids of scenes that are no longer in the archive. Of these a peer gets what it was to get when
                they were published.
        """
        done, vanished = set(done), set(vanished)
        return self._catch_up(lambda one: one.owed(done, vanished))

    def catch_up_asked(self) -> int:
        """The same where it is not known which scenes there are: of those that peers were to get when made."""
        return self._catch_up(lambda one: one.asked and one.status in ("done", "vanished"))

    def _catch_up(self, is_owed: Callable[[Lacking], bool]) -> int:
        if not self._postmen:
            return 0
        owed: dict[str, list[Postman]] = {}
        failed: set[str] = set()
        with Deliveries(self._workspace.ledger) as deliveries:
            for postman in self._postmen:
                for one in deliveries.lacking(postman.route.to, postman.route.products):
                    if is_owed(one):
                        owed.setdefault(one.scene, []).append(postman)
                        failed.update([one.scene] if one.failed else ())
            # What failed before comes last: it keeps nothing back that was never tried.
            order = sorted(owed, key=lambda scene: (scene in failed, scene))
            return sum(self._offer(scene, owed[scene], deliveries) for scene in order)

    def event(self, event: Event) -> None:
        """Take note of a scene that was published."""
        if isinstance(event, SceneDone) and self._deliveries is not None:
            self._offer(event.scene, self._postmen, self._deliveries)

    def _offer(self, scene: str, postmen: Sequence[Postman], deliveries: Deliveries) -> int:
        """Give a scene to those whose peers lack something of it; returns how many those are."""
        record, offered = self._ledger.scene(scene), 0
        for postman in postmen:
            route = postman.route
            parcel = None if record is None else parcel_of(record, route)
            if parcel is not None and not is_settled(parcel, deliveries.find(route.to, scene)):
                postman.offer(parcel)
                offered += 1
        return offered

    def tell_news(self, tell: Listener) -> None:
        """Tell what the threads have to say, in this thread."""
        while True:
            try:
                event = self._news.get_nowait()
            except Empty:
                return
            tell(event)

    def finish(self, should_stop: Callable[[], bool], tell: Listener) -> list[SendSummary]:
        """Wait until all is sent that can be, or `should_stop` says so.

        Returns:
            What became of it, by peer in the order of the pipeline file.
        """
        for postman in self._postmen:
            postman.close()
        while True:
            if should_stop():
                for postman in self._postmen:
                    postman.stop()
            if not wait(self._ended, timeout=_POLL).not_done:
                break
            self.tell_news(tell)
        for ended in self._ended:
            ended.result()
        self.tell_news(tell)
        return self.summaries()

    def abandon(self) -> list[SendSummary]:
        """Something else failed: end after the files that are on their way. Their news is still to be told.

        Returns:
            As `finish`.
        """
        for postman in self._postmen:
            postman.stop()
        wait(self._ended)
        return self.summaries()

    def summaries(self) -> list[SendSummary]:
        """What became of it, by peer in the order of the pipeline file; nothing yet, before anything is sent."""
        return [_summary(postman) for postman in self._postmen]


def _summary(postman: Postman) -> SendSummary:
    tally, route = postman.tally, postman.route
    return SendSummary(
        route.to, route.products, tally.sent, tally.files, tally.not_sent, tally.waiting, frozenset(tally.refused)
    )
