"""The steps of a scene: survey, stage, stitch, publish. Plain functions that return receipts.

Inference needs a loaded model and lives in `model_worker`. A step may be run twice (a crash between the step and the
ledger): each writes whole shards or whole files, so the second run leaves the same bytes.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hdm_pipeline.contracts import (
    Product,
    PublishedFile,
    Reader,
    SceneHeader,
    ScenePublication,
    SceneRef,
    SceneWarning,
)
from hdm_pipeline.errors import BandError, SuspectSceneError
from hdm_pipeline.execution import likeness, quicklook
from hdm_pipeline.execution.done import scene_done, scene_info
from hdm_pipeline.execution.likeness import Tally
from hdm_pipeline.execution.measures import measure
from hdm_pipeline.execution.messages import (
    Published,
    PublishTask,
    Result,
    RunContext,
    SceneWork,
    StageTask,
    StepResult,
    StepTask,
    StitchTask,
    SurveyTask,
)
from hdm_pipeline.execution.places import place
from hdm_pipeline.execution.reduced import ReducedMask
from hdm_pipeline.grid import Window
from hdm_pipeline.output.files import output_errors, remove_tree
from hdm_pipeline.output.layout import checked_component
from hdm_pipeline.output.ledger import SceneRecord
from hdm_pipeline.output.manifest import keep_pictures, put_products
from hdm_pipeline.pixels import sanity
from hdm_pipeline.pixels.bands import resolve
from hdm_pipeline.pixels.scaling import SAMPLE_PIXELS, encode_pixels, scene_ranges
from hdm_pipeline.planning.forecast import scene_grid
from hdm_pipeline.planning.keys import SceneKeys
from hdm_pipeline.plugin.product_order import product_writers
from hdm_pipeline.plugin.registry import make_reader
from hdm_pipeline.store.scene import ImageStore, ScoreStore
from hdm_pipeline.store.zarr_array import Place


def run_step(context: RunContext, task: StepTask) -> Result:
    """Run any step but inference."""
    match task:
        case SurveyTask():
            return survey(context, task.pending.ref, task.pending.keys)
        case StageTask():
            return stage(context, task.work, task.block)
        case StitchTask():
            return stitch(context, task.work, task.block)
        case PublishTask():
            return publish(context, task.work, task.unlike)


def reader_of(context: RunContext, name: str) -> Reader:
    """A reader with the options of the pipeline."""
    return make_reader(name, context.config.input.reader_options(), context.config.input.bands)


def survey(context: RunContext, ref: SceneRef, keys: SceneKeys) -> SceneWork:
    """Read a scene's header, settle its scaling, look whether it makes sense, and lay out its stores."""
    reader = reader_of(context, ref.reader)
    header = reader.header(ref)
    for _, writer in product_writers(context.config):
        writer.check_scene(header)  # rather than after all inference
    scale = context.config.input.scale
    try:
        plan = resolve(context.config.input.bands, header.bands)
        with reader.open(ref) as source:
            sample = source.sample(plan.indices, SAMPLE_PIXELS if scale.percentiles else sanity.SAMPLE_PIXELS)
            size = sanity.pixel_size(source.row_areas())
        ranges = scene_ranges(scale, plan, sample, where=f"scene {ref.id}")
        look = sanity.look_at(ref.id, plan, header.bands, sample, ranges, size)
        warnings = _warnings(context, header, look)
    except BandError as error:
        raise BandError(error.what, where=f"scene {ref.shown}, band {error.where}", remedy=error.remedy) from error
    _refuse_if_strict(context, ref, warnings)
    work = SceneWork(header, keys, scene_grid(context.config, header), plan, ranges, warnings)
    blocks = work.blocks(context)
    ImageStore.create(stage_folder(context, work), len(plan.bands), work.grid, blocks)
    scores = score_folder(context, work)
    ScoreStore.create(scores, len(context.classes), work.grid, blocks, uncertain=keys.uncertain)
    return work


def _warnings(context: RunContext, header: SceneHeader, look: sanity.Look) -> tuple[SceneWarning, ...]:
    """What the reader noticed, and what is strange about the scene's values, bands and resolution."""
    noted = sanity.noted(header.warnings)
    found = sanity.scale_warnings(look, context.config.input.scale, context.examples)
    if any(warning.kind == "outside_aoi" for warning in noted):
        found = []  # that no pixel is valid has its reason
    return (*noted, *found, *sanity.unlike_warnings(look, context.examples))


def _refuse_if_strict(context: RunContext, ref: SceneRef, warnings: Sequence[SceneWarning]) -> None:
    """Raise `SuspectSceneError` where the run is strict and a warning says that the result may be nonsense."""
    suspect = [warning for warning in warnings if warning.suspect]
    if context.config.execution.strict and suspect:
        what = "; ".join(warning.what for warning in suspect)
        remedy = f"{suspect[0].remedy or 'look at the scene'}; without execution.strict this is a warning"
        raise SuspectSceneError(what, where=f"scene {ref.shown}", remedy=remedy)


def stage_folder(context: RunContext, work: SceneWork) -> Place:
    """Where a scene's staged pixels lie."""
    return context.workspace.stage_folder(work.ref.id, work.keys.stage)


def score_folder(context: RunContext, work: SceneWork) -> Place:
    """Where a scene's scores lie."""
    return context.workspace.score_folder(work.ref.id, work.keys.score)


def open_scores(context: RunContext, work: SceneWork) -> ScoreStore:
    """The store of a scene's scores.

    Raises:
        StoreError: there is none, or it is damaged.
    """
    return ScoreStore.open(score_folder(context, work), uncertain=work.keys.uncertain)


def stage(context: RunContext, work: SceneWork, block_index: int) -> StepResult:
    """Read a block's cell from the scene, scale it and store it."""
    start = time.perf_counter()
    block = work.blocks(context)[block_index]
    store = ImageStore.open(stage_folder(context, work))
    cell = work.grid.cell(block)
    with reader_of(context, work.ref.reader).open(work.ref) as source:
        slices = []
        for z in range(block.z0, block.z1):
            pixels, valid = source.read(
                Window(z=z, y=cell.y, x=cell.x, height=cell.height, width=cell.width), work.bands.indices
            )
            pixels, valid = work.bands.apply(pixels, valid)
            slices.append(encode_pixels(pixels, valid, work.ranges))
    store.write_cell(block, slices)
    return StepResult(time.perf_counter() - start)


def stitch(context: RunContext, work: SceneWork, block_index: int) -> StepResult:
    """Add up what all blocks know of a cell and store its final scores."""
    start = time.perf_counter()
    store = open_scores(context, work)
    block = work.blocks(context)[block_index]
    store.finish(block)
    return StepResult(time.perf_counter() - start)


def publish(context: RunContext, work: SceneWork, unlike: Tally) -> Published:
    """Measure a scene, write its products to a scratch folder and rename them into place.

    Nothing is put in place before all products are written, but for those that describe the others: where one fails,
    nothing of this scene is published.
    """
    start = time.perf_counter()
    store = open_scores(context, work)
    product = product_of(context, work, store)
    writers = product_writers(context.config)
    asked = any(writer.needs_picture for _, writer in writers)
    small = ReducedMask(work.grid.size, context.classes) if quicklook.wanted(context, work, product=asked) else None
    look = None
    with reader_of(context, work.ref.reader).open(work.ref) as source:
        measures = measure(product, source.row_areas(), context.area_scores, small)
        if small is not None:
            look = quicklook.make(source, context, work, small)
            product = replace(product, picture=look.drawn() if asked else None)
    warnings = () if _known_empty(work) else sanity.result_warnings(work.header, measures)
    far = likeness.shares(unlike, [one.name for one in context.classes])
    warnings = (*warnings, *likeness.warnings(far))
    _refuse_if_strict(context, work.ref, warnings)
    if context.workspace.bucket is not None:  # else what an earlier publication left here would be uploaded
        remove_tree(context.workspace.product_folder(work.ref.id))
    files = _write_products(context, work, product, measures)
    pictures = quicklook.pictures(look) if quicklook.shown(context, work) and look is not None else {}
    context.fence.require()  # a run that took over may need them
    store.drop_partials()
    products: dict[str, tuple[Path, ...]] = {}
    for file in files:
        path = file.path.relative_to(context.workspace.root)
        products[file.product] = (*products.get(file.product, ()), path)
    outputs = tuple(path for of_one in products.values() for path in of_one)
    told = {**measures, "unlike_examples": far, **place(work.header)}
    if small is not None:
        told["mean_score"] = small.mean_scores()
    found = Published(outputs, time.perf_counter() - start, told, warnings, products, pictures)
    return _shared(context, work, found)


def _shared(context: RunContext, work: SceneWork, found: Published) -> Published:
    """Put what was published where the report, and other nodes, find it."""
    workspace = context.workspace
    if workspace.bucket is None:
        if found.pictures:
            keep_pictures(workspace, work.ref.id, found.pictures)
        else:
            quicklook.drop(workspace, work.ref.id)
        return replace(found, pictures={})
    start = time.perf_counter()
    event = scene_done(work, found, tiles=work.grid.tile_count, blocks=len(work.blocks(context)))
    keys = work.keys
    info = scene_info(context, event)
    record = SceneRecord(work.ref.id, keys.product, keys.score, keys.stage, "done", outputs=event.outputs, info=info)
    put_products(workspace, record, found.pictures, context.fence)
    return replace(found, seconds=found.seconds + time.perf_counter() - start)


@dataclass(frozen=True)
class _Written:
    """A product that lies in the scratch folder: its name, where it belongs, and what may lie beside it."""

    product: str
    target: Path
    sidecars: tuple[str, ...]


def _write_products(
    context: RunContext, work: SceneWork, product: Product, measures: Mapping[str, Any]
) -> list[PublishedFile]:
    """Write all products of a scene and put them in place; returns what is there now."""
    folder = context.workspace.product_folder(work.ref.id)
    with output_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    files: list[PublishedFile] = []
    written: list[_Written] = []
    with context.workspace.scratch_folder(work.ref.id) as scratch:
        for name, writer in product_writers(context.config):
            if writer.describes:
                files += _all_in_place(context, scratch, written)
                written = []
            if writer.describes or writer.after:
                found = (*files, *(PublishedFile(one.product, scratch / one.target.name) for one in written))
                about = ScenePublication(
                    context.config.name, folder, found, measures, context.workspace.bucket is not None
                )
                product = replace(product, published=about)
            target = folder / checked_component(writer.filename(product.scene))
            with output_errors(target):
                writer.write(product, scratch / target.name)
            written.append(_Written(name, target, writer.sidecars(target.name)))
        files += _all_in_place(context, scratch, written)
    return files


def _all_in_place(context: RunContext, scratch: Path, written: Sequence[_Written]) -> list[PublishedFile]:
    """Rename products from the scratch folder into place; returns what is there now."""
    files = []
    if context.workspace.bucket is None:  # else nobody sees them there; it is asked when they are uploaded
        context.fence.require()
    for one in written:
        with output_errors(one.target):
            placed = _put_in_place(scratch, one.target, one.sidecars)
        files += [PublishedFile(one.product, path) for path in placed]
    return files


def _put_in_place(scratch: Path, target: Path, sidecars: Sequence[str]) -> list[Path]:
    """Rename a product and its sidecars from the scratch folder into place; returns what is there now.

    The sidecars of the earlier product go first and the new ones come last: whenever the run is killed, no product has
    another one's class names beside it.
    """
    for name in sidecars:
        target.with_name(name).unlink(missing_ok=True)
    os.replace(scratch / target.name, target)
    made = [name for name in sidecars if (scratch / name).is_file()]
    for name in made:
        os.replace(scratch / name, target.with_name(name))
    return [target, *(target.with_name(name) for name in made)]


def _known_empty(work: SceneWork) -> bool:
    """Whether the survey said already that no pixel is valid, and why."""
    return any(warning.kind in ("no_data", "outside_aoi") for warning in work.warnings)


def product_of(context: RunContext, work: SceneWork, store: ScoreStore) -> Product:
    """What writers get of a scene."""
    store.calibrate(context.temperatures)
    mask = store.mask_source(context.config.output.threshold)
    return Product(
        work.header,
        context.classes,
        mask,
        store.score_source(),
        store.cell_shape,
        context.provenance,
        uncertainty=store.uncertainty_source(),
        ranges=work.ranges,
    )
