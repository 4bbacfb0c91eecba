"""Agreement with the published network, by golden vectors."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.golden.__main__ import main, run
from tests.golden.cases import check_case, check_keys
from tests.golden.folder import Check, GoldenFolder
from tests.golden.units import check_units


def _failures(checks: list[Check]) -> list[Check]:
    return [check for check in checks if not check.passed]


@pytest.mark.slow
def test_every_golden_value_is_met(golden_path: Path) -> None:
    folder = GoldenFolder(golden_path)
    checks = list(run(folder))
    assert _failures(checks) == []
    assert {check.case for check in checks} >= {*folder.cases, *folder.keys, "unit"}
    assert {"gradient norms (relative)", "predict by bank", "similarity"} <= {check.quantity for check in checks}


def test_a_wrong_value_is_reported_and_ends_with_1(
    golden_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("recipe.py", "keys.json"):
        shutil.copyfile(golden_path / name, tmp_path / name)
    arrays = dict(np.load(golden_path / "d_coco_vgg_s1_97.npz"))
    arrays["meta_out"] = arrays["meta_out"] + np.float32(2e-4)
    np.savez(tmp_path / "d_coco_vgg_s1_97.npz", **arrays)
    monkeypatch.setattr(sys, "argv", ["golden", str(tmp_path)])
    assert main() == 1
    beyond = [line for line in capsys.readouterr().out.splitlines() if "BEYOND" in line]
    assert len(beyond) == 1
    assert "meta_out" in beyond[0]


def test_checks_are_sensitive(golden_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = GoldenFolder(golden_path)
    monkeypatch.setattr("hdm_pipeline.model.hdmnet.matching.PROTOTYPE_EPS", 0.0)
    assert [check.quantity for check in _failures(list(check_units(folder)))] == ["gap_out"]
    monkeypatch.undo()
    monkeypatch.setattr("hdm_pipeline.model.hdmnet.network._PRIOR_GAIN", 9.9)
    failed = _failures(list(check_case(folder, "d_coco_vgg_s1_97", folder.network("d_coco_vgg_s1"))))
    assert {"meta_out", "final_out"} <= {check.quantity for check in failed}


def test_keys_of_every_configuration(golden_path: Path) -> None:
    checks = list(check_keys(GoldenFolder(golden_path)))
    assert len(checks) == 6
    assert _failures(checks) == []
