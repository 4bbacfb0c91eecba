"""The supports as pixels, with what is strange about them. Loads no network library."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count

from hdm_pipeline.config.schema import PipelineConfig
from hdm_pipeline.contracts import Reader, SceneWarning
from hdm_pipeline.pixels.sanity import Look
from hdm_pipeline.support.examples import SupportExample, SupportFiles, example_warnings, load_examples
from hdm_pipeline.support.steps import OnStep, Steps


@dataclass(frozen=True, eq=False)
class ReadExamples:
    """The supports as pixels.

    Attributes:
        classes: the examples of each class.
        warnings: by class, what is strange about each example.
        private: they may show a patient.
    """

    classes: list[list[SupportExample]]
    warnings: Sequence[Mapping[str, Sequence[SceneWarning]]]
    private: bool = False

    @property
    def looks(self) -> tuple[Look, ...]:
        """What the examples of all classes look like."""
        return tuple(example.look for of_class in self.classes for example in of_class)


def read_examples(
    config: PipelineConfig,
    files: SupportFiles,
    reader: Reader,
    on_step: OnStep | None = None,
    *,
    private: bool = False,
) -> ReadExamples:
    """Read the supports; loads no network library.

    Args:
        config: the pipeline.
        files: its examples (`support_files`).
        reader: reads them.
        on_step: told how far it is; what it raises ends the reading.
        private: they may show a patient, and nothing of them is kept outside the output directory.

    Raises:
        SupportError: an example cannot be used.
    """
    classes = _read(config, files, reader, Steps(on_step))
    return ReadExamples(classes, example_warnings(config, classes), private)


def _read(config: PipelineConfig, files: SupportFiles, reader: Reader, steps: Steps) -> list[list[SupportExample]]:
    """The examples by class, telling after each file."""
    done = count(1)
    steps.begin("reading", sum(map(len, files)))
    return load_examples(config, files, reader, lambda: steps.advance(next(done)))
