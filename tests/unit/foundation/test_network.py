"""Backbones of three families, made and saved here: read from their folder, regressed upon, used like any network."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from hdm_pipeline.errors import BankMismatchError, ModelInputError, WeightsError
from hdm_pipeline.foundation.network import FoundationNetwork
from hdm_pipeline.model.checkpoints import load_network, save_weights
from hdm_pipeline.model.network import FewShotNetwork
from hdm_pipeline.model.segmenter import FewShotSegmenter
from hdm_pipeline.model.support_tensors import support_tensors
from hdm_pipeline.support.fit import fit_to_examples
from tests.backbones import FAMILIES, save_backbone
from tests.small_pyramid import small_pyramid
from tests.unit.model.pyramid.test_network import small_network

pytest.importorskip("transformers")

STRIDES = {"dinov2": [14, 14], "convnext": [4, 8, 16, 32], "swin": [4, 8, 16, 32]}


@pytest.fixture(scope="module", params=FAMILIES)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_backbone(request.param, tmp_path_factory.mktemp("backbones") / request.param)


def scene(seed: int, size: int = 96) -> tuple[np.ndarray, np.ndarray]:
    """A bright square on a dark ground, [3, y, x] in 0..1."""
    generator = np.random.default_rng(seed)
    truth = np.zeros((size, size), np.uint8)
    top, left = generator.integers(8, size // 2, 2)
    truth[top : top + size // 3, left : left + size // 3] = 1
    image = np.where(truth == 1, 0.8, 0.2) + generator.normal(0, 0.03, truth.shape)
    return np.stack([image] * 3).astype(np.float32), truth


def source(folder: Path) -> str:
    return f"transformers:{folder}"


def test_it_finds_what_the_examples_show(folder: Path) -> None:
    network = load_network(source(folder))
    assert isinstance(network, FoundationNetwork)
    segmenter = FewShotSegmenter.from_network(network, device="cpu")
    (image, truth), (query, expected) = scene(0), scene(1)
    scores = segmenter.predict(query[None], [segmenter.encode_support([image], [truth])])[0, 0]
    # Random features, so edges are blurred; but inside and far outside there is no doubt.
    assert np.median(scores[expected == 1]) > 160
    assert np.median(scores[expected == 0]) < 96


def test_background_alone_is_learned_from(folder: Path) -> None:
    segmenter = FewShotSegmenter.from_network(load_network(source(folder)), device="cpu")
    (image, truth), (other, bright) = scene(0), scene(1)
    corrected = np.where(bright == 1, 0, 255).astype(np.uint8)
    banks = [segmenter.encode_support([image], [truth]), segmenter.encode_support([image, other], [truth, corrected])]
    before, after = segmenter.predict(other[None], banks)[0]
    assert np.median(after[bright == 1]) < np.median(before[bright == 1])


def test_stages_strides_and_constants_come_from_the_folder(folder: Path) -> None:
    network = FoundationNetwork.load(folder)
    assert network.mean == (0.5, 0.4, 0.3)
    assert network.multiple == max(STRIDES[folder.name])
    assert network.enlarge == (2 if folder.name == "dinov2" else 1)
    assert network.features(torch.zeros(1, 3, 70, 50)).shape[1] == network.width
    (folder / "preprocessor_config.json").rename(folder / "kept")
    assert FoundationNetwork.load(folder).mean == (0.485, 0.456, 0.406)
    (folder / "kept").rename(folder / "preprocessor_config.json")


def test_any_size_alone_and_in_a_batch(folder: Path) -> None:
    network = load_network(source(folder))
    image, truth = (torch.from_numpy(part) for part in scene(0))
    bank = network.encode_support([network.normalize(image)], [truth])
    other = network.encode_support([network.normalize(image)], [1 - truth])
    tiles = torch.rand(3, 3, 61, 83, generator=torch.Generator().manual_seed(0))
    both = network.predict(tiles, [bank, other])
    assert both.shape == (3, 2, 61, 83)
    torch.testing.assert_close(both[:, :1], network.predict(tiles, [bank]))
    torch.testing.assert_close(both[1:2], network.predict(tiles[1:2], [bank, other]), atol=1e-5, rtol=1e-4)


def test_the_same_folder_gives_the_same_network_and_another_one_does_not(folder: Path, tmp_path: Path) -> None:
    network = load_network(source(folder))
    assert load_network(source(folder), pin=network.fingerprint()).fingerprint() == network.fingerprint()
    other = load_network(source(save_backbone(folder.name, tmp_path / "other", seed=1)))
    assert other.fingerprint() != network.fingerprint()
    image, truth = (torch.from_numpy(part) for part in scene(0))
    bank = pickle.loads(pickle.dumps(network.encode_support([image], [truth])))
    with pytest.raises(BankMismatchError):
        other.predict(image[None], [bank])
    with pytest.raises(WeightsError, match="not the pinned one"):
        load_network(source(folder), pin="0" * 64)
    save_weights(network, tmp_path / "all.safetensors")
    again = load_network(tmp_path / "all.safetensors")  # one file, without the folder
    assert again.fingerprint() == network.fingerprint()
    torch.testing.assert_close(again.predict(image[None], [bank]), network.predict(image[None], [bank]))


def test_nothing_is_trained(folder: Path) -> None:
    network = load_network(source(folder))
    assert not any(parameter.requires_grad for parameter in network.parameters())
    image, truth = scene(0)
    fit = fit_to_examples(network, support_tensors([image], [truth], "test"), adapt="auto", reduction=1.0)
    assert fit.network is network
    assert fit.report is None


def test_log_odds_of_our_own_network_are_added(folder: Path, tmp_path: Path) -> None:
    save_weights(small_pyramid(1), tmp_path / "own.safetensors")
    own, alone = load_network(tmp_path / "own.safetensors"), load_network(source(folder))
    both = load_network(f"{source(folder)}::{tmp_path / 'own.safetensors'}")
    image, truth = (torch.from_numpy(part) for part in scene(0))
    query = torch.from_numpy(scene(1)[0])

    def score(network: FewShotNetwork) -> torch.Tensor:
        bank = network.encode_support([network.normalize(image)], [truth])
        return network.predict(network.normalize(query)[None], [bank]).clamp(1e-6, 1 - 1e-6)

    expected = torch.sigmoid(2 * torch.logit(score(alone)) + torch.logit(score(own)))
    torch.testing.assert_close(score(both), expected, atol=1e-4, rtol=1e-3)
    assert both.fingerprint() not in (own.fingerprint(), alone.fingerprint())


def test_the_network_that_is_added_is_weighed_as_in_a_run_of_its_own(tmp_path: Path) -> None:
    own = small_network(pretrained="lite0")
    save_weights(own, tmp_path / "own.safetensors")
    folder = save_backbone("convnext", tmp_path / "convnext")
    both = load_network(f"{source(folder)}::{tmp_path / 'own.safetensors'}")
    images, masks = zip(*((torch.from_numpy(a) for a in scene(seed)) for seed in range(3)), strict=True)
    shown = [own.normalize(image) for image in images], list(masks)
    run = both.encode_for_run([both.normalize(image) for image in images], list(masks))
    weighed, usual = (own.encode_for_run(*shown, weigh=weigh).arrays["rules.mix"] for weigh in (True, False))
    assert (weighed != usual).any()
    np.testing.assert_allclose(run.arrays["partner.rules.mix"], weighed, atol=1e-4)
    judged = both.encode_support([both.normalize(image) for image in images], list(masks))
    np.testing.assert_array_equal(judged.arrays["partner.rules.mix"], usual)
    like = both.weighed_like(judged, run)
    np.testing.assert_array_equal(like.arrays["partner.rules.mix"], run.arrays["partner.rules.mix"])


def test_what_cannot_be_used_is_told_with_a_remedy(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="does not exist"):
        load_network(source(tmp_path / "nowhere"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(WeightsError, match=r"no config\.json"):
        load_network(source(tmp_path / "empty"))
    pickled = save_backbone("convnext", tmp_path / "pickled")
    torch.save({}, pickled / "pytorch_model.bin")
    (pickled / "model.safetensors").unlink()
    with pytest.raises(WeightsError, match="only pickled weights"):
        load_network(source(pickled))
    cut = save_backbone("convnext", tmp_path / "cut")
    (cut / "model.safetensors").write_bytes((cut / "model.safetensors").read_bytes()[:1000])
    with pytest.raises(WeightsError, match="no backbone with feature maps"):
        load_network(source(cut))
    strange = save_backbone("swin", tmp_path / "strange")
    (strange / "preprocessor_config.json").write_text('{"image_mean": [0.5], "image_std": [1, 1, 1]}')
    with pytest.raises(WeightsError, match="image_mean and image_std"):
        load_network(source(strange))


def test_a_family_without_feature_maps_and_missing_weights(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file
    from transformers import BertConfig, BertModel

    words = BertModel(
        BertConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8, vocab_size=20)
    )
    words.save_pretrained(tmp_path / "words")
    with pytest.raises(WeightsError, match="no backbone with feature maps"):
        load_network(source(tmp_path / "words"))
    part = save_backbone("convnext", tmp_path / "part")
    tensors = load_file(part / "model.safetensors")
    tensors.pop(next(name for name in tensors if name.endswith("pwconv1.weight")))
    save_file(tensors, part / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(WeightsError, match="lacks weights of its backbone"):
        load_network(source(part))


def test_code_of_others_is_never_run(tmp_path: Path) -> None:
    folder = save_backbone("convnext", tmp_path / "trap")
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "trap", "auto_map": {"AutoConfig": "trap.Trap", "AutoBackbone": "trap.Trap"}}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "trap.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w').close()\nclass Trap: pass\n")
    with pytest.raises(WeightsError, match="no backbone with feature maps"):
        load_network(source(folder))
    assert not (tmp_path / "ran").exists()


def test_bf16_agrees_with_fp32(folder: Path) -> None:
    (image, truth), (query, _) = scene(0), scene(1)
    exact, fast = (FewShotSegmenter.load(source(folder), device="cpu", precision=p) for p in ("fp32", "bf16"))
    masks = [s.predict(query[None], [s.encode_support([image], [truth])])[0, 0] >= 128 for s in (exact, fast)]
    assert (masks[0] == masks[1]).mean() > 0.98
    assert fast.reports[-1].precision == "bf16"


def test_training_it_is_refused(folder: Path) -> None:
    with pytest.raises(ModelInputError, match="nothing to train"):
        load_network(source(folder)).losses(None)  # type: ignore[arg-type]


def test_without_the_extra_the_remedy_names_it(tmp_path: Path) -> None:
    """In a process of its own, where the package cannot be found."""
    folder = save_backbone("convnext", tmp_path / "folder")
    code = (
        "import sys\n"
        "class Hidden:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'transformers': raise ModuleNotFoundError(name)\n"
        "import importlib.util as u; real = u.find_spec\n"
        "u.find_spec = lambda name, *a: None if name == 'transformers' else real(name, *a)\n"
        "from hdm_pipeline.model.checkpoints import load_network\n"
        f"load_network({source(folder)!r})\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "WeightsError" in result.stderr
    assert "pip install 'hdm-pipeline[foundation]'" in result.stderr
