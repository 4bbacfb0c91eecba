"""Pictures of a screen, by what a header says: no images of a patient as a scanner made them, and text is in them."""

from __future__ import annotations

SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
"""SOP class; those of several frames begin with it, too."""

SCREENSHOTS = frozenset({"SCREEN SAVE", "SCREENSHOT", "DOSE_INFO", "REFORMATTED SCREEN"})
"""Values of ImageType by which vendors mark them."""


def is_capture(sop_class: str) -> bool:
    """A secondary capture, of one frame or of several."""
    return sop_class == SECONDARY_CAPTURE or sop_class.startswith(f"{SECONDARY_CAPTURE}.")
