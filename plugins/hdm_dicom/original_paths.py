"""Turns the hashed names of logs and reports back into paths, for whoever may read the folder.

    python -m hdm_dicom.original_paths FOLDER NAME...

Names are scene ids (``CT-0123456789abcdef``) or files that were left out (``file-0123456789ab``).
"""

from __future__ import annotations

import argparse
import itertools
import sys
from collections.abc import Sequence

from hdm_dicom.archive.discovery import find
from hdm_dicom.archive.listing import file_name, list_files
from hdm_dicom.files.headers import quiet
from hdm_dicom.options import ReaderOptions
from hdm_pipeline.errors import HdmError


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the paths behind each name; the exit code is 1 where one is unknown."""
    parser = argparse.ArgumentParser(
        prog="python -m hdm_dicom.original_paths", description="Paths behind hashed names."
    )
    parser.add_argument("folder", help="the input of the pipeline")
    parser.add_argument("names", nargs="+", help="scene ids, or file-... names")
    given = parser.parse_args(arguments)
    quiet()
    known = {file_name(path): [path] for path in list_files(given.folder)}
    try:
        for policy, derived in itertools.product(("strict", "split"), (False, True)):
            # The id of one volume of several depends on what else is taken from its series.
            found, _ = find(given.folder, ReaderOptions.parse({"policy": policy, "include_derived": derived}))
            for volume in found:
                known.setdefault(volume.id, sorted({frame.instance.path for frame in volume.frames}))
    except HdmError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    for name in given.names:
        print(f"{name}:", *known.get(name, ["unknown"]), sep="\n  ")
    return int(any(name not in known for name in given.names))


if __name__ == "__main__":
    sys.exit(main())
