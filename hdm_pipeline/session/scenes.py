"""The scenes of an archive, and what the last run made of them, as a page lists them.

Listing reads the ledger (also while a run writes to it) and opens no scene; the archive is looked through once, and
again on `Scenes.refresh`. Dates come from headers, which a thread of its own reads one after the other.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, get_args

from hdm_pipeline.config.schema import PipelineConfig
from hdm_pipeline.contracts import Reader, SceneHeader, SceneRef, SceneWarning
from hdm_pipeline.errors import ConfigError, HdmError, NoSuchSceneError, PeerError, SceneError
from hdm_pipeline.output.layout import Workspace
from hdm_pipeline.output.ledger import Ledger, SceneRecord
from hdm_pipeline.output.lock import holder, run_state
from hdm_pipeline.output.manifest import presence
from hdm_pipeline.planning import contents, uncertainty
from hdm_pipeline.planning.archive import Archive, Products, discover
from hdm_pipeline.planning.keys import SceneKeyring, SceneKeys
from hdm_pipeline.planning.plan import fingerprints, standing
from hdm_pipeline.session.dates import Dates
from hdm_pipeline.session.file_names import file_name, holds
from hdm_pipeline.session.troubles import Troubles
from hdm_pipeline.session.values import SceneState, State
from hdm_pipeline.support.examples import support_files
from hdm_pipeline.support.remote import borrowed_examples

Order = Literal["id", "uncertainty", "area", "date"]
"""What scenes are listed by: ids ascending, the others with the largest or latest first and unknown ones last."""

_HEADERS = 256
"""Headers that are kept."""


class Scenes:
    """The archive of a pipeline. May be used by several threads.

    Args:
        config: the pipeline, with absolute paths.
        workspace: its output directory, which need not be there.
        reader: of the archive.

    Attributes:
        config: as it is now; see `use`.
        problem: why no scene can be told to be done: an example or the weights are missing, say; None if all is well.
        troubles: scenes that could not be read.
    """

    def __init__(self, config: PipelineConfig, workspace: Workspace, reader: Reader) -> None:
        self.config = config
        self.workspace = workspace
        self.reader = reader
        self.problem: HdmError | None = None
        self._lock = threading.RLock()
        self._hashing = threading.Lock()  # taken before the other one
        self._archive: Archive | None = None
        self._refs: dict[str, SceneRef] = {}
        self._weights = ""
        self._keyring: SceneKeyring | None = None
        self._keys: dict[tuple[str, str], SceneKeys] = {}
        self._stale = True
        self._headers: OrderedDict[SceneRef, SceneHeader] = OrderedDict()
        self.troubles = Troubles()
        self._dates = Dates(self.refs, reader, self.troubles)

    def use(self, config: PipelineConfig) -> None:
        """Go on with a pipeline file that has changed; the archive is looked through again if `input` has."""
        with self._lock:
            other_input = config.input != self.config.input
            if config.model != self.config.model:
                self._weights = ""
            self.config = config
            self._stale = True
            if other_input:
                self._archive = None
                self._headers.clear()
                self.troubles.forget()

    def supports_changed(self, files: Collection[Path] | None = None) -> None:
        """Files of examples may have changed: they are hashed again before the next listing.

        Args:
            files: labels that were written; of interest only where the pipeline file names one of them. None: any.
        """
        with self._lock:
            classes = self.config.support.classes
            named = {each.labels or each.mask for one in classes for each in one.examples}
            self._stale |= files is None or not {os.path.realpath(one) for one in files}.isdisjoint(
                os.path.realpath(one) for one in named if one
            )

    def refresh(self) -> None:
        """Look through the archive again, and hash examples and weights again.

        Raises:
            ArchiveError: there is no scene, or there are two of one name; what was known before stays.
        """
        with self._lock:
            self._weights, self._stale = "", True
            self._discover()
            self.troubles.forget()

    def close(self) -> None:
        """Stop reading dates."""
        self._dates.stop()

    def archive(self) -> Archive:
        """What the archive holds, and what was left out of it.

        Raises:
            ArchiveError: there is no scene, or there are two of one name.
        """
        with self._lock:
            return self._archive or self._discover()

    def refs(self) -> tuple[SceneRef, ...]:
        """The scenes, by id; raises as `archive`."""
        return self.archive().scenes

    def ref(self, scene: str) -> SceneRef:
        """A scene.

        Raises:
            NoSuchSceneError: there is none of that id.
        """
        with self._lock:
            self.archive()
            if scene not in self._refs:
                raise NoSuchSceneError(
                    "there is no such scene", where=f"scene {scene!r}", remedy="look through the archive again"
                )
            return self._refs[scene]

    def header(self, scene: str) -> SceneHeader:
        """The header of a scene; kept, as long as the archive has the same file.

        Raises:
            NoSuchSceneError: there is no scene of that id.
            ReadError: it cannot be read, or lies on another machine.
        """
        ref = self.ref(scene)
        with self._lock:
            if (known := self._headers.get(ref)) is not None:
                self._headers.move_to_end(ref)
                return known
        require_local(ref)
        try:
            header = self.reader.header(ref)
        except SceneError as error:
            self.troubles.learn(ref, error)
            raise
        with self._lock:
            self._headers[ref] = header
            while len(self._headers) > _HEADERS:
                self._headers.popitem(last=False)
        self._dates.learn(header)
        return header

    def states(self, labeled: Collection[str] = ()) -> list[SceneState]:
        """Every scene as it is now, by id.

        Args:
            labeled: ids of scenes that labels of the session lie on.

        Raises:
            ArchiveError: as `archive`.
            LedgerError: the ledger is damaged, or of a newer version.
        """
        self.archive()
        self._hash()
        with self._lock, Ledger.open_readonly_or_empty(self.workspace.ledger) as ledger:
            records = {record.id: record for record in ledger.scenes()}
            running = self._run_is_going_on()
            found = [
                self._state(replace(ref, id=name), records.get(name), running, labeled)
                for ref in self.refs()
                for name in self._names(ref, ledger)
            ]
        self._dates.start()
        return sorted(found, key=lambda state: state.id)

    def state(self, scene: str, labeled: Collection[str] = ()) -> SceneState:
        """One scene as it is now; raises as `states` and `ref`."""
        ref = self.ref(scene)
        self._hash()
        with self._lock, Ledger.open_readonly_or_empty(self.workspace.ledger) as ledger:
            return self._state(ref, ledger.scene(scene), self._run_is_going_on(), labeled)

    def record(self, scene: str) -> SceneRecord | None:
        """What the ledger knows of a scene; None before a run."""
        with Ledger.open_readonly_or_empty(self.workspace.ledger) as ledger:
            return ledger.scene(scene)

    # ------------------------------------------------------------------ the archive

    def _discover(self) -> Archive:
        with Ledger.open_readonly_or_empty(self.workspace.ledger) as ledger:
            found = discover(self.config, self.reader, Products(self.workspace, ledger), quiet=True)
        self._archive = found
        self._refs = {ref.id: ref for ref in found.scenes}
        self._keys.clear()
        self._dates.stop()
        return found

    def _names(self, ref: SceneRef, ledger: Ledger) -> Sequence[str]:
        """What an entry of the archive is listed as: one that was fetched may be known to hold other scenes."""
        if not ref.remote or self._keyring is None:
            return (ref.id,)
        held = contents.known(ledger, self.config, ref.id, self._keyring.keys(ref))
        return (ref.id,) if held is None else held.parts

    # ------------------------------------------------------------------ what the run made of it

    def _hash(self) -> None:
        """Bring the keys up to date: a scene is done only if it was made of these very examples and weights.

        To be called without the lock: files are read, and nothing else is to wait for that.
        """
        with self._hashing:
            with self._lock:
                if not self._stale:
                    return
                self._stale = False
                config, weights = self.config, self._weights
            keyring: SceneKeyring | None = None
            problem: HdmError | None = None
            try:
                with borrowed_examples(config, self.reader, self.workspace.examples) as local:
                    prints = fingerprints(local, support_files(local), self.reader, weights)
                weights = prints.weights
                keyring = SceneKeyring(config, prints, uncertain=uncertainty.asked(config))
            except (ConfigError, PeerError) as error:
                problem = error
            except BaseException:
                self.supports_changed()
                raise
            with self._lock:
                self._keys.clear()
                self._keyring, self.problem = keyring, problem
                if not self._stale:  # else something has changed meanwhile, weights perhaps
                    self._weights = weights

    def keys(self, ref: SceneRef, kept: str) -> SceneKeys | None:
        """What work on a scene is filed under now; None where nobody knows (`problem`).

        Args:
            ref: the scene.
            kept: `SceneRecord.score_key` of earlier work on it; may be empty.
        """
        self._hash()
        return self._hashed_keys(ref, kept)

    def _hashed_keys(self, ref: SceneRef, kept: str) -> SceneKeys | None:
        """`keys` by what was hashed last."""
        with self._lock:
            if self._keyring is None:
                return None
            known = self._keys.get((ref.id, kept))
            if known is None:
                known = self._keys[ref.id, kept] = self._keyring.keys(ref, kept)
            return known

    def is_current(self, ref: SceneRef, record: SceneRecord) -> bool:
        """Whether the scores of a scene that is done were made with the present examples, weights and pixels."""
        keys = self.keys(ref, record.score_key)
        return keys is not None and record.status == "done" and record.score_key == keys.score

    def _run_is_going_on(self) -> bool:
        return run_state("", holder(self.workspace.lock_place)) == "running"

    def _state(self, ref: SceneRef, record: SceneRecord | None, running: bool, labeled: Collection[str]) -> SceneState:
        date = self._dates.known.get(ref, "")
        state: State = "new" if record is None else self._stands(ref, record, running)
        trouble = self.troubles.of(ref) if state == "new" else None
        state = state if trouble is None else "unreadable"
        if record is None:
            error = trouble or {}
            return SceneState(ref.id, state, error=error, date=date, labeled=ref.id in labeled, name=file_name(ref))
        info = record.info
        return SceneState(
            ref.id,
            state,
            error={name: str(value) for name, value in (trouble or record.error or {}).items()},
            warnings=_warnings(info.get("warnings", ())),
            date=date,
            measures=_measures(info),
            uncertainty=_mean_uncertainty(info),
            outputs=record.outputs,
            labeled=ref.id in labeled,
            name=file_name(ref),
        )

    def _stands(self, ref: SceneRef, record: SceneRecord, running: bool) -> State:
        """A state in one word. What did not come is tried again by the next run, but is quarantined till then."""
        keys = self._hashed_keys(ref, "" if self.config.output.keep == "nothing" else record.score_key)
        current = keys is None or record.product_key == keys.product
        if record.status == "quarantined" and current:
            return "quarantined"
        if record.status == "running" and current and running:
            return "running"
        done = keys is not None and standing(self.config, presence(self.workspace), record, keys) == "done"
        return "done" if done else "new"


def require_local(ref: SceneRef) -> None:
    """Refuse a scene that lies on another machine.

    Raises:
        SceneError: it does.
    """
    if ref.remote:
        raise SceneError(
            "the scene lies on another machine and is fetched only by a run",
            where=f"scene {ref.shown}",
            remedy="copy it here to look at it: download it to a folder, and name that as input.uri",
        )


def chosen(scenes: Iterable[SceneState], *, state: str = "", text: str = "", sort: str = "id") -> list[SceneState]:
    """Scenes of a state whose id or file's name holds a text, in an order (`Order`).

    Args:
        scenes: all.
        state: one of `State`, ``warnings`` for those with warnings, ``labeled``; empty for all.
        text: part of the id, or of the file's own name, in any case.
        sort: one of `Order`.

    Raises:
        ConfigError: there is no such state or order.
    """
    if state not in ("", "warnings", "labeled", *get_args(State)):
        raise ConfigError(f"no scene is {state!r}", where="state", remedy=f"choose among {', '.join(get_args(State))}")
    if sort not in get_args(Order):
        raise ConfigError(f"scenes have no {sort!r}", where="sort", remedy=f"choose among {', '.join(get_args(Order))}")
    found = [one for one in scenes if _is(one, state) and (holds(one.id, text) or holds(one.name, text))]
    by_id = sorted(found, key=lambda scene: scene.id)
    if sort == "id":
        return by_id
    if sort == "date":  # the latest first; sorting is stable, also in reverse
        return sorted(by_id, key=lambda scene: scene.date, reverse=True)
    return sorted(by_id, key=lambda scene: -_amount(scene, sort))


def _is(scene: SceneState, state: str) -> bool:
    if state == "warnings":
        return bool(scene.warnings)
    return scene.labeled if state == "labeled" else state in ("", scene.state)


def _amount(scene: SceneState, what: str) -> float:
    """What is sorted by: the area of all classes in m² or, without coordinates, in pixels; -1 where it is unknown."""
    if what == "uncertainty":
        return -1.0 if scene.uncertainty is None else scene.uncertainty
    amounts = [one.get("area_m2", one.get("volume_ml", one.get("pixels", 0.0))) for one in scene.measures.values()]
    return sum(amounts) if amounts else -1.0


def _warnings(given: Iterable[Any]) -> tuple[SceneWarning, ...]:
    return tuple(
        SceneWarning(
            str(one.get("kind", "")), str(one.get("what", "")), str(one.get("remedy", "")), bool(one.get("suspect"))
        )
        for one in given
        if isinstance(one, dict)
    )


def _measures(info: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """By class what `run.json` has by measure."""
    found: dict[str, dict[str, float]] = {name: {} for name in info.get("pixels") or ()}
    for what in ("pixels", "area_m2", "volume_ml"):
        for name, value in (info.get(what) or {}).items():
            found[name][what] = float(value)
    return found


def _mean_uncertainty(info: Mapping[str, Any]) -> float | None:
    """Of all class areas together, 0..1."""
    pixels = info.get("pixels") or {}
    told = info.get("uncertainty") or {}
    known = [(float(value), float(pixels[name])) for name, value in told.items() if value is not None]
    total = sum(weight for _, weight in known)
    return sum(value * weight for value, weight in known) / total if total else None
