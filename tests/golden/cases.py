"""End-to-end cases: the official forward, the same through a support bank, the keys, the training losses."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from hdm_pipeline.model.hdmnet.distillation import distillation_terms
from hdm_pipeline.model.hdmnet.network import HDMNet
from hdm_pipeline.model.hdmnet.states import RawOutputs
from hdm_pipeline.model.network import EpisodeBatch
from tests.golden.folder import BASE_CLASSES, Check, GoldenFolder, build, largest_error

OUTPUT, WEIGHT, PRIOR = 1e-4, 2e-5, 5e-6
RELATIVE, GRADIENT = 1e-4, 5e-4
_CROP = (slice(None), slice(None), slice(20, 28), slice(30, 38))


def check_keys(folder: GoldenFolder) -> Iterator[Check]:
    """State dict keys with their shapes and order, of every configuration."""
    for name, entry in folder.keys.items():
        with torch.device("meta"):
            network = build(entry["kwargs"])
        ours = [(key, list(value.shape)) for key, value in network.state_dict().items()]
        golden = [(key, shape) for key, shape in entry["state_dict"].items()]
        wrong = sum(a != b for a, b in zip(ours, golden, strict=False)) + abs(len(ours) - len(golden))
        yield Check(name, "state dict keys", wrong, 0)


def check_case(folder: GoldenFolder, case: str, network: HDMNet) -> Iterator[Check]:
    """Every quantity that the case's file holds."""
    inputs, golden = folder.load(case)
    with torch.no_grad():
        out = network(inputs["x"], inputs["s_x"], inputs["s_y"])
    crop = getattr(folder.recipe, "CROP", _CROP)
    for quantity, (ours, tolerance) in _quantities(out, crop).items():
        if quantity in golden:
            yield Check(case, quantity, largest_error(ours, golden[quantity]), tolerance)
    if "final_out" in golden:
        yield Check(case, "predict by bank", _bank_error(network, inputs, golden), OUTPUT)


def check_training(folder: GoldenFolder, case: str, network: HDMNet) -> Iterator[Check]:
    """Losses, distillation terms and gradient norms of `train.json`."""
    golden = folder.training[case]
    kwargs, size, kinds = folder.recipe.CASES[case]
    episode = folder.recipe.episode(case, size, kwargs["shot"], kinds)
    inputs = {key: torch.from_numpy(value) for key, value in episode.items()}
    with torch.no_grad():
        out = network(inputs["x"], inputs["s_x"], inputs["s_y"])
    for key in golden:
        if key.startswith("distil_terms_"):
            mask = _target(folder, case, key.removeprefix("distil_terms_"), inputs["y_m"])
            terms = [float(term) for term in distillation_terms(out.weights, mask)]
            yield Check(case, key, largest_error(terms, golden[key]), RELATIVE)
    classes = BASE_CLASSES[kwargs["data_set"]] + 1
    batch = EpisodeBatch(inputs["x"], inputs["y_m"], inputs["s_x"], inputs["s_y"])
    base = torch.from_numpy(folder.recipe.base_target(case, size, classes))
    network.training = True  # only the root, as the golden was made: no layer is random
    losses = network.official_losses(batch, base_mask=base, own_class=golden.get("cat_idx"))
    network.zero_grad()
    torch.autograd.backward(losses.total)
    network.training = False
    expected = golden["train_forward"]
    parts = {name: float(value) for name, value in losses.parts.items()}
    ours = {
        "main_plus_meta_ce": parts["main"] + parts["meta"],
        "distil_over_3": parts["distillation"],
        "base_ce": parts["base"],
        "total": float(losses.total.detach()),
    }
    for name, value in ours.items():
        yield Check(case, f"loss {name}", abs(value - expected[name]), RELATIVE * max(1.0, abs(expected[name])))
    yield Check(case, "gradient norms (relative)", _gradient_error(network, golden["grad_norm"]), GRADIENT)


def _quantities(out: RawOutputs, crop: tuple[slice, ...]) -> dict[str, tuple[np.ndarray, float]]:
    if out.final_out is None or out.base_out is None or out.base_lowres is None or out.est_val is None:
        raise RuntimeError("the golden vectors are those of the network with its base learner")
    arrays = {
        "final_out": (out.final_out, OUTPUT),
        "meta_out": (out.meta_out, OUTPUT),
        "meta_lowres": (out.meta_lowres, OUTPUT),
        "base_lowres": (out.base_lowres, OUTPUT),
        "base_crop": (out.base_out[crop], OUTPUT),
        "base_abs_mean": (out.base_out.abs().double().mean((2, 3)), OUTPUT),
        "weight_coarse": (out.weights[0], WEIGHT),
        "weight_mid": (out.weights[1], WEIGHT),
        "weight_fine": (out.weights[2], WEIGHT),
        "similarity": (out.similarity, PRIOR),
        "est_val": (out.est_val, PRIOR),
        "q_feat8": (out.query_merged[:, :8], OUTPUT),
        "s_feat8": (out.support_merged[:, :8], OUTPUT),
    }
    return {name: (value.numpy(), tolerance) for name, (value, tolerance) in arrays.items()}


def _bank_error(network: HDMNet, inputs: dict[str, torch.Tensor], golden: dict[str, np.ndarray]) -> float:
    """`encode_support` and `predict` against the probability that the golden final_out stands for."""
    errors = [0.0]
    for query, images, labels, final in zip(
        inputs["x"], inputs["s_x"], inputs["s_y"], golden["final_out"], strict=True
    ):
        if not bool((labels == 1).any()):
            continue  # no bank can be made of supports that do not show the class
        bank = network.encode_support(list(images), list(labels))
        score = network.predict(query[None], [bank])[0, 0].numpy()
        expected = 0.5 + 0.5 * (final[1] - final[0]) / (abs(final[1]) + abs(final[0]))
        errors.append(largest_error(score, expected))
    return max(errors)


def _target(folder: GoldenFolder, case: str, name: str, y_m: torch.Tensor) -> torch.Tensor:
    if name == "y_m":
        return y_m
    kind, size = name.removeprefix("y_"), y_m.shape[-1]
    masks = [folder.recipe.mask(f"{case}/{name}/{b}", size, kind) for b in range(len(y_m))]
    return torch.from_numpy(np.stack(masks))


def _gradient_error(network: HDMNet, golden: dict[str, float]) -> float:
    norms = {
        name: float(parameter.grad.norm())
        for name, parameter in network.named_parameters()
        if parameter.grad is not None and parameter.requires_grad
    }
    both = {name: (norms.get(name, 0.0), golden.get(name, 0.0)) for name in norms.keys() | golden.keys()}
    return max(abs(ours - theirs) / max(abs(theirs), 1e-3) for ours, theirs in both.values())
