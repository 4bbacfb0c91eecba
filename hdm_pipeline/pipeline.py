"""The public API: a pipeline that can be checked, planned and run.

from hdm_pipeline import Pipeline

pipeline = Pipeline.from_yaml("pipelines/flood_extent.yaml")
print(pipeline.plan().tiles)
summary = pipeline.run()
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hdm_pipeline.arguments import kind_argument, whole_argument
from hdm_pipeline.config.file import PipelineFile, read_pipeline_file
from hdm_pipeline.config.schema import PipelineConfig
from hdm_pipeline.delivery.planned import planned_sends
from hdm_pipeline.options import RunOptions, RunSummary
from hdm_pipeline.output.layout import Workspace
from hdm_pipeline.output.ledger import Ledger
from hdm_pipeline.output.mirror import for_reading
from hdm_pipeline.planning import products
from hdm_pipeline.planning.data_check import check_supports
from hdm_pipeline.planning.forecast import HEADER_LIMIT, Forecast, forecast
from hdm_pipeline.planning.plan import make_plan
from hdm_pipeline.planning.validation import validate
from hdm_pipeline.planning.workspace import workspace_of
from hdm_pipeline.plugin.registry import archive_reader
from hdm_pipeline.reporting.events import Listener
from hdm_pipeline.support.examples import support_files
from hdm_pipeline.support.remote import borrowed_examples

if TYPE_CHECKING:
    from hdm_pipeline.pictures.examples import ExamplePicture


class Pipeline:
    """A pipeline file, ready to be planned and run. Nothing heavy is loaded before there is work to do."""

    def __init__(self, file: PipelineFile) -> None:
        kind_argument(file, PipelineFile, "the file", "Pipeline", "read it: Pipeline.from_yaml(path)")
        self.file = file
        self.config: PipelineConfig = file.absolute()

    @cached_property
    def workspace(self) -> Workspace:
        """Where everything of the output lies.

        Raises:
            ConfigError: the output lies in a bucket among the scenes.
            ObjectStoreError: an address that may not be used.
        """
        return workspace_of(self.config)

    @classmethod
    def from_yaml(
        cls, path: str | Path, overrides: Sequence[str] = (), environment: Mapping[str, str] | None = None
    ) -> Pipeline:
        """Read a pipeline file.

        Args:
            path: the file.
            overrides: ``key.path=value`` items.
            environment: variables for ``${VAR}``; the process's own by default.

        Raises:
            PipelineFileError: with every problem in the file.
            ConfigError: an argument is of another kind.
        """
        return cls(read_pipeline_file(path, overrides, environment))

    def validate(self, *, data: bool = False) -> list[str]:
        """Check files, plug-ins, bands and supports without reading pixels; returns warnings.

        Args:
            data: also read the examples and open the headers of a sample of scenes.

        Raises:
            PipelineFileError: with every problem found.
        """
        return validate(self.file, data=data)

    def plan(self, header_limit: int = HEADER_LIMIT) -> Forecast:
        """What `run` would do now, and what it costs. Writes nothing.

        Args:
            header_limit: headers to read; of a larger archive an even sample is read and the rest is estimated.

        Raises:
            ConfigError: archive, supports or weights are not usable.
            BandError: no scene has a band that is asked for.
        """
        whole_argument(header_limit, 1, "header_limit", "Pipeline.plan")
        products.check(self.config)
        reader = archive_reader(self.config)
        with borrowed_examples(self.config, reader, self.workspace.examples) as config:
            workspace = for_reading(self.workspace)
            with Ledger.open_readonly_or_empty(workspace.ledger) as ledger:
                plan = make_plan(config, support_files(config), workspace, reader, ledger)
                rate = ledger.seconds_per_tile()
                sends = planned_sends(config, plan, workspace)
            found, _ = check_supports(config, reader)
        if found:
            raise found[0][1]
        return replace(forecast(self.config, plan, reader, rate, header_limit), sends=sends)

    def check_support(self, pictures: list[ExamplePicture] | None = None) -> dict[str, list[dict[str, Any]]]:
        """How well each support example is found by the others, by class; loads the network, adapts nothing.

        Args:
            pictures: gets what is to be drawn of each example.

        Raises:
            SupportError: an example cannot be used.
        """
        from hdm_pipeline.support.prepare import check_examples

        reader = archive_reader(self.config)
        with borrowed_examples(self.config, reader, self.workspace.examples) as config:
            return check_examples(config, reader, pictures)

    def run(self, on_event: Listener | None = None, options: RunOptions | None = None) -> RunSummary:
        """Do everything that is not done yet.

        Args:
            on_event: called with every event of `hdm_pipeline.reporting.events`, in this thread.
            options: limits of this run.

        Raises:
            HdmError: the run as a whole cannot go on; finished work is kept and the next run goes on from it.
        """
        from hdm_pipeline.reporting.failures import failure_noted
        from hdm_pipeline.run import lock_owner, run

        options = options or RunOptions()
        kind_argument(options, RunOptions, "the options", "Pipeline.run", "give a RunOptions")
        if on_event is not None:
            kind_argument(on_event, Callable, "on_event", "Pipeline.run", "give a function of one event")
        with failure_noted(self.config.name, self.workspace, lock_owner(), delivery=options.delivery):
            return run(self.config, self.workspace, on_event, options)
