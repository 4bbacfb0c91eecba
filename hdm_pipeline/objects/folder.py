"""A folder of an object store: whole objects in and out, and writes on a condition.

An object appears whole or not at all, and nothing is renamed. Whoever needs two objects to change together writes a
third one last that names them. A write on a condition (`create`, `replace`) is how two processes decide who was first.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from hdm_pipeline.extras import missing_extra
from hdm_pipeline.objects.address import check_endpoint, split_address
from hdm_pipeline.objects.failures import object_is_missing, store_errors
from hdm_pipeline.objects.profile import profile_keys

if TYPE_CHECKING:
    from obstore.store import ObjectStore

requests: Counter[str] = Counter()
"""Requests of this process, by kind: `get`, `head`, `put`, `delete`, `list`. What the library repeats counts once."""

_TIMEOUT, _PATIENCE = 60.0, 180.0
"""Seconds for one request, and for all that is tried again of it."""

_HURRY = 1.5
"""Patience of a folder in a hurry, by the time of one request."""

_OF_STORES = ("AWS_", "GOOGLE_", "AZURE_")
_AT_ONCE = 1000
_READS = 5
"""How often an object is asked for where the answer breaks off."""

_PAUSE = 0.1
"""Seconds before it is asked for again; longer each time."""


@dataclass(frozen=True)
class ObjectFolder:
    """Objects below an address. Picklable: each process connects for itself, with the keys of its environment.

    Attributes:
        address: ``s3://bucket/prefix``, ``gs://``, ``az://``, without a slash at its end; ``file:///folder`` knows no
            `replace`.
        timeout: seconds that one request may take.
        patience: seconds for which a request is tried again whose answer is missing, or tells to come back later. A
            write on a condition that hangs is not: whether it was done is not known.
    """

    address: str
    timeout: float = _TIMEOUT
    patience: float = _PATIENCE

    def __post_init__(self) -> None:
        split_address(self.address)
        object.__setattr__(self, "address", self.address.rstrip("/"))

    def __truediv__(self, name: str) -> ObjectFolder:
        """A folder within this one."""
        return replace(self, address=f"{self.address}/{name}")

    def hurried(self, timeout: float) -> ObjectFolder:
        """The same folder for who cannot wait: a request takes so many seconds, and is soon given up."""
        return replace(self, timeout=timeout, patience=_HURRY * timeout)

    def __str__(self) -> str:
        return self.address

    def at(self, key: str) -> str:
        """The address of an object."""
        return f"{self.address}/{key}"

    def get(self, key: str) -> bytes | None:
        """The content of an object; None where there is none.

        Raises:
            ObjectStoreError: the store does not answer, or refuses.
        """
        found = self.get_tagged(key)
        return None if found is None else found[0]

    def get_tagged(self, key: str) -> tuple[bytes, str] | None:
        """(content, entity tag) of an object, for `replace`; None where there is none.

        Google Cloud Storage knows objects by their generation instead, here and in the other methods.

        Raises:
            ObjectStoreError: the store does not answer, or refuses.
        """
        import obstore
        from obstore.exceptions import GenericError

        with store_errors(self.at(key)):
            for left in range(_READS - 1, -1, -1):
                requests["get"] += 1
                try:
                    answer = obstore.get(self._store, self._full(key))
                    return bytes(answer.bytes()), self._tag(answer.meta)
                except FileNotFoundError as error:
                    if not self._lacks(key, error):
                        raise
                    return None
                except GenericError as error:  # the library repeats a request, but not one whose refusal breaks off
                    if left == 0 or "response body error" not in str(error):
                        raise
                    time.sleep(_PAUSE * (_READS - left))
        return None

    def tag(self, key: str) -> str | None:
        """The entity tag of an object, without its content; None where there is none.

        Raises:
            ObjectStoreError: the store does not answer, or refuses.
        """
        import obstore

        requests["head"] += 1
        with store_errors(self.at(key)):
            try:
                return self._tag(obstore.head(self._store, self._full(key)))
            except FileNotFoundError as error:
                if not self._lacks(key, error):
                    raise
                return None

    def put(self, key: str, content: bytes | Path) -> str:
        """Write an object whole, over what is there; a path is uploaded in parts where it is large.

        Returns:
            Its entity tag.

        Raises:
            OSError: the path cannot be looked at.
            ObjectStoreError: the store does not answer, or refuses.
        """
        import obstore

        if isinstance(content, Path):
            content.stat()  # the library says the same of a file that is gone and of a bucket
        requests["put"] += 1
        with store_errors(self.at(key)):
            return self._tag(obstore.put(self._store, self._full(key), content))

    def create(self, key: str, content: bytes) -> str | None:
        """Write an object if there is none.

        Returns:
            Its entity tag; None where there was one.

        Raises:
            ObjectStoreError: the store does not answer, refuses, or knows no writing on a condition.
        """
        return self._put_if(key, content, "create")

    def replace(self, key: str, content: bytes, tag: str) -> str | None:
        """Write an object if it still is what it was.

        Args:
            key: of the object.
            content: the new one.
            tag: entity tag of what was read or written before.

        Returns:
            Its new entity tag; None where it is another one now, or gone.

        Raises:
            ObjectStoreError: the store does not answer, refuses, or knows no writing on a condition.
        """
        return self._put_if(key, content, {self._tag_field: tag})

    def delete(self, key: str) -> None:
        """Remove an object; none there is no error.

        Raises:
            ObjectStoreError: the store does not answer, or refuses.
        """
        import obstore

        requests["delete"] += 1
        with store_errors(self.at(key)):
            try:
                obstore.delete(self._store, self._full(key))
            except FileNotFoundError as error:
                if not self._lacks(key, error):
                    raise

    def delete_all(self, prefix: str = "") -> None:
        """Remove all objects below `prefix`, which ends at a slash; some at a time.

        Raises:
            ObjectStoreError: the store does not answer, or refuses.
        """
        import obstore

        found = [key for key, _ in self.keys(prefix)]
        for start in range(0, len(found), _AT_ONCE):
            some = found[start : start + _AT_ONCE]
            with store_errors(self.at(prefix)):
                try:
                    requests["delete"] += 1
                    obstore.delete(self._store, [self._full(key) for key in some])
                    continue
                except FileNotFoundError as error:  # S3 does not mind, others do
                    if not self._lacks(prefix, error):
                        raise
            for key in some:  # another process removes them, too
                self.delete(key)

    def move(self, key: str, to: str) -> bool:
        """Copy an object and remove the first; a process that dies between leaves both.

        Returns:
            Whether there was one.

        Raises:
            ObjectStoreError: the store does not answer, or refuses.
        """
        import obstore

        requests["put"] += 1
        with store_errors(self.at(key)):
            try:
                obstore.copy(self._store, self._full(key), self._full(to))
            except FileNotFoundError as error:
                if not self._lacks(key, error):
                    raise
                return False
        self.delete(key)
        return True

    def keys(self, prefix: str = "") -> Iterator[tuple[str, int]]:
        """(key, bytes) of all objects below `prefix`, which ends at a slash, in any order; of a thousand a request.

        Raises:
            ObjectStoreError: the store does not answer, or refuses.
        """
        import obstore

        with store_errors(self.at(prefix)):
            for page in obstore.list(self._store, self._full(prefix) or None, chunk_size=1000):
                requests["list"] += 1
                for one in page:
                    yield one["path"].removeprefix(self._full("")), one["size"]

    @property
    def _store(self) -> ObjectStore:
        return _connected(split_address(self.address)[0], self.timeout, self.patience, _settings())

    @property
    def _tag_field(self) -> str:
        """What tells two contents of an object apart in a write on a condition."""
        return "version" if self.address.startswith("gs://") else "e_tag"

    def _tag(self, facts: Any) -> str:
        return str(facts[self._tag_field])

    def _full(self, key: str) -> str:
        """The key within the bucket, as it is: in an address the library would take `%20` for a space."""
        return split_address(self.address)[1] + key

    def _lacks(self, key: str, error: FileNotFoundError) -> bool:
        """Whether an object is missing, and not the bucket: where a store says no more than 404, a listing tells."""
        missing = object_is_missing(error)
        if missing is None:  # whoever asks turns what this raises into our errors
            import obstore

            requests["list"] += 1
            # Below the key lies nothing, so that the answer is short.
            next(iter(obstore.list(self._store, self._full(key) or None, chunk_size=1)), None)
        return missing is not False

    def _put_if(self, key: str, content: bytes, condition: Any) -> str | None:
        import obstore
        from obstore.exceptions import AlreadyExistsError, PreconditionError

        requests["put"] += 1
        with store_errors(self.at(key)):
            try:
                return self._tag(obstore.put(self._store, self._full(key), content, mode=condition))
            except (AlreadyExistsError, PreconditionError):
                return None
            except FileNotFoundError as error:  # what was to be replaced is gone
                if condition == "create" or not self._lacks(key, error):
                    raise
                return None


def _settings() -> tuple[tuple[str, str], ...]:
    """What the environment says of stores."""
    return tuple((name, value) for name, value in os.environ.items() if name.startswith(_OF_STORES))


@lru_cache(maxsize=32)
def _connected(bucket: str, timeout: float, patience: float, _: object) -> ObjectStore:
    """The store of a bucket; one for each process, bucket, haste and environment, as it holds connections.

    Keys, region and endpoint come from the environment, by the names that the provider's own tools use, or the keys of
    S3 from a profile of theirs.
    """
    try:
        from obstore.store import LocalStore, from_url
    except ImportError as error:
        raise missing_extra("cloud", "an object store", where=bucket) from error
    check_endpoint(bucket)
    if bucket.startswith("file://"):
        return LocalStore(Path(unquote(bucket.removeprefix("file://"))), mkdir=True)
    # Plain http is for a server on this machine or in a closed network; whoever names such an endpoint means it.
    return from_url(
        bucket,
        credential_provider=profile_keys(bucket),
        client_options={"timeout": timedelta(seconds=timeout), "allow_http": True},
        retry_config={"max_retries": 8, "retry_timeout": timedelta(seconds=patience)},
    )
