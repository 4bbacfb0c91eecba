"""Every format an episode list may name, in odd forms, and clear errors for the rest."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid
from rasterio.enums import ColorInterp

from hdm_dicom.nifti import NiftiWriter
from hdm_dicom.segmentation.writer import SegmentationWriter
from hdm_pipeline.errors import TrainingError
from hdm_pipeline.evaluation.images import read_image, read_mask
from tests.dicom_product import make_product
from tests.dicom_series import write_series


def save_tiff(path: Path, array: np.ndarray, **profile: object) -> Path:
    bands, height, width = array.shape
    with rasterio.open(
        path, "w", driver="GTiff", count=bands, height=height, width=width, dtype=array.dtype, **profile
    ) as file:
        file.write(array)
    return path


def save_dicom(path: Path, stored: np.ndarray, **attributes: object) -> Path:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = CTImageStorage
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = generate_uid()
    dataset.SOPClassUID = CTImageStorage
    dataset.Rows, dataset.Columns = stored.shape
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 16, 15, 1
    dataset.RescaleSlope, dataset.RescaleIntercept = 1, -1024
    for name, value in attributes.items():
        setattr(dataset, name, value)
    dataset.PixelData = stored.astype("<i2").tobytes()
    dataset.save_as(path, enforce_file_format=True)
    return path


@pytest.mark.parametrize("shape", [(12, 30), (1, 12, 30), (2, 12, 30), (3, 12, 30), (12, 30, 1), (12, 30, 3)])
@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.float16, np.float64, np.bool_])
def test_numpy_channel_first_and_last(tmp_path: Path, shape: tuple[int, ...], dtype: type) -> None:
    np.save(tmp_path / "a.npy", np.ones(shape, dtype))
    image = read_image(tmp_path / "a.npy")
    channels = {1: 1, 2: 2, 3: 3}[min(shape) if len(shape) == 3 else 1]
    assert image.pixels.shape == (channels, 12, 30)
    assert image.pixels.dtype == np.float32
    assert image.eight_bit == (dtype is np.uint8)


def test_a_name_does_not_tell_the_format(tmp_path: Path) -> None:
    save_dicom(tmp_path / "slice", np.full((4, 5), 24))
    image = read_image(tmp_path / "slice")
    assert (image.pixels == -1000).all()


def test_dicom_is_read_in_hounsfield_units_without_its_padding(tmp_path: Path) -> None:
    stored = np.array([[0, 1024, 2000], [-2000, 1084, -2000]])
    image = read_image(save_dicom(tmp_path / "a.dcm", stored, PixelPaddingValue=-2000))
    np.testing.assert_array_equal(image.pixels[0][image.valid], [-1024, 0, 976, 60])
    np.testing.assert_array_equal(image.valid, stored != -2000)


def test_geotiff_nodata_nan_scale_and_alpha(tmp_path: Path) -> None:
    values = np.array([[[1, 2, -9], [4, 5, 6]]], np.float32)
    values[0, 1, 1] = np.nan
    image = read_image(save_tiff(tmp_path / "a.tif", values, nodata=-9))
    np.testing.assert_array_equal(image.valid, [[True, True, False], [True, False, True]])
    assert np.isfinite(image.pixels).all()

    colors = np.full((4, 6, 7), 9, np.uint8)
    colors[3, 0] = 0
    path = save_tiff(tmp_path / "rgba.tif", colors)
    with rasterio.open(path, "r+") as file:
        file.colorinterp = [ColorInterp.red, ColorInterp.green, ColorInterp.blue, ColorInterp.alpha]
        file.scales, file.offsets = [2.0] * 4, [1.0] * 4
    image = read_image(path)
    assert image.pixels.shape == (3, 6, 7)
    assert (image.pixels[:, 1:] == 19).all()
    assert not image.valid[0].any()
    assert image.valid[1:].all()


@pytest.mark.parametrize(("mode", "channels"), [("L", 1), ("RGB", 3), ("RGBA", 3), ("LA", 1), ("P", 3), ("I;16", 1)])
def test_pictures_of_any_mode(tmp_path: Path, mode: str, channels: int) -> None:
    color = Image.new("RGB", (9, 5), (10, 10, 10))
    if mode == "I;16":
        picture = Image.new(mode, (9, 5), 3000)
    else:
        picture = color.quantize() if mode == "P" else color.convert(mode)  # convert to P would dither
    picture.save(tmp_path / "a.png")
    image = read_image(tmp_path / "a.png")
    assert image.pixels.shape == (channels, 5, 9)
    assert image.pixels.max() == (3000 if mode == "I;16" else 10)


def test_jpeg(tmp_path: Path) -> None:
    Image.new("RGB", (9, 5), (200, 100, 50)).save(tmp_path / "a.jpg")
    assert read_image(tmp_path / "a.jpg").pixels.shape == (3, 5, 9)


def test_bands_are_chosen_from_one(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.arange(4)[:, None, None] * np.ones((4, 8, 8)))
    assert read_image(tmp_path / "a.npy", (4, 2)).pixels[:, 0, 0].tolist() == [3, 1]
    with pytest.raises(TrainingError, match="not channel 5"):
        read_image(tmp_path / "a.npy", (5,))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "format of the file is not known"),
        (b"\x89PNG\r\n\x1a\nrest", "picture file cannot be decoded"),
        (b"II*\x00broken", "GeoTIFF file cannot be decoded"),
        (bytes(128) + b"DICM" + b"broken", "DICOM file cannot be used"),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    for read in (read_image, read_mask):
        (tmp_path / "a.png").write_bytes(content)
        with pytest.raises(TrainingError, match=message) as caught:
            read(tmp_path / "a.png")
        assert "a.png" in caught.value.where
        assert caught.value.remedy


def test_files_of_several_slices_and_too_large_ones_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    several = save_dicom(tmp_path / "several.dcm", np.zeros((8, 5)), NumberOfFrames=2, Rows=4)
    with pytest.raises(TrainingError, match="2 slices"):
        read_image(several)
    monkeypatch.setattr("hdm_pipeline.evaluation.pictures.MAX_PIXELS", 19)
    np.save(tmp_path / "a.npy", np.zeros((4, 5)))
    Image.new("L", (5, 4)).save(tmp_path / "a.png")
    save_tiff(tmp_path / "a.tif", np.zeros((1, 4, 5), np.uint8))
    for name in ("a.npy", "a.png", "a.tif"):
        with pytest.raises(TrainingError, match="5 x 4 pixels is too large"):
            read_image(tmp_path / name)


def test_geotiffs_are_eight_bit_unless_a_scale_makes_them_something_else(tmp_path: Path) -> None:
    path = save_tiff(tmp_path / "a.tif", np.full((1, 4, 5), 9, np.uint8))
    assert read_image(path).eight_bit
    with rasterio.open(path, "r+") as file:
        file.scales = [1 / 255]
    assert not read_image(path).eight_bit
    assert not read_image(save_tiff(tmp_path / "b.tif", np.full((1, 4, 5), 9, np.uint16))).eight_bit


def test_a_geotiff_palette_stands_for_its_colors_in_an_image_and_for_labels_in_a_mask(tmp_path: Path) -> None:
    path = save_tiff(tmp_path / "a.tif", np.array([[[0, 1, 255]]], np.uint8), photometric="palette", nodata=255)
    with rasterio.open(path, "r+") as file:
        file.write_colormap(1, {0: (10, 20, 30, 255), 1: (40, 50, 60, 255), 255: (0, 0, 0, 0)})
    image = read_image(path)
    np.testing.assert_array_equal(image.pixels[:, 0, :2].T, [(10, 20, 30), (40, 50, 60)])
    assert image.valid[0].tolist() == [True, True, False]
    assert read_mask(path).labels.tolist() == [[0, 1, 255]]


def test_alpha_of_a_gray_geotiff_is_no_channel(tmp_path: Path) -> None:
    path = save_tiff(tmp_path / "a.tif", np.array([[[5, 6]], [[255, 0]]], np.uint8))
    with rasterio.open(path, "r+") as file:
        file.colorinterp = [ColorInterp.gray, ColorInterp.alpha]
    image = read_image(path)
    assert image.pixels.tolist() == [[[5, 0]]]
    assert image.valid.tolist() == [[True, False]]


@pytest.mark.parametrize("nodata", [0, 1])
def test_a_mask_that_declares_a_label_as_nodata_keeps_it(tmp_path: Path, nodata: int) -> None:
    mask = np.array([[0, 1, 255]], np.uint8)
    assert read_mask(save_tiff(tmp_path / "a.tif", mask[None], nodata=nodata)).labels.tolist() == mask.tolist()


def test_missing_and_complex_and_objects(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="does not exist"):
        read_image(tmp_path / "none.png")
    np.save(tmp_path / "c.npy", np.ones((4, 4), np.complex64))
    with pytest.raises(TrainingError, match="complex"):
        read_image(tmp_path / "c.npy")
    np.save(tmp_path / "o.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(TrainingError, match="cannot be decoded"):
        read_image(tmp_path / "o.npy")


def test_masks_of_every_format_agree(tmp_path: Path) -> None:
    mask = np.array([[0, 1, 255], [1, 0, 0]], np.uint8)
    np.save(tmp_path / "a.npy", mask.astype(np.float32))
    Image.fromarray(mask).save(tmp_path / "a.png")
    palette = Image.fromarray(mask, "P")
    palette.putpalette([7, 7, 7] * 256)
    palette.save(tmp_path / "p.png")
    Image.fromarray(np.stack([mask] * 3, axis=-1)).save(tmp_path / "rgb.png")
    save_tiff(tmp_path / "a.tif", mask[None])
    declared = np.where(mask == 255, -1, mask).astype(np.int16)
    save_tiff(tmp_path / "nodata.tif", declared[None], nodata=-1)
    for name in ("a.npy", "a.png", "p.png", "rgb.png", "a.tif", "nodata.tif"):
        np.testing.assert_array_equal(read_mask(tmp_path / name).labels, mask, err_msg=name)
    Image.fromarray(mask == 1).save(tmp_path / "one_bit.png")
    np.testing.assert_array_equal(read_mask(tmp_path / "one_bit.png").labels, mask == 1)


def test_other_label_values_are_refused_by_name(tmp_path: Path) -> None:
    Image.fromarray(np.array([[0, 2, 7]], np.uint8)).save(tmp_path / "a.png")
    with pytest.raises(TrainingError, match="2, 7"):
        read_mask(tmp_path / "a.png")


def test_volumes_of_labels_are_told_what_to_save(tmp_path: Path) -> None:
    write_series(tmp_path / "series")
    segmentation, nifti = tmp_path / "labels.dcm", tmp_path / "labels.nii.gz"
    product = make_product(tmp_path / "series")
    SegmentationWriter().write(product, segmentation)
    NiftiWriter().write(product, nifti)
    for path in (segmentation, nifti):
        with pytest.raises(TrainingError) as caught:
            read_mask(path)
        assert "save the slice that you mean as PNG or NumPy" in caught.value.remedy
