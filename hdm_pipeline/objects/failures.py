"""What an object store's library says, as errors with a remedy."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from hdm_pipeline.errors import ObjectStoreError, ObjectStoreSilentError

_STATUS = re.compile(r"status code: (\d{3})")
_CODE = re.compile(r"<Code>(\w{1,60})</Code>")
_ASKED = re.compile(r"Error performing [A-Z]+ (https?://[^/\s?]+)")
_NO_BUCKET = ("NoSuchBucket", "ContainerNotFound")
_LACKS_KEYS = "Missing AccessKeyId", "Missing SecretAccessKey", "Account must be specified", "token request"
_BAD_KEYS = "Invalid Access Key", "service account"
_METADATA = re.compile(r"//(169\.254\.\d+\.\d+|metadata)[/.:]")
"""Where a machine in a cloud asks for keys: asked when the environment holds none."""

_SILENT = ("error sending request", "Timeout", "response body error", "HTTP error")
_ELSEWHERE = ("PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException")

_ENDPOINT = {"s3": "the endpoint (AWS_ENDPOINT_URL)", "az": "the endpoint (AZURE_STORAGE_ENDPOINT)"}
_KEYS = {
    "s3": "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
    "gs": "GOOGLE_APPLICATION_CREDENTIALS to the file of a service account",
    "az": "AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY",
}


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
        raise _told(error, where) from error


def object_is_missing(error: FileNotFoundError) -> bool | None:
    """Whether an object is missing, and not the bucket or the whole store: of these the library says the same.

    Returns:
        None where the answer tells no more than 404: the bucket is to be asked for then.
    """
    text = str(error)
    status, code = _found(_STATUS, text), _found(_CODE, text)
    # An answer to HEAD has no body; whoever must know asks by another request before.
    if not status or "performing HEAD" in text:
        return True
    return code not in _NO_BUCKET if code else None


def _told(error: Exception, where: str) -> ObjectStoreError:
    kinds = {kind.__name__ for kind in type(error).__mro__}
    text = str(error)
    status, code, asked = (_found(pattern, text) for pattern in (_STATUS, _CODE, _ASKED))
    scheme = where.partition("://")[0]
    keys, endpoint = _KEYS.get(scheme, "keys"), _ENDPOINT.get(scheme, "the address")
    check = f"check {endpoint} and the network; then run again: a run goes on where it stopped"
    unreadable = any(said in text for said in _BAD_KEYS)
    if unreadable or any(said in text for said in _LACKS_KEYS) or _METADATA.search(text):
        of = "the object store"
        what = f"the keys for {of} cannot be read" if unreadable else f"there are no keys for {of}"
        return ObjectStoreError(what, where=where, remedy=f"set {keys}; docs/cluster.md names other ways")
    place = f"{where}, asked at {asked}" if asked else where
    answer = f" ({code or status})" if code or status else ""
    if kinds.intersection(("UnauthenticatedError", "PermissionDeniedError")) or status in ("401", "403"):
        remedy = "check the keys (they may have expired) and what they may do in this bucket: list, get, put, delete"
        return ObjectStoreError(f"the object store refuses the keys{answer}", where=place, remedy=remedy)
    if code in _ELSEWHERE or status in ("301", "307"):
        return ObjectStoreError("the bucket is in another region", where=place, remedy="set AWS_REGION to its region")
    if "FileNotFoundError" in kinds or code in _NO_BUCKET or status == "404":
        what = "there is no such bucket" if code in _NO_BUCKET else "there is no such bucket, or no object store here"
        return ObjectStoreError(what, where=place, remedy=f"make the bucket, or correct the address or {endpoint}")
    if kinds.intersection(("NotImplementedError", "NotSupportedError")):
        remedy = "use a store that knows If-None-Match and If-Match (S3, MinIO, Google Cloud Storage, Azure)"
        return ObjectStoreError("the object store cannot write on a condition", where=where, remedy=remedy)
    if status.startswith("5") or status == "429":
        return ObjectStoreSilentError(f"the object store is busy or out of order{answer}", where=place, remedy=check)
    if not status and (isinstance(error, TimeoutError) or any(said in text for said in _SILENT)):
        return ObjectStoreSilentError("the object store does not answer", where=place, remedy=check)
    if status:
        return ObjectStoreError(f"the object store does not do it{answer}", where=place, remedy=check)
    said = (text.splitlines() or [type(error).__name__])[0]
    return ObjectStoreError(f"the object store does not do it: {said[:200]}", where=place, remedy=check)


def _found(pattern: re.Pattern[str], text: str) -> str:
    found = pattern.search(text)
    return "" if found is None else found[1]


def _of_obstore(error: Exception) -> bool:
    if isinstance(error, FileNotFoundError | PermissionError | NotImplementedError | TimeoutError | OSError):
        return True
    return any(kind.__module__.startswith("obstore") for kind in type(error).__mro__)
