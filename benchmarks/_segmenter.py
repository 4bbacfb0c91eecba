"""The command line of benchmarks that time a segmenter, and the segmenter that it names."""

from __future__ import annotations

import argparse

import torch

from benchmarks._table import arguments
from hdm_pipeline.model.segmenter import FewShotSegmenter
from hdm_pipeline.model.weights_file import weights_path


def segmenter_arguments(doc: str | None) -> argparse.ArgumentParser:
    """A parser with `threads`, `weights` and what every benchmark has."""
    parser = arguments(doc)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--weights", default="builtin:pyramid")
    return parser


def segmenter_of(options: argparse.Namespace) -> FewShotSegmenter:
    """The weights that the command line names, loaded; PyTorch has its threads."""
    torch.set_num_threads(options.threads)
    return FewShotSegmenter.load(weights_path(options.weights))


def from_command_line(doc: str | None) -> tuple[argparse.Namespace, FewShotSegmenter]:
    """The options of `segmenter_arguments`, and the segmenter."""
    options = segmenter_arguments(doc).parse_args()
    return options, segmenter_of(options)
