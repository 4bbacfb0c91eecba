"""What an object store's library says, as errors with a remedy."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from hdm_pipeline.errors import ObjectStoreError

_REMEDIES = (
    (("UnauthenticatedError", "PermissionDeniedError"), "the object store refuses the keys",
     "check the keys in the environment (they may have expired) and what they may do in this bucket; then run again"),
    (("FileNotFoundError",), "there is no such bucket", "make the bucket, or correct the address"),
    (("NotImplementedError", "NotSupportedError"), "the object store cannot write on a condition",
     "use a store that knows If-None-Match and If-Match (S3, MinIO, Google Cloud Storage, Azure)"),
)  # fmt: skip


@contextmanager
def store_errors(where: str) -> Iterator[None]:
    """Turn what obstore raises into `ObjectStoreError`; errors that are answers (nothing there) are caught within.

    Args:
        where: address that is shown.
    """
    try:
        yield
    except ObjectStoreError:
        raise
    except Exception as error:
        # By name: obstore's classes have no root of their own without importing it, and some are Python's.
        if not _of_obstore(error):
            raise
        kinds = {kind.__name__ for kind in type(error).__mro__}
        for names, what, remedy in _REMEDIES:
            if kinds.intersection(names):
                raise ObjectStoreError(what, where=where, remedy=remedy) from error
        said = (str(error).splitlines() or [type(error).__name__])[0]
        raise ObjectStoreError(
            f"the object store does not do it: {said[:200]}",
            where=where,
            remedy="check bucket, endpoint (AWS_ENDPOINT_URL) and network; then run again: it goes on where it stopped",
        ) from error


def _of_obstore(error: Exception) -> bool:
    if isinstance(error, FileNotFoundError | PermissionError | NotImplementedError | TimeoutError | OSError):
        return True
    return any(kind.__module__.startswith("obstore") for kind in type(error).__mro__)
