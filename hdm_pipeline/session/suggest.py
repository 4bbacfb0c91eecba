"""What to label next: windows that stand for much of the archive, look unlike the examples, and are unclear.

An even sample of windows is looked at with the network's backbone alone. Then windows are taken one by one, each the
one that comes nearest to most of what is far from all examples and from the windows taken before (facility location).
So an odd window that looks like nothing else is not taken first, and no two alike are. The less clear a window is, by
the last run or by a linear rule from the examples, the more it counts, up to twice (docs/decisions/studio.md).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from hdm_pipeline.contracts import SceneRef
from hdm_pipeline.errors import ArchiveError, HdmError, StoreError
from hdm_pipeline.grid import Window
from hdm_pipeline.session.looks import CellLook, Looks, label_shares, spread_windows, together
from hdm_pipeline.session.pictures import stored_scores
from hdm_pipeline.session.scenes import Scenes
from hdm_pipeline.session.values import Suggestion
from hdm_pipeline.store.scene import ScoreStore
from hdm_pipeline.support.examples import SupportExample

if TYPE_CHECKING:
    from hdm_pipeline.model.segmenter import FewShotSegmenter

Vectors = npt.NDArray[np.float32]

BUDGET = 256
"""Windows of an archive that are looked at."""

_LEAST_CELLS = 0.2
"""Share of a window's cells that must hold data."""

_LABELED = 0.5
"""What the worth of windows of a scene is multiplied by that is labelled already."""

_PENALTY = 0.1
"""Of the regression that tells target from background, beside the mean square of the features."""

_TRAINING_CELLS = 4096

_ALIKE = 0.5
"""A window stands for those that lie at most so much as far from it as from all that was known before."""

_DOUBTFUL = 0.35
"""From which mean uncertainty on a window is said to be unclear."""

_UNLIKE = 0.5
"""Unlikeness from which on a window is called unlike the examples."""

_COUNTED = 20
"""Below so many windows their number is told, not a percentage."""


@dataclass(frozen=True, eq=False)
class _Candidate:
    """A window that was looked at. `doubt`: of the last run there, 0..1; None without."""

    scene: str
    window: Window
    look: CellLook
    doubt: float | None


@dataclass(frozen=True, eq=False)
class _Choice:
    """A window that is suggested, with what is told of it."""

    candidate: _Candidate
    worth: float
    unlikeness: float
    doubt: float | None
    share: float


def suggest(
    scenes: Scenes,
    looks: Looks,
    segmenter: FewShotSegmenter,
    examples: Sequence[Sequence[SupportExample]],
    count: int = 20,
    *,
    labeled: Collection[str] = (),
    on_progress: Callable[[float], None] | None = None,
    stopped: Callable[[], bool] = lambda: False,
    budget: int = BUDGET,
) -> list[Suggestion]:
    """Windows that are worth labelling next, best first.

    Args:
        scenes: the archive.
        looks: remembers what was looked at before: then only the order is computed anew.
        segmenter: its backbone looks at the windows, at twice its reduction.
        examples: of each class; none at all is allowed.
        count: windows wanted; there may be fewer.
        labeled: ids of scenes that labels of the session lie on: their windows count half.
        on_progress: called with the share that is done, 0..1.
        stopped: asked before each scene; True ends the search with what was seen so far.
        budget: windows to look at. Of a larger archive an even sample is taken: ``measures`` of each suggestion say how
            many of how many scenes were looked at (``scenes_seen``, ``scenes``).

    Returns:
        ``measures`` also holds ``unlikeness`` (share of pairs of windows that are more alike than the window and the
        example nearest to it), ``uncertainty`` (mean over the window, by the last run if it is current, else by a
        linear rule from the examples; missing without) and ``share`` of the windows that it stands for, 0..1 each.

    Raises:
        ArchiveError: no scene could be looked at; says why the first could not.
    """
    refs = [ref for ref in scenes.refs() if not ref.remote]
    sample = _even(refs, budget)
    candidates: list[_Candidate] = []
    failed: list[HdmError] = []
    seen = 0
    for number, ref in enumerate(sample):
        if stopped():
            break
        try:
            candidates += _of_scene(scenes, looks, segmenter, ref, max(1, budget // len(sample)))
            seen += 1
        except HdmError as error:
            if error.scope == "run":
                raise
            failed.append(error)
        if on_progress is not None:
            on_progress((number + 1) / len(sample))
    if failed and not candidates:
        first = failed[0]
        raise ArchiveError(f"no scene can be looked at: {first.what}", where=first.where, remedy=first.remedy)
    if not candidates:
        return []
    known = [[(looks.example(segmenter, each), each) for each in of_class] for of_class in examples]
    doubts, by = _doubts(candidates, known)
    shown = [look for of_class in known for look, _ in of_class if len(look.cells)]
    found = _ranked(candidates, shown, doubts, count, labeled)
    facts = {"scenes_seen": seen, "scenes": len(refs), "windows_seen": len(candidates), "uncertainty_by": by}
    most_unlike = max((one.unlikeness for one in found), default=0.0) if shown else None
    return [_told(one, facts, most_unlike) for one in found]


def _even(refs: Sequence[SceneRef], most: int) -> list[SceneRef]:
    """At most so many scenes, spread over all."""
    return [refs[index * len(refs) // most] for index in range(most)] if len(refs) > most else list(refs)


def _of_scene(scenes: Scenes, looks: Looks, segmenter: FewShotSegmenter, ref: SceneRef, count: int) -> list[_Candidate]:
    """Windows of a scene that show enough."""
    header, record = scenes.header(ref.id), scenes.record(ref.id)
    store = None if record is None or not scenes.is_current(ref, record) else stored_scores(scenes.workspace, record)
    found = []
    for window in spread_windows(scenes.config, header, count):
        look = looks.window(segmenter, ref.id, window)
        if len(look.cells) > _LEAST_CELLS * look.shape[0] * look.shape[1]:
            doubt = None if store is None else _mean_doubt(store, window)
            found.append(_Candidate(ref.id, window, look, doubt))
    return found


def _mean_doubt(store: ScoreStore, window: Window) -> float | None:
    """How uncertain the last run was in a window, 0..1: the plain margin 1 - |2 p - 1| of the least certain class."""
    try:
        scores, valid = store.read_with_valid(window)
    except StoreError:  # a run does the scene anew right now
        return None
    margins = np.minimum(scores, 255 - scores).max(axis=0)[valid]
    return 2.0 * float(margins.mean()) / 255.0 if len(margins) else None


def _doubts(
    candidates: Sequence[_Candidate], known: Sequence[Sequence[tuple[CellLook, SupportExample]]]
) -> tuple[list[float | None], str]:
    """How uncertain each window is, 0..1, and who says so: ``run`` where all are of a run, else ``rule`` or nobody."""
    by_run = [one.doubt for one in candidates]
    if all(one is not None for one in by_run):
        return by_run, "run"
    rules = [rule for of_class in known if (rule := _rule(of_class)) is not None]
    if not rules:
        return [None] * len(candidates), ""
    found: list[float | None] = []
    for one in candidates:
        odds = np.stack([_with_one(one.look.cells) @ rule for rule in rules])
        found.append(float((1.0 - np.abs(odds).clip(0.0, 1.0)).max(axis=0).mean()))
    return found, "rule"


def _rule(of_class: Sequence[tuple[CellLook, SupportExample]]) -> Vectors | None:
    """[D + 1] a linear rule: 1 for cells of the class, -1 for others; None where the examples lack either."""
    cells = [_with_one(look.cells) for look, _ in of_class]
    shares = [label_shares(look, example.label) for look, example in of_class]
    if not cells or not all(sum(float(one[side].sum()) for one in shares) > 0 for side in (0, 1)):
        return None
    features, weights = np.concatenate(cells), np.concatenate(shares, axis=1)
    step = -(-len(features) // _TRAINING_CELLS)
    features, weights = features[::step], weights[:, ::step].astype(np.float64)
    weights = weights / weights.sum(axis=1, keepdims=True).clip(1e-9)  # both sides count alike
    moments = (features * weights.sum(axis=0)[:, None]).T @ features
    moments[np.diag_indices_from(moments)] += _PENALTY * moments.trace() / len(moments)
    rule: Vectors = np.linalg.solve(moments, features.T @ (weights[0] - weights[1]))
    return rule


def _with_one(cells: npt.NDArray[np.float16]) -> npt.NDArray[np.float64]:
    return np.concatenate([cells.astype(np.float64), np.ones((len(cells), 1))], axis=1)


def _ranked(
    candidates: Sequence[_Candidate],
    examples: Sequence[CellLook],
    doubts: Sequence[float | None],
    count: int,
    labeled: Collection[str],
) -> list[_Choice]:
    """Windows in the order in which they are taken.

    Args:
        candidates: all.
        examples: what is known already.
        doubts: of each candidate, where known.
        count: at most.
        labeled: scenes whose windows are worth less.
    """
    windows = together([one.look for one in candidates])
    middle = windows.mean(axis=0)
    windows = _unit(windows - middle)
    apart = 1.0 - windows @ windows.T
    pairs = np.sort(apart[np.triu_indices(len(apart), 1)]) if len(apart) > 1 else np.array([1.0])
    shown = _unit(together(examples) - middle) if examples else np.zeros((0, windows.shape[1]), np.float32)
    # Without an example all are equally far, farther than any two windows can be.
    far = (1.0 - windows @ shown.T).min(axis=1) if len(shown) else np.full(len(windows), 2.0)
    nearest, weights = far.copy(), 1.0 + _ranks(doubts)
    factor = np.array([_LABELED if one.scene in labeled else 1.0 for one in candidates])
    left, found, first = np.ones(len(windows), bool), [], 0.0
    for _ in range(min(count, len(candidates))):
        gains = (weights[:, None] * np.maximum(nearest[:, None] - apart, 0.0)).sum(axis=0) * factor
        gains[~left] = -1.0
        best = int(gains.argmax())
        if gains[best] <= 0.0:
            break
        first = first or float(gains[best])
        share = float((apart[:, best] < _ALIKE * nearest).mean())
        nearest = np.minimum(nearest, apart[:, best])
        left[best] = False
        unlike = float(np.searchsorted(pairs, far[best]) / len(pairs)) if len(shown) else 1.0
        found.append(_Choice(candidates[best], float(gains[best]) / first, unlike, doubts[best], share))
    return found


def _ranks(doubts: Sequence[float | None]) -> npt.NDArray[np.float64]:
    """[n] from 0 for the least doubtful to 1 for the most; 0 where nothing is known."""
    values = np.array([np.nan if one is None else one for one in doubts], dtype=np.float64)
    known = np.isfinite(values)
    ranks = np.zeros(len(values))
    ranks[known] = np.argsort(np.argsort(values[known], kind="stable")) / max(1, int(known.sum()) - 1)
    return ranks


def _unit(vectors: Vectors) -> Vectors:
    found: Vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True).clip(1e-6)
    return found


def _told(one: _Choice, facts: Mapping[str, Any], most_unlike: float | None) -> Suggestion:
    """A suggestion with its reason in words.

    Args:
        one: what is suggested.
        facts: measures that all suggestions share.
        most_unlike: greatest unlikeness among the suggestions; None without examples.
    """
    doubt = ", unclear" if one.doubt is not None and one.doubt >= _DOUBTFUL else ""
    reason = f"{_looks(one, most_unlike)}{doubt}; stands for {_stood_for(one.share, facts)}."
    measures = {"unlikeness": round(one.unlikeness, 4), "share": round(one.share, 4), **facts}
    if one.doubt is not None:
        measures["uncertainty"] = round(one.doubt, 4)
    return Suggestion(one.candidate.scene, one.candidate.window, round(one.worth, 4), reason, measures)


def _looks(one: _Choice, most_unlike: float | None) -> str:
    if most_unlike is None:
        return "Different from those before it"
    if most_unlike < _UNLIKE:
        return "The most different of what was looked at"
    return "Unlike your examples" if one.unlikeness >= _UNLIKE else "More like your examples"


def _stood_for(share: float, facts: Mapping[str, Any]) -> str:
    """How many windows look like one; a share of a handful of windows is told as a count."""
    seen = facts["windows_seen"]
    amount = f"{round(share * seen)} of {seen}" if seen < _COUNTED else f"{share:.0%} of"
    sample = f" in {facts['scenes_seen']} of {facts['scenes']} scenes" if facts["scenes_seen"] < facts["scenes"] else ""
    return f"{amount} windows{sample}"
