"""Function-level goldens (`unit.npz`): what end-to-end values cannot see."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from hdm_pipeline.iou import count
from hdm_pipeline.model.hdmnet.attention import token_mask
from hdm_pipeline.model.hdmnet.base_learner import gram_matrix
from hdm_pipeline.model.hdmnet.decoder import MixTransformer
from hdm_pipeline.model.hdmnet.distillation import correlation_divergence, mask_teacher
from hdm_pipeline.model.hdmnet.matching import CrossMatch, join_levels, masked_average, prior_tokens, similarity_prior
from hdm_pipeline.training.config import OptimizerConfig
from hdm_pipeline.training.trainer import learning_rate
from tests.golden.folder import Check, GoldenFolder, largest_error

_TOLERANCE = {"sim": 5e-6, "gap": 1e-5, "gram": 1e-5, "attn": 1e-5, "distil": 1e-4, "iou": 0.0, "poly": 1e-12}
_TRANSFORMER = "transformer.mix_transformer."


def check_units(folder: GoldenFolder) -> Iterator[Check]:
    """Every quantity of `unit.npz` that this suite knows."""
    golden = dict(np.load(folder.path / "unit.npz"))
    inputs = {key: torch.from_numpy(np.asarray(value)) for key, value in folder.recipe.unit_inputs().items()}
    ours: dict[str, np.ndarray] = {}
    with torch.no_grad():
        ours["sim_out"] = _prior(inputs["sim_q"], inputs["sim_s"], inputs["sim_m"])
        ours["gap_out"] = masked_average(inputs["gap_f"], torch.from_numpy(golden["gap_mask"])).numpy()
        ours["gram_out"] = gram_matrix(inputs["gram_f"]).numpy()
        ours |= _attention(folder, inputs, torch.from_numpy(golden["attn_mask"]))
        ours["distil"] = _distillation(inputs)
        for shots in (1, 2):
            ours |= _transformer(folder, inputs, shots)
    prediction, target = inputs["iou_pred"].numpy(), inputs["iou_target"].numpy()
    ours["iou_counts"] = np.stack([_counts(p == 1, t) for p, t in zip(prediction, target, strict=True)])
    poly = OptimizerConfig(schedule="poly", warmup=0)
    golden["poly_lr"] = golden["poly_lr"][:, 0]  # of the matching; the authors' heads learn ten times as fast
    ours["poly_lr"] = np.array([1e-4 * learning_rate(poly, step, 100) for step in (1, 50, 99)])
    for name, value in ours.items():
        if name in golden:
            yield Check("unit", name, largest_error(value, golden[name]), _tolerance(name))


def _counts(prediction: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Intersection, union and target, each of the background and the foreground."""
    found = count(prediction, target)
    wrong = found.false_alarm + found.missed
    hits = np.array([found.rest, found.hit])
    return np.stack([hits, hits + wrong, hits + np.array([found.false_alarm, found.missed])])


def _tolerance(name: str) -> float:
    if name.startswith("tr"):
        return 2e-5 if "_w" in name else 1e-4
    return _TOLERANCE[name.split("_")[0]]


def _prior(queries: Tensor, supports: Tensor, masks: Tensor) -> np.ndarray:
    grid = (queries.shape[-2], queries.shape[-1])
    maps = []
    for query, support, mask in zip(queries, supports, masks, strict=True):
        tokens = prior_tokens(support, token_mask((mask == 1).float(), grid))
        flat = query.flatten(1)[None]
        maps.append(similarity_prior(flat, flat.norm(dim=1), tokens).view(1, *grid))
    return torch.stack(maps).numpy()


def _attention(folder: GoldenFolder, inputs: dict[str, Tensor], mask: Tensor) -> dict[str, np.ndarray]:
    layer = CrossMatch(2).eval()
    state = {
        name: torch.from_numpy(folder.recipe.weights(f"unit.attn.{name}", value.shape))
        for name, value in layer.state_dict().items()
    }
    layer.load_state_dict(state)
    matched = [
        layer.match(query[None], layer.support(support, kept == 1))
        for query, support, kept in zip(inputs["attn_q"], inputs["attn_s"], mask, strict=True)
    ]
    return {
        "attn_self_out": layer(inputs["attn_q"], inputs["attn_q"]).numpy(),
        "attn_cross_out": torch.cat([out for out, _ in matched]).numpy(),
        "attn_cross_weight": torch.cat([weight for _, weight in matched]).numpy(),
    }


def _distillation(inputs: dict[str, Tensor]) -> np.ndarray:
    teacher, coarse, fine = mask_teacher(inputs["distil_m"]), inputs["distil_c"], inputs["distil_d"]
    terms = [
        correlation_divergence(teacher, coarse),
        correlation_divergence(coarse, fine),
        correlation_divergence(teacher[:1], coarse[:1]),
        correlation_divergence(teacher[2:3], coarse[2:3]),
    ]
    return np.array([float(term) for term in terms])


def _transformer(folder: GoldenFolder, inputs: dict[str, Tensor], shots: int) -> dict[str, np.ndarray]:
    module = MixTransformer().eval()
    small = folder.recipe.weights_small
    module.load_state_dict(
        {
            key: torch.from_numpy(np.asarray(small(_TRANSFORMER + key, value.shape)))
            for key, value in module.state_dict().items()
        }
    )
    tag = f"tr{shots}"
    answers = []
    for episode, (query, prior) in enumerate(zip(inputs[f"{tag}_q"], inputs[f"{tag}_sim"], strict=True)):
        numbers = range(episode * shots, (episode + 1) * shots)
        masks = [(inputs[f"{tag}_m"][n] == 1).float() for n in numbers]
        each = [
            module.encode_support(inputs[f"{tag}_s"][n][None], mask) for n, mask in zip(numbers, masks, strict=True)
        ]
        levels = [join_levels(level) for level in zip(*each, strict=True)]
        answers.append(module(query[None], levels, prior[None]))
    out = {f"{tag}_out": torch.cat([logits for logits, _ in answers]).numpy()}
    for level in range(3):
        out[f"{tag}_w{level}"] = torch.cat([weights[level] for _, weights in answers]).numpy()
    return out
