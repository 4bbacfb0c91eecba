"""What a run would send, without sending anything."""

from __future__ import annotations

from hdm_pipeline.config.schema import PipelineConfig
from hdm_pipeline.delivery.parcel import is_settled, parcel_of
from hdm_pipeline.output.deliveries import Delivery, read_deliveries
from hdm_pipeline.output.layout import Workspace
from hdm_pipeline.output.ledger import Ledger
from hdm_pipeline.planning.forecast import PlannedSend
from hdm_pipeline.planning.plan import Plan
from hdm_pipeline.planning.routes import routes


def planned_sends(config: PipelineConfig, plan: Plan, workspace: Workspace, ledger: Ledger) -> tuple[PlannedSend, ...]:
    """What each peer of `output.send` is to get, in the order of the pipeline file; asks no peer.

    Raises:
        ConfigError: address, options, credentials or products of a peer are wrong.
    """
    peers = routes(config)
    if not peers:
        return ()
    known = {(one.peer, one.scene): one for one in _deliveries(workspace)}
    found = []
    for route in peers:
        owed = 0
        for record in ledger.walk():
            asked = record.id in plan.done or (record.id in plan.vanished and route.to in record.info.get("send", ()))
            parcel = parcel_of(record, route) if asked else None
            owed += parcel is not None and not is_settled(parcel, known.get((route.to, record.id)))
        found.append(PlannedSend(route.to, route.products, owed, len(plan.scenes)))
    return tuple(found)


def _deliveries(workspace: Workspace) -> list[Delivery]:
    return read_deliveries(workspace.ledger) if workspace.ledger.is_file() else []
