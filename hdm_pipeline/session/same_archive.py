"""What a session cannot change while it goes on: the archive, how it is read, and where a run writes."""

from __future__ import annotations

from hdm_pipeline.config.schema import PipelineConfig
from hdm_pipeline.errors import ConfigError


def require_same_archive(before: PipelineConfig, after: PipelineConfig) -> None:
    """Whether a pipeline file that was changed still names the archive that is open: scenes, reader, output directory.

    Raises:
        ConfigError: it does not.
    """
    if _place(before) != _place(after):
        what = "the pipeline file names another archive, reader or output directory than when the session began"
        raise ConfigError(what, where="input, output.directory", remedy="start the studio, or the session, again")


def _place(config: PipelineConfig) -> tuple[object, ...]:
    source = config.input
    return source.uris, source.exclude, source.reader, source.reader_options(), config.output.directory
