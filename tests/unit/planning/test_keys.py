"""What of a pipeline file changes which key."""

from __future__ import annotations

from typing import Any

from hdm_pipeline.config.schema import PipelineConfig
from hdm_pipeline.contracts import SceneRef
from hdm_pipeline.planning.keys import Fingerprints, SceneKeyring, SceneKeys, _model, pixel_hash

REF = SceneRef("scene", "scene.tif", "geotiff", "1")


def config(**model: Any) -> PipelineConfig:
    return PipelineConfig.model_validate(
        {
            "name": "test",
            "input": {"uri": "scenes", "scale": {"fixed": [0, 1]}},
            "support": {"classes": [{"name": "water", "examples": [{"image": "a.tif", "mask": "b.tif"}]}]},
            "model": model,
            "output": {"directory": "out"},
        }
    )


def keys(*, uncertain: bool = False, kept: str = "", **model: Any) -> SceneKeys:
    return SceneKeyring(config(**model), Fingerprints("weights", "supports"), uncertain=uncertain).keys(REF, kept)


def test_views_change_scores_and_their_absence_is_not_named() -> None:
    assert keys() == keys(augment="none")
    plain, flips, rotations = keys(), keys(augment="flips"), keys(augment="rotations")
    assert plain.stage == flips.stage
    assert len({plain.score, flips.score, rotations.score}) == 3
    assert "augment" not in _model(config())  # what was done before the option existed is found
    assert _model(config(augment="flips"))["augment"] == "flips"


def test_uncertainty_has_a_score_key_of_its_own_which_serves_without_it_too() -> None:
    plain, more = keys(), keys(uncertain=True)
    assert (plain.uncertain, more.uncertain) == (False, True)
    assert plain.stage == more.stage
    assert plain.score != more.score
    assert keys(kept=more.score) == more  # no longer asked for: what is kept is used
    assert keys(kept=plain.score) == plain
    assert keys(kept="of other supports") == plain
    assert keys(uncertain=True, kept=plain.score) == more


def test_how_a_pacs_is_reached_changes_no_key() -> None:
    def stage(**given: Any) -> tuple[str, str]:
        made = config()
        source = made.input.model_copy(update={"reader": "dicom", **given})
        made = made.model_copy(update={"input": source})
        return SceneKeyring(made, Fingerprints("w", "s")).keys(REF).stage, pixel_hash(made)

    plain = stage()
    elsewhere = {"connection": {"token_env": "NEW"}, "query": {"Modality": "CT"}, "retrieve": "move", "move_port": 4}
    assert stage(options=elsewhere, network=True) == plain
    assert stage(options={**elsewhere, "policy": "split"})[0] != plain[0]
    assert stage(options={**elsewhere, "policy": "split"}) == stage(options={"policy": "split"})


def test_both_ways_of_allowing_the_network_give_one_key() -> None:
    def stage(**given: Any) -> str:
        made = config()
        made = made.model_copy(update={"input": made.input.model_copy(update=given)})
        return SceneKeyring(made, Fingerprints("w", "s")).keys(REF).stage

    assert stage() == stage(network=True) == stage(options={"allow_network": True})
