"""The command line of benchmarks that time a segmenter, and the segmenter that it names."""

from __future__ import annotations

import argparse

import torch

from benchmarks._table import arguments
from hdm_pipeline.model.segmenter import FewShotSegmenter
from hdm_pipeline.model.weights_file import weights_path


def from_command_line(doc: str | None) -> tuple[argparse.Namespace, FewShotSegmenter]:
    """The options (`threads`, `weights` and those of every benchmark) and the loaded weights."""
    parser = arguments(doc)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--weights", default="builtin:pyramid")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    return options, FewShotSegmenter.load(weights_path(options.weights))
