"""When a scene was taken, as far as anything says so. What nothing says is unknown, never guessed.

Asked in this order:

1. the option ``date`` of the reader: how a date stands in the scene's name, such as ``s1_%Y%m%d``
2. the file's IMAGERY metadata (``ACQUISITIONDATETIME``), which GDAL fills from vendors' metadata files
3. a name of Sentinel-1, Sentinel-2, Sentinel-3 or Landsat: the scene's, or that of the files of its bands
4. the tag ``TIFFTAG_DATETIME``: strictly the date of the file, which many programs use for that of the picture
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from hdm_pipeline.errors import ConfigError

_FIELDS = {"Y": r"\d{4}", "m": r"\d{2}", "d": r"\d{2}", "H": r"\d{2}", "M": r"\d{2}", "S": r"\d{2}", "j": r"\d{3}"}

_START = r"(?<![A-Za-z0-9])"
_NAMES = (
    # Sentinel products: S1A_IW_GRDH_1SDV_20240602T052345_20240602T052410_..., S2B_MSIL2A_20240602T101031_...
    (re.compile(_START + r"S[123][A-D]_(?:[A-Z0-9_]*?_)?(\d{8}T\d{6})(?:_(\d{8}T\d{6})(?=_\d{6}_))?"), "%Y%m%dT%H%M%S"),
    # Sentinel-2 tiles: T32UQD_20240602T101031, L2A_T32UQD_A046..._20240602T101031, S2B_32UQD_20240602_0_L2A
    (re.compile(_START + r"T\d{2}[A-Z]{3}_(?:A\d{6}_)?(\d{8}T\d{6})"), "%Y%m%dT%H%M%S"),
    (re.compile(_START + r"T\d{2}[A-Z]{3}_(\d{8})(?![0-9T])"), "%Y%m%d"),
    (re.compile(_START + r"S2[A-D]_\d{1,2}[A-Z]{3}_(\d{8})_\d+_L[12]"), "%Y%m%d"),
    # Landsat collections: LC08_L2SP_193024_20240602_20240610_02_T1
    (re.compile(_START + r"L[COTEM]0[1-9]_L[12][A-Z]{2}_\d{6}_(\d{8})(?!\d)"), "%Y%m%d"),
)
_YEARS = range(1970, 2101)
"""Years that an image of a satellite may be of."""

_DAY = timedelta(days=1, seconds=-1)
"""From the first second of a day to its last."""

FILE_TAG = "the file's tag TIFFTAG_DATETIME"
"""`Acquisition.source` where nothing better than the date of the file is known."""

_TIFF = re.compile(r"\d{4}:\d{2}:\d{2}[ T]\d{2}:\d{2}:\d{2}")


@dataclass(frozen=True)
class Acquisition:
    """When a scene was taken.

    Attributes:
        start: begin, or the instant, in UTC.
        end: the end, or `start` again.
        source: what says so, for people.
    """

    start: datetime
    end: datetime
    source: str

    def attributes(self) -> dict[str, str]:
        """As `SceneHeader.attributes` carry it: ``datetime``, with ``start_datetime`` and ``end_datetime`` if not one
        instant, and ``datetime_source``."""
        found = {"datetime": text(self.start), "datetime_source": self.source}
        if self.end != self.start:
            found |= {"start_datetime": text(self.start), "end_datetime": text(self.end)}
        return found


def text(moment: datetime) -> str:
    """A moment as RFC 3339 in UTC, to the second, or finer where it is."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def acquisition(
    name: str,
    tags: Mapping[str, str],
    imagery: Mapping[str, str],
    pattern: str | None = None,
    files: str = "",
) -> Acquisition | None:
    """When a scene was taken; None where nothing says so.

    Args:
        name: of the scene.
        tags: of the file.
        imagery: metadata of GDAL's domain ``IMAGERY``.
        pattern: how the date stands in the name (`compiled`); nothing else is asked where the name has it.
        files: what the names of its files tell (`date_of_name`), where the scene is called otherwise.
    """
    if pattern is not None and (match := compiled(pattern).search(name)):
        found = _from_groups(match.groupdict())
        if found is not None:
            return Acquisition(*found, f"the scene's name, as {pattern}")
    told = _moment(imagery.get("ACQUISITIONDATETIME", ""), ("%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S"))
    if told is not None:
        return Acquisition(told, told, "the file's metadata, ACQUISITIONDATETIME")
    if (known := _by_product(name)) is not None:
        return Acquisition(*known, "the scene's name")
    if files:
        start = datetime.fromisoformat(files).replace(tzinfo=UTC)
        return Acquisition(start, start if "T" in files else start + _DAY, "the names of its files")
    value = tags.get("TIFFTAG_DATETIME", "").strip()
    told = _moment(value.replace("T", " "), ("%Y:%m:%d %H:%M:%S",)) if _TIFF.fullmatch(value) else None
    return None if told is None else Acquisition(told, told, FILE_TAG)


def date_of_name(name: str) -> str:
    """When a product of Sentinel or Landsat was taken, by its name; empty for other names, and for what is no date.

    ``2022-01-26T10:03:21Z``, or the day alone where the name tells no more.
    """
    known = _by_product(name)
    if known is None:
        return ""
    start, end = known
    return start.date().isoformat() if end - start == _DAY else text(start)


def _by_product(name: str) -> tuple[datetime, datetime] | None:
    for expression, form in _NAMES:
        if (match := expression.search(name)) and (start := _moment(match[1], (form,))) is not None:
            last = match.lastindex or 1
            end = (_moment(match[last], (form,)) if last > 1 else _end(start, form)) or start
            if start.year in _YEARS:
                return start, max(start, end)
    return None


def misfit(name: str, pattern: str | None) -> str:
    """Why a pattern of the user's tells no date of a scene; empty if it does, or if there is none.

    Empty also for a name without digits enough for a date: the pattern is meant for other scenes, not mistyped.
    """
    if pattern is None:
        return ""
    match = compiled(pattern).search(name)
    if match is None:
        if not _may_hold_a_date(name, 7 if "%j" in pattern else 8):
            return ""
        return f"the date option, {pattern!r}, does not fit the scene's name"
    if _from_groups(match.groupdict()) is None:
        return f"{match[0]!r} in the scene's name fits the date option, {pattern!r}, but is not a real date"
    return ""


def _may_hold_a_date(name: str, digits: int) -> bool:
    """Whether so many digits follow one another, with at most one sign that is no letter between two of them."""
    return re.search(rf"[0-9](?:[^A-Za-z0-9]?[0-9]){{{digits - 1}}}", name) is not None


def compiled(pattern: str) -> re.Pattern[str]:
    """A pattern such as ``s1_%Y%m%d*`` as an expression to be searched for.

    ``%Y %m %d %j %H %M %S`` are as `datetime.strptime` has them, ``*`` is anything.

    Raises:
        ConfigError: it has no year, no day, or anything else behind a per cent sign.
    """
    parts, seen = [], set()
    for piece in re.findall(r"%.?|\*|[^%*]+", pattern):
        if piece == "*":
            parts.append(".*?")
        elif not piece.startswith("%"):
            parts.append(re.escape(piece))
        elif piece[1:] in _FIELDS and piece[1:] not in seen:
            seen.add(piece[1:])
            parts.append(f"(?P<{piece[1:]}>{_FIELDS[piece[1:]]})")
        else:
            raise _unusable(pattern, f"{piece!r} means nothing here, or stands twice")
    if not {"Y", "m", "d"} <= seen and not {"Y", "j"} <= seen:
        raise _unusable(pattern, "it names no full date")
    return re.compile("".join(parts))


def _unusable(pattern: str, what: str) -> ConfigError:
    remedy = (
        "write how the date stands in the names of the scenes, such as 's1_%Y%m%d' (%Y %m %d %j %H %M %S, * for any)"
    )
    return ConfigError(f"{pattern!r} cannot find dates: {what}", where="geotiff reader option date", remedy=remedy)


def _from_groups(groups: Mapping[str, Any]) -> tuple[datetime, datetime] | None:
    names = [name for name in groups if groups[name] is not None]
    form = " ".join(f"%{name}" for name in names)
    start = _moment(" ".join(groups[name] for name in names), (form,))
    return None if start is None else (start, _end(start, form))


def _end(start: datetime, form: str) -> datetime:
    """The last second of what a form tells: a date without an hour is the whole day."""
    if "%H" not in form:
        return start + _DAY
    return start if "%M" in form else start + timedelta(hours=1, seconds=-1)


def _moment(value: str, forms: tuple[str, ...]) -> datetime | None:
    for form in forms:
        try:
            return datetime.strptime(value.strip(), form).replace(tzinfo=UTC)
        except ValueError:
            continue
    return None
