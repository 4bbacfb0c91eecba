"""What a run would send, without sending anything."""

from __future__ import annotations

from hdm_pipeline.config.schema import PipelineConfig
from hdm_pipeline.output.deliveries import Lacking, read_lacking
from hdm_pipeline.output.layout import Workspace
from hdm_pipeline.planning.forecast import PlannedSend
from hdm_pipeline.planning.plan import Plan
from hdm_pipeline.planning.routes import Route, routes


def planned_sends(config: PipelineConfig, plan: Plan, workspace: Workspace) -> tuple[PlannedSend, ...]:
    """What each peer of `output.send` is to get, in the order of the pipeline file; asks no peer.

    Raises:
        ConfigError: address, options, credentials or products of a peer are wrong.
    """
    vanished = set(plan.vanished)
    found = []
    for route in routes(config):
        owed = sum(one.owed(plan.done, vanished) for one in _lacking(workspace, route))
        found.append(PlannedSend(route.to, route.products, owed, len(plan.scenes)))
    return tuple(found)


def _lacking(workspace: Workspace, route: Route) -> list[Lacking]:
    known = workspace.ledger.is_file() and workspace.ledger.stat().st_size > 0
    return read_lacking(workspace.ledger, route.to, route.products) if known else []
