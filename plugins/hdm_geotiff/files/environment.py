"""How GDAL is used: which settings, which drivers, and how its failures become typed errors.

Datasets are opened with `sharing=False` and belong to the thread that opened them. The settings hold for the calls made
here and are gone afterwards, so that a notebook's own GDAL settings stay as they were.
"""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from contextvars import ContextVar
from functools import lru_cache
from pathlib import PurePath
from typing import TypeVar

import rasterio
from rasterio._err import CPLE_BaseError  # rasterio re-raises GDAL's own errors as these, and exports them nowhere else
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.io import DatasetReader
from rasterio.session import DummySession, Session

from hdm_geotiff.files.containers import container_of
from hdm_geotiff.files.contents import check_kind, what_it_is
from hdm_geotiff.files.followed import check_overviews, check_sidecars, check_vrt
from hdm_geotiff.files.remote import check_keys, endpoint_of_gdal, has_sidecars
from hdm_geotiff.files.uris import is_remote, is_virtual
from hdm_pipeline.errors import ReadError, UnsupportedSceneError, broken_link

T = TypeVar("T")

CACHE_MB = 64
"""GDAL's block cache per process: enough for a row of tiles of a wide scene, little compared with a model."""

GDAL_ERRORS = (RasterioError, CPLE_BaseError, OSError, UnicodeError)
"""Everything that a failing GDAL call may raise; a text in the file, or a name, that is no UTF-8 comes as the last."""

_DRIVERS = {".vrt": "VRT", ".png": "PNG", ".jp2": "JP2OpenJPEG", ".j2k": "JP2OpenJPEG"}
_LEAVE_OUT = "leave it out of the archive"

_NETWORK = ContextVar("_NETWORK", default=True)
"""Whether the calls of a `gdal_environment` may fetch. A VRT is looked at when it is first opened, which is in one."""

_MOST_TOLD = 240
"""Characters of what GDAL says that get into an error."""

# A scene without coordinates is said so in its header's warnings, once, and not on every open.
warnings.filterwarnings("ignore", category=NotGeoreferencedWarning)


@contextmanager
def gdal_environment(*, allow_network: bool = False) -> Iterator[None]:
    """GDAL's settings for one call or a few."""
    settings: dict[str, object] = {
        # Sidecars (.msk, .ovr) are probed by name: listing a folder of 100,000 files for each open is what hurts.
        "GDAL_DISABLE_READDIR_ON_OPEN": "TRUE",
        "GDAL_CACHEMAX": CACHE_MB,
        "GDAL_NUM_THREADS": 1,
        "GDAL_TIFF_INTERNAL_MASK": True,
        # For the network: a local file is in the kernel's cache, and one more copy of it costs a third of reading.
        "VSI_CACHE": allow_network,
        "VSI_CACHE_SIZE": 8 * 2**20,
        "GDAL_HTTP_MAX_RETRY": 3,
        "GDAL_HTTP_RETRY_DELAY": 1,
        "GDAL_HTTP_TIMEOUT": 60,
    }
    if not allow_network:
        # A VRT or a damaged file cannot make GDAL fetch anything: no URL ends like this.
        settings["CPL_VSIL_CURL_ALLOWED_EXTENSIONS"] = ".network-is-switched-off"
    before = _NETWORK.set(allow_network)
    try:
        with environment(allow_network=allow_network, **settings):
            yield
    finally:
        _NETWORK.reset(before)


def environment(*, allow_network: bool = False, **settings: object) -> rasterio.Env:
    """GDAL's settings and session: for local files, for which nobody asks for keys, or for such as lie in a bucket.

    Where the environment holds keys of AWS, rasterio alone would make a session of boto3 for each call. That takes
    longer than to read a tile.
    """
    if not allow_network:
        return rasterio.Env.from_defaults(session=DummySession(), **settings)
    return rasterio.Env.from_defaults(session=_session_of_buckets(), **endpoint_of_gdal(), **settings)


def lasting_environment(*, allow_network: bool) -> AbstractContextManager[object]:
    """What an open dataset of rasterio needs, if there is none yet; as rasterio itself would make it."""
    if rasterio.env.hasenv():
        return nullcontext()
    made: AbstractContextManager[object] = environment(allow_network=allow_network)
    return made


def _session_of_buckets() -> Session:
    """One session while the environment holds the same keys.

    Keys that a caller's own environment of rasterio has count before those of the process.
    """
    keys = tuple(sorted((name, value) for name, value in os.environ.items() if name.startswith("AWS_")))
    held = {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"} <= os.environ.keys()
    given = rasterio.env.hasenv() and "AWS_ACCESS_KEY_ID" in rasterio.env.getenv()
    return _session(keys) if held and not given else DummySession()


@lru_cache(maxsize=1)
def _session(_keys: tuple[tuple[str, str], ...]) -> Session:
    return Session.from_environ()


@contextmanager
def reading(where: str, doing: str, *, allow_network: bool = False, instead: str = "") -> Iterator[None]:
    """Run GDAL calls under `gdal_environment`; failures become `ReadError`, or `PeerRefusedError` if keys have expired.

    Args:
        where: the file, for the message.
        doing: what is tried, for the message: "cannot {doing}: ...".
        allow_network: whether the calls may fetch.
        instead: what else the user can do about a damaged file; by default, leave it out of the archive.
    """
    try:
        with gdal_environment(allow_network=allow_network):
            yield
    except GDAL_ERRORS as error:
        if allow_network and where.startswith("s3://"):
            check_keys(where, cause_of(error))
        raise ReadError(
            f"cannot {doing}: {cause_of(error)}", where=where, remedy=_remedy(where, instead or _LEAVE_OUT)
        ) from error


def open_dataset(uri: str) -> DatasetReader:
    """Open a raster by the one driver that its suffix allows: VRT, PNG, JPEG 2000, or else GTiff; within `reading`.

    Raises:
        ReadError: it is a pipe, socket or device.
        UnsupportedSceneError: it would make GDAL open what nobody asked for (`files.followed`).
    """
    check_kind(uri)
    check_sidecars(uri)
    if uri.lower().endswith(".vrt") and not _NETWORK.get():
        check_vrt(uri)
    try:
        dataset = _open(uri)
    except GDAL_ERRORS:
        if not uri.startswith("s3://"):
            raise
        dataset = again(uri, lambda: _open(uri))
    try:
        check_overviews(dataset, uri)
    except UnsupportedSceneError:
        dataset.close()
        raise
    return dataset


def _open(uri: str) -> DatasetReader:
    driver = _DRIVERS.get(PurePath(uri).suffix.lower(), "GTiff")
    target = (
        uri if is_remote(uri) or is_virtual(uri) else os.path.abspath(uri)
    )  # a file called "zip:x.tif" stays a file
    # GDAL asks a bucket twice for each of some forty names, at every open; one listing says that there are none.
    alone = uri.startswith("s3://") and not has_sidecars(uri)
    with environment(allow_network=True, GDAL_DISABLE_READDIR_ON_OPEN="EMPTY_DIR") if alone else nullcontext():
        return rasterio.open(target, driver=driver, sharing=False)


def again(uri: str, action: Callable[[], T]) -> T:
    """Do what failed once more, up to five times: a connection may have ended in the middle of an answer.

    GDAL repeats what a store refuses, but takes a body that was cut for a short file, and remembers it.

    Args:
        uri: what was read, in a bucket.
        action: opens it and reads.
    """
    folder, _, _ = uri.removeprefix("s3://").rpartition("/")
    with environment(allow_network=True, CPL_VSIL_CURL_NON_CACHED=f"/vsis3/{folder}"):
        for wait in (0.0, 0.5, 1.0, 2.0):
            time.sleep(wait)
            with suppress(*GDAL_ERRORS):
                return action()
        return action()


def cause_of(error: BaseException) -> str:
    """The most telling line of a GDAL failure: rasterio often says only "see previous exception"."""
    deepest = error
    while deepest.__cause__ is not None:
        deepest = deepest.__cause__
    lines = str(deepest).strip().splitlines()
    if not lines:
        return type(deepest).__name__
    # GDAL repeats what it asked of SQLite, which may be pages; what that said stands at the end.
    line = lines[0]
    return line if len(line) <= _MOST_TOLD else f"{line[:60]} ... {line[60 - _MOST_TOLD :]}"


def _remedy(where: str, instead: str) -> str:
    local = not is_remote(where) and not is_virtual(where)
    if local and (link := broken_link(where)):
        return f"it is {link}: set the link anew, or {instead}"
    if local and not os.path.exists(where):
        return "the file is not there: was it moved or deleted after it was listed?"
    if local and not os.access(where, os.R_OK):
        return "give this user permission to read the file"
    again = f"copy or download it again, or {instead}"
    if container_of(where):
        return f"unpack the archive, and look at the file with `gdalinfo -checksum`; {again}"
    if local and (what := what_it_is(where)):
        return f"{what}; {again}"
    return f"check the file with `gdalinfo -checksum`; {again}"
