"""One stored image decoded, colour too; its values are the conversion's. A frame at a time, whatever the file holds.

Decoders are pydicom's plug-ins over permissively licensed codecs: GDCM (BSD), CharLS (BSD), OpenJPEG (BSD),
pydicom's own RLE (MIT), Pillow (MIT-CMU). Only twelve-bit lossy JPEG needs pylibjpeg-libjpeg (GPL-3), which is the
user's to install.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
import pydicom
from pydicom.dataset import FileDataset
from pydicom.encaps import encapsulate, get_frame
from pydicom.pixels.processing import apply_color_lut
from pydicom.pixels.utils import pixel_array
from pydicom.uid import UID, ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian, RLELossless

from hdm_dicom.files.attributes import READ_ERRORS
from hdm_dicom.files.codestreams import codestream_size
from hdm_dicom.files.headers import read_header, transfer_syntax
from hdm_dicom.files.instances import Frame, Instance
from hdm_dicom.files.zipped import open_file
from hdm_dicom.volumes.conversion import Conversion
from hdm_dicom.volumes.stack import Image
from hdm_dicom.volumes.voi import displayed
from hdm_pipeline.errors import ReadError, SceneError, UnsupportedSceneError, counted

_MONOCHROME = ("MONOCHROME1", "MONOCHROME2")
_COLOR = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_PARTIAL_420", "YBR_PARTIAL_422", "YBR_ICT", "YBR_RCT")
_AS_THEY_ARE = (ImplicitVRLittleEndian, ExplicitVRLittleEndian)
_PALETTE = "PALETTE COLOR"
_JPEG_EXTENDED = "1.2.840.10008.1.2.4.51"


@contextmanager
def reading(where: str, what: str) -> Iterator[None]:
    """Turn what parsers and decoders raise into `ReadError`, without repeating their text: it may quote the file."""
    try:
        yield
    except SceneError:
        raise
    except READ_ERRORS as error:
        raise ReadError(
            f"{what} ({type(error).__name__})", where=where, remedy="export the series again; the file is damaged"
        ) from None


class FrameReader:
    """Decodes frames; keeps the last file's header, never more than one frame's pixels.

    Args:
        where: scene, for messages.
        max_frame_pixels: most rows x columns that are decoded.
        conversion: from stored values to quantities; by default each frame's own rescale or Modality LUT.
    """

    def __init__(self, where: str, max_frame_pixels: int, conversion: Conversion = Conversion()) -> None:  # noqa: B008
        self._where = where
        self._conversion = conversion
        self._max_frame_pixels = max_frame_pixels
        self._path = ""
        self._header = FileDataset("", {})

    def read(self, frame: Frame, number: int) -> Image:
        """[bands, rows, columns] float32 in the unit of the conversion, NaN where padded.

        Args:
            frame: what to decode.
            number: of the slice, for messages.

        Raises:
            ReadError: absent, truncated or corrupt pixel data.
            UnsupportedSceneError: an encoding that is not supported, or more pixels than allowed.
        """
        where = f"{self._where}, slice {number}"
        if self._needs_no_header(frame):
            check_frame(frame.instance, self._max_frame_pixels, where)
            with reading(where, "pixels cannot be decoded"), open_file(frame.instance.path) as file:
                samples = _plain_samples(_frame_bytes(file, frame), frame.instance)
            with reading(where, "pixels cannot be converted"):
                stored = self._conversion.stored(samples, frame.instance, where)
                return self._conversion.quantities(stored, frame, self._header, where)
        raw, header = self.raw(frame, where)
        with reading(where, "pixels cannot be converted"):
            stored = self._conversion.stored(raw, frame.instance, where) if plain_bits(frame.instance) else raw
            pixels = self._conversion.quantities(stored, frame, header, where)
            return displayed(pixels, frame, header, where) if self._conversion.voi and stored.ndim == 2 else pixels

    def _needs_no_header(self, frame: Frame) -> bool:
        """The samples stand in the file as they are, and what they mean is known: nothing is parsed a second time."""
        instance = frame.instance
        if not instance.stated or frame.lut or self._conversion.voi or instance.syntax not in _AS_THEY_ARE:
            return False
        return instance.samples == 1 and instance.photometric in _MONOCHROME and instance.bits_allocated in (8, 16)

    def raw(self, frame: Frame, where: str) -> tuple[npt.NDArray[Any], FileDataset]:
        """Decoded samples [rows, columns] or [rows, columns, 3], and the data set that describes them.

        Samples of `plain_bits` images come with all their bits, also those that do not count.

        Raises:
            ReadError, UnsupportedSceneError: see `read`.
        """
        check_frame(frame.instance, self._max_frame_pixels, where)
        with reading(where, "pixels cannot be decoded"):
            try:
                return self._decode(frame)
            except RuntimeError:
                if frame.instance.syntax == _JPEG_EXTENDED and frame.instance.bits_stored > 8:
                    raise UnsupportedSceneError(
                        "12-bit lossy JPEG: no permissively licensed decoder",
                        where=where,
                        remedy="pip install pylibjpeg-libjpeg (GPL-3), or export the series uncompressed",
                    ) from None
                raise

    def _decode(self, frame: Frame) -> tuple[npt.NDArray[Any], FileDataset]:
        # pylibjpeg-rle, where installed, ends the process on a damaged frame (a panic is no Exception).
        plugin = "pydicom" if frame.instance.syntax == RLELossless else ""
        if _whole(frame.instance):
            with open_file(frame.instance.path) as whole:
                dataset = pydicom.dcmread(whole, force=True)
            index: int | None = frame.index
        else:
            dataset = self._one_frame(frame)
            index = None
        correct = not plain_bits(frame.instance)
        pixels = pixel_array(dataset, index=index, decoding_plugin=plugin, correct_unused_bits=correct)
        if frame.instance.photometric == _PALETTE:
            pixels = apply_color_lut(pixels, dataset)
            if pixels.dtype == np.uint16:
                pixels = (pixels >> 8).astype(np.uint8)
        return pixels, dataset

    def _one_frame(self, frame: Frame) -> FileDataset:
        """The file's data set as if it held only this frame, so that a frame costs no more than its own bytes."""
        instance = frame.instance
        if self._path != instance.path:
            self._header = read_header(instance.path)
            if not hasattr(self._header, "file_meta"):
                self._header.file_meta = pydicom.dataset.FileMetaDataset()
            self._header.file_meta.TransferSyntaxUID = UID(transfer_syntax(self._header))
            for name in ("ExtendedOffsetTable", "ExtendedOffsetTableLengths"):
                self._header.pop(name, None)
            self._path = instance.path
        dataset = self._header
        with open_file(instance.path) as file:
            raw = _frame_bytes(file, frame)
        if dataset.file_meta.TransferSyntaxUID.is_encapsulated:
            _check_codestream(raw, self._max_frame_pixels, self._where)
            raw = encapsulate([raw])
        dataset.NumberOfFrames = 1
        setattr(dataset, _pixel_keyword(dataset, instance), raw)
        return dataset


def _plain_samples(raw: bytes, instance: Instance) -> npt.NDArray[Any]:
    """[rows, columns] of the bytes of an uncompressed frame."""
    kind = np.dtype(f"<{'i' if instance.signed else 'u'}{instance.bits_allocated // 8}")
    return np.frombuffer(raw, dtype=kind).reshape(instance.rows, instance.columns)


def plain_bits(instance: Instance) -> bool:
    """The samples stand in the file as they are, with bits that may not count; other codecs know no such bits."""
    native = not UID(instance.syntax).is_encapsulated or instance.syntax == RLELossless
    return native and instance.photometric in _MONOCHROME


def _whole(instance: Instance) -> bool:
    """Frames of such a file cannot be cut out by offset: deflated, swapped bytes, wrongly marked as compressed."""
    syntax = UID(instance.syntax)
    swapped = syntax == ExplicitVRBigEndian and instance.bits_allocated == 8
    mislabelled = syntax.is_encapsulated and instance.span is not None and instance.span.length is not None
    return instance.deflated or swapped or mislabelled


def _pixel_keyword(dataset: FileDataset, instance: Instance) -> str:
    # Float pixels carry no BitsStored (PS3.3 C.7.6.24).
    if "BitsStored" in dataset:
        return "PixelData"
    return "DoubleFloatPixelData" if instance.bits_allocated == 64 else "FloatPixelData"


def check_frame(instance: Instance, max_pixels: int, where: str) -> None:
    """Refuse, before anything is decoded, what is too large, absent, truncated or of an unknown kind.

    Raises:
        ReadError: no pixel data, or fewer bytes than the header promises.
        UnsupportedSceneError: too large, or an encoding that is not supported.
    """
    if instance.rows * instance.columns > max_pixels:
        raise UnsupportedSceneError(
            f"an image of {instance.rows} x {instance.columns} pixels is more than {max_pixels} pixels",
            where=where,
            remedy="raise input.options.max_frame_pixels if the file is to be trusted",
        )
    kinds = {1: (*_MONOCHROME, _PALETTE), 3: _COLOR}.get(instance.samples, ())
    if instance.photometric not in kinds:
        raise UnsupportedSceneError(
            f"pixels of photometric interpretation {instance.photometric[:16]!r} with {instance.samples} samples",
            where=where,
            remedy="convert the series to MONOCHROME2 or RGB",
        )
    if instance.bits_allocated not in (8, 16, 32, 64):
        raise UnsupportedSceneError(
            f"pixels of {instance.bits_allocated} bits", where=where, remedy="convert the series to 8 or 16 bits"
        )
    if instance.bits_stored > instance.bits_allocated:
        raise ReadError(
            f"BitsStored is {instance.bits_stored}, more than BitsAllocated, {instance.bits_allocated}",
            where=where,
            remedy="one of the two is wrong, and which one the file does not tell; correct it or export the file again",
        )
    if instance.deflated:
        return
    if instance.span is None:
        raise ReadError("the file holds no pixel data", where=where, remedy="export the series again, with pixels")
    needed = frame_bytes(instance) * instance.frames
    promised = instance.span.length if instance.span.length is not None else instance.span.available
    if not UID(instance.syntax).is_compressed and min(promised, instance.span.available) < needed:
        raise ReadError(
            f"pixel data hold {min(promised, instance.span.available)} bytes, the header promises {needed} "
            f"({counted(instance.frames, 'frame')})",
            where=where,
            remedy="the file is truncated or its header is wrong; export it again",
        )


def frame_bytes(instance: Instance) -> int:
    """Bytes of one uncompressed frame as stored."""
    samples = instance.rows * instance.columns * instance.samples
    if instance.photometric == "YBR_FULL_422" and not UID(instance.syntax).is_compressed:
        # Two luminance values share each pair of chrominances.
        samples = instance.rows * instance.columns * 2
    return samples * instance.bits_allocated // 8


def _frame_bytes(file: BinaryIO, frame: Frame) -> bytes:
    instance = frame.instance
    if instance.span is None:
        raise ValueError("no pixel data")
    file.seek(instance.span.offset)
    if UID(instance.syntax).is_encapsulated:
        return get_frame(file, frame.index, number_of_frames=instance.frames)
    size = frame_bytes(instance)
    file.seek(frame.index * size, io.SEEK_CUR)
    return file.read(size)


def _check_codestream(raw: bytes, max_pixels: int, where: str) -> None:
    """Refuse a compressed image whose own header asks for more pixels than allowed: decoders allocate by it."""
    size = codestream_size(raw)
    if size is not None and size[0] * size[1] > max_pixels:
        raise UnsupportedSceneError(
            f"a compressed image of {size[0]} x {size[1]} pixels is more than {max_pixels} pixels",
            where=where,
            remedy="raise input.options.max_frame_pixels if the file is to be trusted",
        )
