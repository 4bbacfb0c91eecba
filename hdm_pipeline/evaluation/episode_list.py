"""The list that `evaluate` and `adapt` read: one episode a line, JSON.

    {"task": "flood", "support": [{"image": "usa.tif", "mask": "usa_label.tif"}],
     "query": {"image": "nigeria.tif", "mask": "nigeria_label.tif"}, "scale": [-30, 0], "bands": [1, 2], "ignore": -1}

Paths are relative to the list. `scale` (what becomes 0 and what becomes 1: two numbers, or two for each channel),
`bands` (one-based channels, at most 32) and `ignore` (values of the masks that count nowhere) are optional and hold for
every episode of the task once one line says so. `ignore` may also stand beside a mask, for that mask alone.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from hdm_pipeline.config.example import ignored_values
from hdm_pipeline.config.schema import MAX_BANDS, Range
from hdm_pipeline.contracts import Labels, Pixels, Validity
from hdm_pipeline.errors import ConfigError, TrainingError
from hdm_pipeline.evaluation.images import EpisodeImage
from hdm_pipeline.evaluation.pairs import Tell, read_pair
from hdm_pipeline.pixels.scaling import example_ranges, scale_pixels

Ranges = tuple[Range, ...]
"""What becomes 0 and what becomes 1: one pair for each channel, or one pair for all."""

_EIGHT_BIT: Ranges = ((0.0, 255.0),)
_SAMPLED_PIXELS = 200_000

_MAX_COMPLAINTS = 20


@dataclass(frozen=True)
class ListedExample:
    """An image and its mask, and the values of the mask that count nowhere; None where nothing says so."""

    image: Path
    mask: Path
    ignore: tuple[int, ...] | None = None


@dataclass(frozen=True)
class ListedEpisode:
    """One query to segment by labelled examples.

    Attributes:
        task: the class that is looked for; figures are given for each task.
        support: the labelled examples, at least one.
        query: the image to segment and its truth.
        scale: the range of values, or None to find it from the examples.
        bands: one-based channels to use, or None.
        ignore: values that count nowhere in masks that do not name their own, or None.
        line: line of the list, for messages.
    """

    task: str
    support: tuple[ListedExample, ...]
    query: ListedExample
    scale: Ranges | None = None
    bands: tuple[int, ...] | None = None
    ignore: tuple[int, ...] | None = None
    line: int = 0

    @property
    def support_key(self) -> tuple[object, ...]:
        """Equal for episodes whose examples, range and channels are the same: they share a bank and an adaptation."""
        return (self.task, self.support, self.scale, self.bands)


@dataclass(frozen=True, eq=False)
class SupportSet:
    """The examples of an episode, read and scaled.

    Attributes:
        images: K arrays [C, y, x] float32 in 0..1; NaN where invalid.
        masks: K arrays [y, x] uint8, 1, 0 or 255; 255 also where the image is invalid.
        names: file names, for messages.
        scale: the range that was used, to be used for the queries too.
        bands: as in the episode.
    """

    images: tuple[Pixels, ...]
    masks: tuple[Labels, ...]
    names: tuple[str, ...]
    scale: Ranges
    bands: tuple[int, ...] | None


@dataclass(frozen=True, eq=False)
class Query:
    """The query of an episode, read and scaled: image [C, y, x] in 0..1, validity [y, x], truth [y, x] uint8.

    The truth is 1, 0 or 255; 255 also where the image is invalid: a run gives nodata there, which is neither right nor
    wrong.
    """

    image: Pixels
    valid: Validity
    truth: Labels


def read_episodes(path: Path) -> list[ListedEpisode]:
    """Read and check a list; no image is opened.

    Raises:
        ConfigError: names every bad line with what is wrong in it.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"episode list cannot be read: {error}", where=str(path), remedy="check the path") from error
    episodes, complaints = [], []
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            episodes.append(_parse(json.loads(line), path.parent, number))
        except json.JSONDecodeError as error:
            complaints.append(f"line {number}: not JSON: {error.msg} at column {error.colno}")
        except ValueError as error:
            complaints.append(f"line {number}: {error}")
    if complaints:
        shown = complaints[:_MAX_COMPLAINTS]
        more = [f"... and {len(complaints) - len(shown)} more"] if len(complaints) > len(shown) else []
        raise ConfigError(
            "episode list is wrong:\n  " + "\n  ".join(shown + more),
            where=str(path),
            remedy='a line is {"task", "support": [{"image", "mask"}], "query": {"image", "mask"}}',
        )
    if not episodes:
        raise ConfigError("episode list holds no episode", where=str(path), remedy="write one episode a line")
    return _share_settings(episodes)


def _nobody(line: str) -> None:
    """Told to nobody."""


def load_support(episode: ListedEpisode, *, tell: Tell = _nobody) -> SupportSet:
    """Read an episode's examples and find their range.

    Args:
        episode: of a list.
        tell: takes what is strange about the masks.

    Raises:
        TrainingError: a file cannot be used, sizes differ, or no example holds foreground.
    """
    pairs = [_read(example, episode.bands, tell) for example in episode.support]
    if not any((labels == 1).any() for _, labels in pairs):
        held = sorted({int(value) for _, labels in pairs for value in np.unique(labels)})
        raise TrainingError(
            f"no example of task {episode.task!r} holds foreground: the masks hold {held}",
            where=f"line {episode.line}: {episode.support[0].mask}",
            remedy="write the class as 1 in the masks; 255 means ignored",
        )
    images = [image for image, _ in pairs]
    scale = episode.scale or automatic_ranges(images)
    channels = images[0].pixels.shape[0]
    if len(scale) not in (1, channels) or any(image.pixels.shape[0] != channels for image in images):
        raise TrainingError(
            f"examples and scale of task {episode.task!r} differ in their number of channels",
            where=f"line {episode.line}",
            remedy='give two numbers as "scale", or a pair for each channel; name channels by "bands"',
        )
    return SupportSet(
        images=tuple(_scaled(image, scale, invalid=np.nan) for image in images),
        masks=tuple(labels for _, labels in pairs),
        names=tuple(example.image.name for example in episode.support),
        scale=scale,
        bands=episode.bands,
    )


def load_query(example: ListedExample, support: SupportSet, *, tell: Tell = _nobody) -> Query:
    """Read a query with the range of its examples.

    Args:
        example: the query of an episode.
        support: its examples.
        tell: takes what is strange about its mask.

    Raises:
        TrainingError: a file cannot be used, or its channels differ from the examples'.
    """
    image, labels = _read(example, support.bands, tell)
    expected = support.images[0].shape[0]
    if image.pixels.shape[0] != expected:
        raise TrainingError(
            f"query has {image.pixels.shape[0]} channels, its examples have {expected}",
            where=str(example.image),
            remedy='name the channels by "bands"',
        )
    return Query(_scaled(image, support.scale, invalid=0.0), image.valid, labels)


def _read(example: ListedExample, bands: tuple[int, ...] | None, tell: Tell) -> tuple[EpisodeImage, Labels]:
    return read_pair(example.image, example.mask, bands, example.ignore or (), tell=tell)


def automatic_ranges(supports: Sequence[EpisodeImage]) -> Ranges:
    """The ranges shared by the examples and the query of a task that names none.

    0..255 where every example is stored as uint8; otherwise percentiles of each channel over the valid pixels of all
    examples (`pixels.scaling.example_ranges`). The query has no say in it.

    Raises:
        TrainingError: the examples differ in their number of channels, or none has a valid pixel.
    """
    channels = {image.pixels.shape[0] for image in supports}
    if len(channels) != 1:
        raise TrainingError(
            f"the examples of one task differ in their number of channels: {sorted(channels)}",
            remedy='give the same channels of each image, by "bands" in the list',
        )
    if all(image.eight_bit for image in supports):
        return _EIGHT_BIT
    if not any(image.valid.any() for image in supports):
        raise TrainingError("no example of the task has a valid pixel", remedy="check the nodata value of the images")
    return example_ranges([_sample(image) for image in supports])


def _sample(image: EpisodeImage) -> Pixels:
    """[C, n] valid pixels, evenly spread, at most about `_SAMPLED_PIXELS`."""
    values = image.pixels[:, image.valid]
    return values[:, :: max(1, values.shape[1] // _SAMPLED_PIXELS)]


def _scaled(image: EpisodeImage, ranges: Ranges, *, invalid: float) -> Pixels:
    """[C, y, x] in 0..1, and what an invalid pixel is to be."""
    scaled = scale_pixels(image.pixels, ranges)
    scaled[:, ~image.valid] = invalid
    return scaled


def _parse(record: Any, folder: Path, line: int) -> ListedEpisode:
    if not isinstance(record, dict):
        raise ValueError("not an object")
    task = record.get("task")
    if not isinstance(task, str) or not task:
        raise ValueError('"task" must be a name')
    support = record.get("support")
    support = [support] if isinstance(support, dict) else support
    if not isinstance(support, list) or not support:
        raise ValueError('"support" must be a list of at least one {"image", "mask"}')
    return ListedEpisode(
        task=task,
        support=tuple(_example(entry, folder, f'"support" {i}') for i, entry in enumerate(support, start=1)),
        query=_example(record.get("query"), folder, '"query"'),
        scale=parse_scale(record.get("scale")),
        bands=parse_bands(record.get("bands", record.get("channels"))),
        ignore=parse_ignore(record.get("ignore")),
        line=line,
    )


def _example(entry: Any, folder: Path, what: str) -> ListedExample:
    if not isinstance(entry, dict):
        raise ValueError(f'{what} must be an object {{"image", "mask"}}')
    for key in ("image", "mask"):
        if not isinstance(entry.get(key), str) or not entry[key]:
            raise ValueError(f'{what} lacks the path "{key}"')
    return ListedExample(folder / entry["image"], folder / entry["mask"], parse_ignore(entry.get("ignore")))


def parse_scale(value: Any) -> Ranges | None:
    """A list's `scale`: [low, high], or one such pair for each channel; ValueError otherwise."""
    if value is None:
        return None
    try:
        pairs = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError):
        pairs = np.empty(0)
    pairs = pairs[None] if pairs.ndim == 1 else pairs
    if pairs.ndim != 2 or pairs.shape[1] != 2 or not np.isfinite(pairs).all() or not (pairs[:, 0] < pairs[:, 1]).all():
        raise ValueError('"scale" must be [low, high] with low < high, or one such pair for each channel')
    return tuple((float(low), float(high)) for low, high in pairs)


def parse_bands(value: Any) -> tuple[int, ...] | None:
    """A list's `bands`: 1 to 32 channel numbers counted from 1; ValueError otherwise."""
    if value is None:
        return None
    value = [value] if isinstance(value, int) else value
    good = isinstance(value, list) and 1 <= len(value) <= MAX_BANDS
    if not good or not all(isinstance(band, int) and band >= 1 for band in value):
        raise ValueError(f'"bands" must be 1 to {MAX_BANDS} channel numbers, counted from 1')
    return tuple(value)


def parse_ignore(value: Any) -> tuple[int, ...] | None:
    """A list's `ignore`: a value of masks, or several, as in a pipeline file; ValueError otherwise."""
    return None if value is None else ignored_values(value)


def _share_settings(episodes: list[ListedEpisode]) -> list[ListedEpisode]:
    """Let a `scale`, `bands` or `ignore` given on one line of a task hold for its other lines."""
    scales: dict[str, Ranges] = {}
    bands: dict[str, tuple[int, ...]] = {}
    ignored: dict[str, tuple[int, ...]] = {}
    for episode in episodes:
        if episode.scale is not None:
            scales.setdefault(episode.task, episode.scale)
        if episode.bands is not None:
            bands.setdefault(episode.task, episode.bands)
        if episode.ignore is not None:
            ignored.setdefault(episode.task, episode.ignore)

    def shared(episode: ListedEpisode) -> ListedEpisode:
        ignore = ignored.get(episode.task) if episode.ignore is None else episode.ignore
        return replace(
            episode,
            support=tuple(_ignoring(example, ignore) for example in episode.support),
            query=_ignoring(episode.query, ignore),
            scale=episode.scale or scales.get(episode.task),
            bands=episode.bands or bands.get(episode.task),
            ignore=ignore,
        )

    return [shared(episode) for episode in episodes]


def _ignoring(example: ListedExample, ignore: tuple[int, ...] | None) -> ListedExample:
    return example if example.ignore is not None else replace(example, ignore=ignore)
