"""At the end of a run: products that describe the whole output directory are brought up to date."""

from __future__ import annotations

from hdm_pipeline.config.schema import PipelineConfig
from hdm_pipeline.contracts import CatalogEntry, RunCatalog
from hdm_pipeline.output.files import output_errors
from hdm_pipeline.output.layout import Workspace
from hdm_pipeline.output.ledger import Ledger, SceneRecord
from hdm_pipeline.plugin.registry import make_writer


def write_catalogs(config: PipelineConfig, workspace: Workspace, ledger: Ledger) -> dict[str, list[str]]:
    """Let every product that is a catalog (`contracts.CatalogWriter`) describe what lies in the output directory.

    The ledger decides what lies there, not the events of this run: what a killed run left out is caught up.

    Returns:
        Files in the output directory, by product.

    Raises:
        OutputError: they cannot be written.
        PluginError: a plug-in fails.
    """
    found: dict[str, list[str]] = {}
    entries: tuple[CatalogEntry, ...] | None = None
    for name, options in config.output.product_options().items():
        writer = make_writer(name, options)
        if not writer.describes:
            continue
        if entries is None:
            entries = tuple(_entry(workspace, record) for record in ledger.scenes("done"))
        memory = workspace.catalog_folder(name)
        with output_errors(memory):
            memory.mkdir(parents=True, exist_ok=True)
        found[name] = list(writer.finish(RunCatalog(config.name, workspace.root, memory, entries)))
    return found


def _entry(workspace: Workspace, record: SceneRecord) -> CatalogEntry:
    files = tuple(workspace.root / output for output in record.outputs)
    return CatalogEntry(record.id, files, f"{record.updated}-{record.product_key[:16]}")
