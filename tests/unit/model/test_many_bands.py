"""More than three bands through a segmenter: supports, banks, tiles and refusals."""

from __future__ import annotations

import dataclasses
import pickle
from pathlib import Path

import numpy as np
import pytest

from hdm_pipeline.errors import BankMismatchError, ModelInputError, SupportError
from hdm_pipeline.iou import iou
from hdm_pipeline.model.bands.banks import DEFAULT_WEIGHT, ClassBands
from hdm_pipeline.model.bank import SupportBank
from hdm_pipeline.model.segmenter import FewShotSegmenter
from hdm_pipeline.model.support_tensors import SupportTensors, bounded, fit_projection, support_tensors
from hdm_pipeline.notebook import segment
from hdm_pipeline.support.bands import BandWeight, best_weight, choose_band_weight
from tests.many_bands import picture


@pytest.fixture(scope="module")
def segmenter() -> FewShotSegmenter:
    return FewShotSegmenter.load("builtin:pyramid-small", device="cpu")


@pytest.fixture(scope="module")
def bank(segmenter: FewShotSegmenter) -> SupportBank:
    image, mask = picture(0)
    return segmenter.encode_support([image], [mask], class_name="water")


def test_all_bands_find_what_three_do_not_show(segmenter: FewShotSegmenter, bank: SupportBank) -> None:
    (image, mask), (query, truth) = picture(0), picture(5)
    three = segmenter.encode_support([image[:3]], [mask])
    poor = iou(segmenter.predict(query[None, :3], [three])[0, 0] >= 128, truth)
    good = iou(segmenter.predict(query[None], [bank])[0, 0] >= 128, truth)
    assert good > 0.8
    assert good > poor + 0.3


def test_both_the_projection_and_the_evidence_have_a_part(segmenter: FewShotSegmenter, bank: SupportBank) -> None:
    query, _ = picture(5)
    scores = segmenter.predict(query[None], [bank])
    found = ClassBands.of(bank)
    assert found is not None
    assert found.weight == DEFAULT_WEIGHT
    silent = segmenter.predict(query[None], [dataclasses.replace(found, weight=0.0).attach(bank)])
    assert not np.array_equal(scores, silent)
    channels = found.projection.apply(SupportTensors.of(query, picture(5)[1], "", found.projection).bands[None])
    network = segmenter.network
    alone = network.predict(network.normalize(channels), [bank])[0, 0].numpy()
    assert np.abs(silent[0, 0] - 255 * alone).max() <= 1


def test_a_bank_keeps_its_bands_on_disk_and_between_processes(
    segmenter: FewShotSegmenter, bank: SupportBank, tmp_path: Path
) -> None:
    query, _ = picture(5)
    bank.save(tmp_path / "bank.safetensors")
    expected = segmenter.predict(query[None], [bank])
    for copy in (SupportBank.load(tmp_path / "bank.safetensors"), pickle.loads(pickle.dumps(bank))):
        assert copy.hash == bank.hash
        assert np.array_equal(segmenter.predict(query[None], [copy]), expected)
    found = ClassBands.of(bank)
    assert found is not None
    assert dataclasses.replace(found, weight=1.0).attach(bank).hash != bank.hash
    broken = {name: array for name, array in bank.arrays.items() if name != "bands.coefficients"}
    with pytest.raises(BankMismatchError, match="lacks coefficients"):
        segmenter.predict(query[None], [dataclasses.replace(bank, arrays=broken)])


def test_invalid_pixels_score_zero_and_spread_nothing(segmenter: FewShotSegmenter, bank: SupportBank) -> None:
    query, _ = picture(5)
    query[10, 20:40, 30:50] = np.nan  # in one band of twelve
    scores = segmenter.predict(query[None], [bank])[0, 0]
    hole = np.isnan(query[10])
    assert (scores[hole] == 0).all()
    query[:, hole] = 1e30
    assert np.array_equal(segmenter.predict(query[None], [bank], valid=~hole[None])[0, 0], scores)


def test_two_classes_share_a_projection(segmenter: FewShotSegmenter) -> None:
    pairs = [picture(0), picture(1, shown=(2, 4))]
    projection = fit_projection([[pair] for pair in pairs])
    assert projection is not None
    examples = [SupportTensors.of(*pair, "", projection) for pair in pairs]
    banks = [segmenter.encode([example]) for example in examples]
    for index, shown in enumerate(((7, 9), (2, 4))):
        query, truth = picture(6, shown=shown)
        assert iou(segmenter.predict(query[None], banks)[0, index] >= 128, truth) > 0.6


def test_mixed_banks_are_refused(segmenter: FewShotSegmenter, bank: SupportBank) -> None:
    query, _ = picture(5)
    other = segmenter.encode_support([picture(1)[0]], [picture(1)[1]], class_name="fire")
    plain = segmenter.encode_support([picture(1)[0][:3]], [picture(1)[1]], class_name="plain")
    for second in (other, plain):
        with pytest.raises(BankMismatchError, match="three channels in different ways"):
            segmenter.predict(query[None], [bank, second])
    with pytest.raises(ModelInputError, match="tiles have 5 bands, the examples 12"):
        segmenter.predict(query[None, :5], [bank])
    with pytest.raises(ModelInputError, match="images have 12 channels"):
        segmenter.predict(query[None], [plain])


def test_bad_numbers_of_bands_are_refused() -> None:
    image, mask = picture(0, bands=33)
    with pytest.raises(SupportError, match="33 bands") as caught:
        support_tensors([image], [mask], "class 'water'")
    assert "1 to 32" in caught.value.remedy
    with pytest.raises(SupportError, match=r"\[3, 12\] bands"):
        support_tensors([image[:12], image[:3]], [mask, mask], "class 'water'")
    with pytest.raises(SupportError, match="example 1 has 5 bands, the array 12"):
        segment(image[:12], [(image[:5], mask)])
    with pytest.raises(SupportError, match="no example has a labelled pixel"):
        support_tensors([image[:12]], [np.full_like(mask, 255)], "class 'water'")


def test_up_to_three_bands_are_as_they_were(segmenter: FewShotSegmenter) -> None:
    image, mask = picture(0)
    for bands in (1, 2, 3):
        (example,) = support_tensors([image[:bands]], [mask], "")
        assert example.bands is None
        assert fit_projection([[(image[:bands], mask)]]) is None
        assert not any(name.startswith("bands.") for name in segmenter.encode([example]).arrays)


def test_a_part_of_an_example_keeps_its_bands() -> None:
    image, mask = picture(0)
    (example,) = support_tensors([image], [mask], "")
    for part in bounded([example], side=48):
        assert part.bands is not None
        assert part.bands.shape == (12, 48, 48)
        assert part.projection is example.projection
    assert example.image is example.bands


def test_arrays_of_many_bands_are_segmented_in_one_call(segmenter: FewShotSegmenter) -> None:
    query, truth = picture(5, side=192)
    found = segment(query, [picture(0), picture(1)], segmenter=segmenter, tile=128, overlap=32)
    assert iou(found == 1, truth) > 0.8


def test_segment_leaves_the_segmenter_that_it_is_given_as_it_was() -> None:
    own = FewShotSegmenter.load("builtin:pyramid-small", device="cpu")
    own.band_weight = 0.625  # none of those that are tried
    query, _ = picture(5)
    found = segment(query, [picture(0)], segmenter=own)
    assert own.band_weight == 0.625
    own.band_weight = 0.0
    assert np.array_equal(segment(query, [picture(0)], segmenter=own), found)


def test_fewer_than_25_points_do_not_choose_how_much_the_bands_count(segmenter: FewShotSegmenter) -> None:
    pictures = [picture(seed) for seed in range(2)]
    images = [image for image, _ in pictures]

    def weight(points: int | None) -> BandWeight:
        masks = [mask if points is None else thinned(mask, points) for _, mask in pictures]
        chosen = choose_band_weight(segmenter, support_tensors(images, masks, "test"))
        assert chosen is not None
        return chosen

    assert weight(None).held_out_iou
    assert weight(13).held_out_iou  # 26 in all
    assert weight(12) == BandWeight()
    assert best_weight({0.25: 0.5, 1.0: 0.55}) == 1.0
    assert best_weight({0.25: 0.5, 1.0: 0.55}, gain=0.09) == DEFAULT_WEIGHT


def thinned(mask: np.ndarray, points: int) -> np.ndarray:
    known = np.full_like(mask, 255)
    for value in (0, 1):
        known.flat[np.flatnonzero(mask == value)[:: np.count_nonzero(mask == value) // points][:points]] = value
    return known
