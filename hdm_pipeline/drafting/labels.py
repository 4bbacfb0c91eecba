"""Labels wired into a draft: which features, values or segments are the class, and which images they lie on."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from hdm_pipeline.config.example import VECTOR_SUFFIXES
from hdm_pipeline.contracts import DraftingReader, LabelChoice, Reader, SupportRequest, VectorLabelReader, VectorLabels
from hdm_pipeline.contracts import Selection as Features
from hdm_pipeline.drafting.look import Look
from hdm_pipeline.errors import ConfigError, HdmError, SupportError

MOST_EXAMPLES = 5
"""Examples that a draft names; more add little, and each takes time."""

_MOST_IMAGES = 500
"""Images that are asked whether something is drawn on them."""

_RASTERS = (".tif", ".tiff", ".jp2")
_NO_DIFFERENCE = re.compile(
    r"[^a-z0-9]+|(?<![a-z])(?:mask|masks|label|labels|gt|truth|seg|annotation|image|img|images)(?![a-z])"
)


@dataclass(frozen=True)
class Wired:
    """What stands under `support.classes.0.examples`.

    Attributes:
        examples: as in the file, paths as they were found.
        notes: what a person should know of them, for comments.
    """

    examples: list[dict[str, Any]]
    notes: list[str] = field(default_factory=list)


def label_files(labels: str) -> list[str]:
    """The files that labels are named by: one, or those of a pattern or of a folder.

    Raises:
        SupportError: there are none.
    """
    if os.path.isdir(labels):
        inside = sorted(os.path.join(labels, name) for name in os.listdir(labels) if not name.startswith("."))
        rasters = [path for path in inside if path.lower().endswith(_RASTERS)]
        masks = [path for path in rasters if _words(path) != _plain(path)]
        found = masks or rasters or [path for path in inside if os.path.isfile(path)]
    elif os.path.exists(labels):
        found = [labels]
    else:
        found = sorted(glob.glob(labels))
    if not found:
        raise SupportError("no file of labels is there", where=labels, remedy="check the path given as --labels")
    return found


def choices_of(look: Look, file: str) -> list[LabelChoice]:
    """What a file of labels holds.

    Raises:
        SupportError: it holds no labels, or the reader cannot tell.
    """
    return cast(DraftingReader, look.opened).label_choices(file)


def matching(choices: Sequence[LabelChoice], class_name: str, value: str | None) -> list[LabelChoice]:
    """Choices that may be meant, best first: those called as the class; else those of a mask that shows one thing.

    Args:
        choices: what the file holds.
        class_name: what the user calls the class.
        value: what the user says it is called in the file, if anything.
    """
    wanted = (value if value is not None else class_name).strip().casefold()
    named = [choice for choice in choices if choice.name.strip().casefold() == wanted]
    # Where other things are drawn, too, it is known what is not the class.
    named.sort(key=lambda choice: -len(_others(choices, choice)))
    if named or value is not None:
        return named
    pixels = [c for c in choices if c.group == "values" and c.name != "0" and not _means_unknown(c)]
    return pixels if len(pixels) == 1 else []


def _others(choices: Sequence[LabelChoice], chosen: LabelChoice) -> list[LabelChoice]:
    return [c for c in choices if c.group == chosen.group and c is not chosen]


def _means_unknown(choice: LabelChoice) -> bool:
    return choice.group == "values" and (choice.name == "255" or choice.name.startswith("-"))


def wire(
    look: Look, files: Sequence[str], choices: Sequence[LabelChoice], chosen: LabelChoice, image: str | None
) -> Wired:
    """Examples of the labels.

    Args:
        look: at the archive.
        files: of labels.
        choices: what the first of them holds.
        chosen: the class among these.
        image: the labelled image or images, as the user names them; None to find them.

    Raises:
        SupportError: no image fits.
        ConfigError: it cannot be told which image is meant.
    """
    if files[0].lower().endswith(VECTOR_SUFFIXES):
        return _features(look, files[0], choices, chosen, image)
    ignore = [int(c.name) for c in _others(choices, chosen) if _means_unknown(c) and c.name != "255"]
    keys = dict(chosen.keys) | ({"ignore": ignore} if ignore else {})
    if look.volumes:
        return Wired([{"image": image or look.uri, "mask": file, **keys} for file in files[:MOST_EXAMPLES]])
    pairs = _pairs(look, files, image)
    showing = [pair for pair in pairs if _shows(look, pair[1], chosen)] or pairs
    notes = []
    if len(showing) > MOST_EXAMPLES:
        notes.append(f"{len(showing) - MOST_EXAMPLES} more masks are there; one to five examples are enough")
    return Wired([{"image": i, "mask": m, **keys} for i, m in showing[:MOST_EXAMPLES]], notes)


def _shows(look: Look, file: str, chosen: LabelChoice) -> bool:
    try:
        return any(choice.name == chosen.name for choice in choices_of(look, file))
    except HdmError:
        return False


def _pairs(look: Look, masks: Sequence[str], image: str | None) -> list[tuple[str, str]]:
    """(image, mask) of every mask whose image is found by its name."""
    images = _named_images(image) if image else _images(look, os.path.dirname(masks[0]), masks)
    if len(images) == len(masks) == 1:
        return [(images[0], masks[0])]
    by_words: dict[str, list[str]] = {}
    for path in images:
        by_words.setdefault(_words(path), []).append(path)
    found = [(by_words[_words(m)][0], m) for m in masks if len(by_words.get(_words(m), ())) == 1]
    if found:
        return found
    what = f"no image is called as the mask {os.path.basename(masks[0])}"
    remedy = "name the labelled images by --image; image and mask are paired by what their names share"
    raise SupportError(what, where=masks[0], remedy=remedy)


def _named_images(image: str) -> list[str]:
    if os.path.isdir(image):
        image = os.path.join(glob.escape(image), "*")
    return [image] if os.path.exists(image) else sorted(glob.glob(image))


def _images(look: Look, beside: str, others: Sequence[str] = ()) -> list[str]:
    """Images that labels may lie on: those beside them, then the archive's scenes."""
    near = sorted(os.path.join(beside, name) for name in os.listdir(beside or "."))
    near = [path for path in near if path.lower().endswith(_RASTERS)]
    scenes = [ref.uri for ref in look.scenes if not ref.members and os.path.exists(ref.uri)]
    return [path for path in dict.fromkeys([*near, *scenes]) if path not in others]


def _features(look: Look, file: str, choices: Sequence[LabelChoice], chosen: LabelChoice, image: str | None) -> Wired:
    """Drawn labels: the images on which something of the class is drawn."""
    keys = dict(chosen.keys)
    others = _others(choices, chosen)
    notes = []
    if others and "where" in keys:
        wheres = [str(other.keys["where"]) for other in others]
        keys["background"] = wheres[0] if len(wheres) == 1 else " or ".join(wheres)
    else:
        keys["complete"] = True
        notes.append(
            "complete: true says that everything of the class is drawn on these images, and that the rest is background"
        )
        notes.append("if not, draw some background, and name it: background: \"class = 'other'\"")
    images = _named_images(image) if image else _images(look, os.path.dirname(file))
    drawn = [path for path in images[:_MOST_IMAGES] if _is_drawn_on(look, path, file, chosen)]
    if not drawn:
        what = "nothing of the class is drawn on any image beside the labels or in the archive"
        remedy = "name the labelled images by --image, and check the CRS of the labels"
        raise SupportError(what, where=file, remedy=remedy)
    if len(drawn) > MOST_EXAMPLES:
        notes.append(f"it is drawn on {len(drawn) - MOST_EXAMPLES} more images; one to five examples are enough")
    return Wired([{"image": path, "labels": file, **keys} for path in drawn[:MOST_EXAMPLES]], notes)


def _is_drawn_on(look: Look, image: str, file: str, chosen: LabelChoice) -> bool:
    """Whether something of the class lies on an image that has the archive's bands."""
    reader: Reader = look.opened
    selection = Features(chosen.keys.get("layer"), chosen.keys.get("where"))
    request = SupportRequest(image, file, vector=VectorLabels(target=selection, complete=True, optional=True))
    try:
        if not cast(VectorLabelReader, reader).vector_identity(request):
            return False
        (ref,) = (one for one in reader.discover(image) if not hasattr(one, "reason"))
        return len(reader.header(ref).bands) == len(look.bands)
    except (HdmError, ValueError):
        return False


def _plain(path: str) -> str:
    """The name of a file in lower case, letters and digits only."""
    return re.sub(r"[^a-z0-9]+", "", os.path.basename(path).rpartition(".")[0].casefold())


def _words(path: str) -> str:
    """The same without what says that it is a mask, or an image."""
    return _NO_DIFFERENCE.sub("", os.path.basename(path).rpartition(".")[0].casefold())


def ask_for_choice(choices: Sequence[LabelChoice], where: str) -> ConfigError:
    """That it must be said which of the things in a file is the class."""
    listed = ", ".join(f"{choice.name} ({choice.group})" for choice in choices[:20])
    return ConfigError(
        "it cannot be told which of the labels are the class", where=where, remedy=f"say it by --value: one of {listed}"
    )
