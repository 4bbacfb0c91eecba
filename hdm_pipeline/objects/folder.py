"""A folder of an object store: whole objects in and out, and writes on a condition.

An object appears whole or not at all, and nothing is renamed. Whoever needs two objects to change together writes a
third one last that names them. A write on a condition (`create`, `replace`) is how two processes decide who was first.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hdm_pipeline.extras import missing_extra
from hdm_pipeline.objects.address import check_address
from hdm_pipeline.objects.failures import store_errors

if TYPE_CHECKING:
    from obstore.store import ObjectStore

requests: Counter[str] = Counter()
"""Requests of this process, by kind: `get`, `head`, `put`, `delete`, `list`. What the library repeats counts once."""

_TIMEOUT = timedelta(seconds=60)
_AT_ONCE = 1000
_READS = 5
"""How often an object is asked for where the answer breaks off."""

_PAUSE = 0.1
"""Seconds before it is asked for again; longer each time."""

_PATIENCE = timedelta(minutes=3)


@dataclass(frozen=True)
class ObjectFolder:
    """Objects below an address. Picklable: each process connects for itself, with the keys of its environment.

    Attributes:
        address: ``s3://bucket/prefix``, ``gs://``, ``az://``, without a slash at its end; ``file:///folder`` knows no
            `replace`.
    """

    address: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "address", check_address(self.address))

    def __truediv__(self, name: str) -> ObjectFolder:
        """A folder within this one."""
        return ObjectFolder(f"{self.address}/{name}")

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

        Raises:
            ObjectStoreError: the store does not answer, or refuses.
        """
        import obstore
        from obstore.exceptions import GenericError

        with store_errors(self.at(key)):
            for left in range(_READS - 1, -1, -1):
                requests["get"] += 1
                try:
                    answer = obstore.get(self._store, key)
                    return bytes(answer.bytes()), str(answer.meta["e_tag"])
                except FileNotFoundError:
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
                return str(obstore.head(self._store, key)["e_tag"])
            except FileNotFoundError:
                return None

    def put(self, key: str, content: bytes | Path) -> str:
        """Write an object whole, over what is there; a path is uploaded in parts where it is large.

        Returns:
            Its entity tag.

        Raises:
            ObjectStoreError: the store does not answer, or refuses.
        """
        import obstore

        requests["put"] += 1
        with store_errors(self.at(key)):
            return str(obstore.put(self._store, key, content)["e_tag"])

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
        return self._put_if(key, content, {"e_tag": tag})

    def delete(self, key: str) -> None:
        """Remove an object; none there is no error.

        Raises:
            ObjectStoreError: the store does not answer, or refuses.
        """
        import obstore

        requests["delete"] += 1
        with store_errors(self.at(key)):
            try:
                obstore.delete(self._store, key)
            except FileNotFoundError:
                return

    def delete_all(self, prefix: str = "") -> None:
        """Remove all objects below `prefix`, which ends at a slash; some at a time.

        Raises:
            ObjectStoreError: the store does not answer, or refuses.
        """
        import obstore

        found = [key for key, _ in self.keys(prefix)]
        with store_errors(self.at(prefix)):
            for start in range(0, len(found), _AT_ONCE):
                requests["delete"] += 1
                obstore.delete(self._store, found[start : start + _AT_ONCE])

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
                obstore.copy(self._store, key, to)
            except FileNotFoundError:
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
            for page in obstore.list(self._store, prefix or None, chunk_size=1000):
                requests["list"] += 1
                for one in page:
                    yield one["path"], one["size"]

    @property
    def _store(self) -> ObjectStore:
        return _connected(self.address)

    def _put_if(self, key: str, content: bytes, condition: Any) -> str | None:
        import obstore
        from obstore.exceptions import AlreadyExistsError, PreconditionError

        requests["put"] += 1
        with store_errors(self.at(key)):
            try:
                return str(obstore.put(self._store, key, content, mode=condition)["e_tag"])
            except (AlreadyExistsError, PreconditionError):
                return None
            except FileNotFoundError:  # what was to be replaced is gone; where nothing was, it is the bucket
                if condition == "create":
                    raise
                return None


@lru_cache(maxsize=32)
def _connected(address: str) -> ObjectStore:
    """The store behind an address; one for each process and address, as it holds connections.

    Keys, region and endpoint come from the environment, by the names that the provider's own tools use.
    """
    try:
        from obstore.store import from_url
    except ImportError as error:
        raise missing_extra("cloud", "an object store", where=address) from error
    with store_errors(address):
        if address.startswith("file://"):
            return from_url(address, mkdir=True)
        # Plain http is for a server on this machine or in a closed network; whoever names such an endpoint means it.
        return from_url(
            address,
            client_options={"timeout": _TIMEOUT, "allow_http": True},
            retry_config={"max_retries": 8, "retry_timeout": _PATIENCE},
        )
