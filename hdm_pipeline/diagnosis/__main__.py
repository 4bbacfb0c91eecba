"""Looks at one subject for `doctor`, in this process; not meant to be called by people."""

import sys

from hdm_pipeline.diagnosis.processes import tell

if __name__ == "__main__":
    tell(sys.argv[1:])
