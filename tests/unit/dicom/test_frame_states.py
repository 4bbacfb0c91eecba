"""Frames of one file that lie at one place are told apart by what their functional groups say of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from pydicom.dataset import Dataset

from tests.dicom_multiframe import write_enhanced
from tests.unit.dicom.test_grouping import groups


@pytest.mark.parametrize(
    ("sequence", "attribute", "of"),
    [
        ("TemporalPositionSequence", "TemporalPositionTimeOffset", float),
        ("MRModifierSequence", "InversionTimes", lambda volume: [100.0, 50.0 * volume]),
        ("CardiacSynchronizationSequence", "NominalCardiacTriggerDelayTime", float),
        ("RespiratorySynchronizationSequence", "NominalPercentageOfRespiratoryPhase", lambda volume: 10.0 * volume),
        ("MRVelocityEncodingSequence", "VelocityEncodingDirection", lambda volume: [float(volume), 1.0, 0.0]),
    ],
)
def test_functional_groups_tell_frames_apart(
    tmp_path: Path, sequence: str, attribute: str, of: Callable[[int], object]
) -> None:
    def state(item: Dataset, index: int) -> None:
        group = Dataset()
        setattr(group, attribute, of(index // 4))
        setattr(item, sequence, [group])

    write_enhanced(tmp_path / "a", [2.0 * (i % 4) for i in range(8)], change=state)
    found = groups(tmp_path)
    assert [len(volume.frames) for volume in found] == [4, 4]
    assert {volume.first.index for volume in found} == {0, 4}
