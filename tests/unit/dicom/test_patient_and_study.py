"""What products repeat of patient and study is whole, or left out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset

from hdm_dicom.derived.patient_and_study import keep_whole
from hdm_dicom.derived.sources import source_header
from tests.dicom_series import write_series
from tests.unit.dicom.test_series import one

CODE = {"CodeValue": "1", "CodingSchemeDesignator": "SCT", "CodeMeaning": "x"}


def item(**attributes: Any) -> Dataset:
    dataset = Dataset()
    for name, value in attributes.items():
        setattr(dataset, name, value)
    return dataset


WHOLE = {
    "ProcedureCodeSequence": item(**CODE),
    "AdmittingDiagnosesCodeSequence": item(LongCodeValue="1" * 20, CodingSchemeDesignator="SCT", CodeMeaning="x"),
    "ReferencedStudySequence": item(ReferencedSOPClassUID="1.2", ReferencedSOPInstanceUID="1.3"),
    "OtherPatientIDsSequence": item(PatientID="7", TypeOfPatientID="TEXT"),
    "IssuerOfAccessionNumberSequence": item(LocalNamespaceEntityID="RIS"),
    "ReferringPhysicianIdentificationSequence": item(
        PersonIdentificationCodeSequence=[item(**CODE)], InstitutionName="Clinic"
    ),
}


@pytest.mark.parametrize("name", WHOLE)
def test_sequences_are_kept_where_all_items_are_whole(name: str) -> None:
    whole = WHOLE[name]
    header = item(**{name: [whole]})
    keep_whole(header)
    assert name in header
    for items in ([], [Dataset()], [whole, Dataset()]):
        header = item(**{name: items})
        keep_whole(header)
        assert name not in header
    for lacking in whole:
        header = item(**{name: [item(**{e.keyword: e.value for e in whole if e is not lacking})]})
        keep_whole(header)
        assert name not in header


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [("PregnancyStatus", 4, 9), ("SmokingStatus", "NO", "PERHAPS"), ("PatientSexNeutered", "ALTERED", "YES")],
)
def test_enumerated_values_that_are_none_are_left_out(name: str, good: Any, bad: Any) -> None:
    for value, kept in ((good, True), (bad, False)):
        header = item(**{name: value})
        keep_whole(header)
        assert (name in header) is kept


@pytest.mark.parametrize(
    "species", [{"PatientSpeciesDescription": "Canine"}, {"PatientSpeciesCodeSequence": [item(**CODE)]}]
)
def test_of_an_animal_everything_is_there_that_must_be(species: dict[str, Any]) -> None:
    header = item(**species, PatientBreedDescription="Poodle")
    keep_whole(header)
    assert header.PatientBreedDescription == "Poodle"
    for name in ("PatientBreedCodeSequence", "BreedRegistrationSequence", "ResponsiblePerson", "PatientSexNeutered"):
        assert name in header
        assert not header[name].value
    human = item(PatientSpeciesCodeSequence=[])
    keep_whole(human)
    assert len(human) == 0


def test_a_clinical_trial_is_told_whole_or_not_at_all() -> None:
    header = item(ClinicalTrialSponsorName="S", ClinicalTrialProtocolID="P", ClinicalTrialSubjectID="7")
    keep_whole(header)
    assert header.ClinicalTrialSiteName == ""
    assert header.ClinicalTrialSubjectID == "7"
    header = item(ClinicalTrialSponsorName="S", ClinicalTrialSiteID="4", PatientID="1")
    keep_whole(header)
    assert [element.keyword for element in header] == ["PatientID"]


@pytest.mark.parametrize(
    ("stated", "expected"),
    [
        ([1.1, 0, 0, 0, 0.9, 0], [1, 0, 0, 0, 1, 0]),
        ([0.866, 0.5, 0, -0.5, 0.866, 0], [0.866, 0.5, 0, -0.5, 0.866, 0]),
    ],
)
def test_directions_are_of_length_one_and_else_as_stated(
    tmp_path: Path, stated: list[float], expected: list[float]
) -> None:
    def change(dataset: Dataset, index: int) -> None:
        dataset.ImageOrientationPatient = stated

    write_series(tmp_path, orientation=np.array(expected), change=change)
    header = source_header(one(tmp_path))
    assert [float(value) for value in header.ImageOrientationPatient] == expected
