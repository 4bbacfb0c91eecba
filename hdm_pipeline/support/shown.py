"""Whether the examples of a class show what they must: the class, and something else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from hdm_pipeline.config.schema import ClassConfig
from hdm_pipeline.contracts import Labels, Reader, SupportRequest
from hdm_pipeline.errors import HdmError, SupportError
from hdm_pipeline.model.background import require_background


def require_both(
    class_config: ClassConfig, files: Sequence[SupportRequest], labels: Sequence[Labels], reader: Reader
) -> None:
    """Check that the examples of a class show the class and something else.

    Args:
        class_config: the class.
        files: its examples as files.
        labels: [y, x] of what was read of them: 1, 0 and 255.
        reader: what read them; it knows where labels lie.

    Raises:
        SupportError: they do not.
    """
    shown = [value for value in (1, 0) if any(bool((label == value).any()) for label in labels)]
    where, drawn = f"class {class_config.name!r}", any(example.vector for example in class_config.examples)
    if 1 not in shown:
        raise (
            _class_is_not_shown(files, reader, where)
            if drawn
            else SupportError("no example shows the class", where=where, remedy="label some of it, and check `value`")
        )
    if 0 not in shown and drawn:
        raise SupportError(
            "no example of the class labels any background: nothing would say what is not the class",
            where=where,
            remedy=_more_background(class_config),
        )
    require_background(labels, where)


def _more_background(class_config: ClassConfig) -> str:
    """What else could say what is not the class: nothing that the examples say already, or may not say beside it."""
    drawn = [example for example in class_config.examples if example.vector]
    if any(example.extent is not None for example in drawn):
        return (
            "draw a larger `extent`, of which something is not the class; or put `complete: true` in its place, "
            "if everything in the images is drawn"
        )
    if any(example.everything_is_drawn for example in drawn):
        return "the class covers all of each image: name images, or a `window`, that show something else as well"
    return "draw some background within the images, and name it (`background`); or say `complete: true`"


def _class_is_not_shown(files: Sequence[SupportRequest], reader: Reader, where: str) -> SupportError:
    """That nothing of the class is drawn in any image; and where it is drawn, if the reader can tell.

    An image in which nothing is drawn is no error where one file of labels serves many: here the first is read as if
    it were the only one, and then the reader says where the image lies, and where the labels.
    """
    what = "nothing of the class is drawn where an image holds data"
    for file in files:
        if file.vector is None or not file.vector.optional:
            continue
        try:
            reader.read_support(replace(file, vector=replace(file.vector, optional=False)))
        except HdmError as error:
            what += f", in none of {len(files)} images; of the first: {error.what}"
            return SupportError(what, where=f"{where}: {error.where}", remedy=error.remedy)
        break
    return SupportError(what, where=where, remedy="draw some of it within the images, and check `where` and `layer`")
