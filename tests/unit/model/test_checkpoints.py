"""Weights on disk: ours, the authors', and what is refused."""

from __future__ import annotations

import math
import pickle
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from hdm_pipeline.cli.weights import app
from hdm_pipeline.errors import WeightsError
from hdm_pipeline.hashing import file_hash
from hdm_pipeline.model.checkpoints import load_network, read_header, reconfigure, save_weights
from hdm_pipeline.model.hdmnet.network import HDMNet
from tests.small_pyramid import small_pyramid
from tests.unit.model.conftest import make_network


@pytest.fixture(scope="module")
def released(vgg: HDMNet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint as several GPUs write it, in the middle of an epoch."""
    path = tmp_path_factory.mktemp("released") / "train_epoch_49.5_0.4321.pth"
    state = {f"module.{key}": value for key, value in vgg.state_dict().items()}
    optimizer = torch.optim.AdamW(vgg.gram_merge.parameters()).state_dict()
    torch.save({"epoch": 49.5, "state_dict": state, "optimizer": optimizer}, path)
    return path


def test_a_file_rebuilds_its_network(vgg: HDMNet, tmp_path: Path) -> None:
    path = tmp_path / "deep" / "w.safetensors"
    network = reconfigure(vgg, base_learner=False, ensemble="pooled", support_tokens=64)
    fingerprint = save_weights(network, path, info={"licence": "CC0"})
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    loaded = load_network(path)
    assert torch.equal(torch.rand(1), expected)  # loading does not touch the caller's random numbers
    assert loaded.config == network.config
    assert loaded.fingerprint() == fingerprint
    assert not loaded.training
    assert read_header(path).info == {"licence": "CC0"}
    assert [file.name for file in path.parent.iterdir()] == ["w.safetensors"]


def test_pin_is_the_file_or_the_fingerprint(vgg: HDMNet, tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    fingerprint = save_weights(vgg, path)
    for pin in (fingerprint, file_hash(path), "sha256:" + file_hash(path).upper()):
        load_network(path, pin=pin)
    with pytest.raises(WeightsError, match="not the pinned"):
        load_network(path, pin="1" * 64)
    with pytest.raises(WeightsError, match="is not a SHA-256"):
        load_network(path, pin="abc")


def test_a_released_checkpoint_loads_strictly(vgg: HDMNet, released: Path) -> None:
    network = load_network(released)
    assert network.config == vgg.config
    assert network.fingerprint() == vgg.fingerprint()


@pytest.mark.parametrize(("shot", "kshot_dim"), [(5, 2), (5, 0), (2, 3)])
def test_shots_follow_from_the_keys(tmp_path: Path, shot: int, kshot_dim: int) -> None:
    network = make_network(shot=shot, kshot_dim=kshot_dim)
    torch.save({"epoch": 3, "state_dict": network.state_dict(), "optimizer": {}}, tmp_path / "a.pth")
    assert load_network(tmp_path / "a.pth").config == network.config


def test_wrong_keys_are_named(vgg: HDMNet, tmp_path: Path) -> None:
    state = dict(vgg.state_dict())
    del state["cls.0.weight"]
    state["extra"] = torch.zeros(1)
    state["gram_merge.weight"] = torch.zeros(1, 3, 1, 1)
    path = tmp_path / "a.pth"
    torch.save({"epoch": 1, "state_dict": state, "optimizer": {}}, path)
    with pytest.raises(WeightsError) as error:
        load_network(path)
    for part in ("1 missing: cls.0.weight", "1 unexpected: extra", "gram_merge.weight (1, 3, 1, 1)", str(path)):
        assert part in str(error.value)
    torch.save({"model": state, "epoch": 1}, path)
    with pytest.raises(WeightsError, match="missing optimizer, state_dict; unexpected model"):
        load_network(path)


class _Bomb:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (exec, ("raise SystemExit('code of the file was run')",))


def test_code_and_garbage_are_refused(tmp_path: Path, vgg: HDMNet) -> None:
    bomb, garbage, half = tmp_path / "bomb.pth", tmp_path / "garbage.pth", tmp_path / "half.safetensors"
    bomb.write_bytes(pickle.dumps({"epoch": _Bomb()}, protocol=2))
    garbage.write_bytes(b"not a checkpoint")
    save_weights(vgg, half)
    half.write_bytes(half.read_bytes()[:1_000_000])
    for path in (bomb, garbage, half, tmp_path / "absent.pth", "builtin:none", "builtin:../x"):
        with pytest.raises(WeightsError):
            load_network(path)


@pytest.mark.parametrize("values", [(math.nan,), (math.inf,), (math.inf, -math.inf)])
@pytest.mark.parametrize("half", [False, True])
def test_weights_that_are_not_finite_are_refused_by_name(tmp_path: Path, values: tuple[float, ...], half: bool) -> None:
    network = small_pyramid(1)
    with torch.no_grad():
        weight = network.get_parameter("decoder.enter.1.weight")
        for place, value in enumerate(values):
            weight[0, 0, 0, place] = value
    save_weights(network, tmp_path / "w.safetensors", half=half)
    with pytest.raises(WeightsError, match=r"NaN or infinity; 1 tensors: decoder\.enter\.1\.weight") as caught:
        load_network(tmp_path / "w.safetensors")
    assert caught.value.where == str(tmp_path / "w.safetensors")


def test_the_largest_finite_weights_are_no_infinite_ones(tmp_path: Path) -> None:
    network = small_pyramid(1)
    with torch.no_grad():
        network.get_parameter("decoder.enter.1.weight").fill_(torch.finfo(torch.float32).max)
    save_weights(network, tmp_path / "w.safetensors")
    assert load_network(tmp_path / "w.safetensors").fingerprint() == network.fingerprint()


def test_command_line_converts_and_inspects(released: Path, tmp_path: Path, vgg: HDMNet) -> None:
    target = tmp_path / "w.safetensors"
    done = CliRunner().invoke(app, ["convert", str(released), str(target), "--no-base-learner"])
    assert done.exit_code == 0, done.output
    text = CliRunner().invoke(app, ["inspect", str(target)]).output
    network = load_network(target)
    for part in ("hdmnet", "licence", network.fingerprint(), file_hash(target), "'base_learner': False"):
        assert part in text
    assert str(sum(p.numel() for p in vgg.parameters())) in text
    refused = CliRunner().invoke(app, ["convert", str(released), str(tmp_path / "w.pth")])
    assert isinstance(refused.exception, WeightsError)
