"""`SupportBank`: everything the network derives from the labelled examples of one class, computed once.

The support side of HDMNet does not depend on the query, so it is encoded once a run and broadcast. A bank is a small
bag of numpy arrays: picklable (zero-copy out of Ray's object store), hashable by content, stored as safetensors.
"""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt

from hdm_pipeline.errors import BankMismatchError, WeightsError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

_META_KEY = "hdm_support_bank"


@dataclass(frozen=True, eq=False)
class SupportBank:
    """The encoded supports of one class.

    Attributes:
        architecture: name of the network that made it, e.g. ``hdmnet-pyramid``.
        weights_hash: fingerprint of the weights that made it (`FewShotNetwork.fingerprint`).
        class_name: the class these supports show.
        shots: number of labelled examples, at least 1.
        arrays: the tensors, by a name private to the architecture; treated as read-only.
    """

    architecture: str
    weights_hash: str
    class_name: str
    shots: int
    arrays: Mapping[str, npt.NDArray[Any]]

    @cached_property
    def hash(self) -> str:
        """SHA-256 (hex) over names, types, shapes and bytes; equal content gives equal hashes on any machine."""
        digest = hashlib.sha256()
        digest.update(json.dumps([self.architecture, self.weights_hash, self.class_name, self.shots]).encode())
        for name in sorted(self.arrays):
            array = np.ascontiguousarray(self.arrays[name])
            digest.update(f"{name}:{array.dtype.str}:{array.shape}".encode())
            digest.update(array.tobytes())
        return digest.hexdigest()

    @property
    def nbytes(self) -> int:
        """Bytes held by the arrays."""
        return sum(array.nbytes for array in self.arrays.values())

    def require(self, architecture: str, weights_hash: str) -> None:
        """Raise `BankMismatchError` unless this bank was made by that architecture with those weights."""
        if self.architecture != architecture:
            raise BankMismatchError(
                f"support bank was made by architecture {self.architecture!r}, the network is {architecture!r}",
                where=f"class {self.class_name!r}",
                remedy="encode the supports again with the network that will use them",
            )
        if self.weights_hash != weights_hash:
            raise BankMismatchError(
                f"support bank was made by weights {self.weights_hash[:12]}, the network has {weights_hash[:12]}",
                where=f"class {self.class_name!r}",
                remedy="encode the supports again after changing or adapting weights",
            )

    def array(self, name: str) -> npt.NDArray[Any]:
        """One of the arrays.

        Raises:
            BankMismatchError: the bank lacks it.
        """
        if name not in self.arrays:
            raise BankMismatchError(
                f"support bank lacks the array {name!r}",
                where=f"class {self.class_name!r}",
                remedy="encode the supports again",
            )
        return self.arrays[name]

    def tensor(self, name: str, device: torch.device) -> Tensor:
        """An array as a tensor on a device, never to be written to; on the CPU it shares the array's memory.

        Banks come read-only out of Ray's object store, and torch knows no read-only tensors: it warns, and does not
        copy. Neither is a copy made here: every process of a machine then holds one bank.

        Raises:
            BankMismatchError: the bank lacks the array.
        """
        import torch

        array = self.array(name)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
            return torch.from_numpy(array).to(device)

    def save(self, path: Path) -> None:
        """Write the bank as one safetensors file."""
        from safetensors.numpy import save_file

        meta = {
            "architecture": self.architecture,
            "weights_hash": self.weights_hash,
            "class_name": self.class_name,
            "shots": self.shots,
        }
        arrays = {name: np.ascontiguousarray(array) for name, array in self.arrays.items()}
        save_file(arrays, path, metadata={_META_KEY: json.dumps(meta)})

    @classmethod
    def load(cls, path: Path) -> SupportBank:
        """Read a bank written by `save`.

        Raises:
            WeightsError: the file is missing, damaged or not a support bank.
        """
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(path, framework="numpy") as file:
                meta = (file.metadata() or {}).get(_META_KEY)
                arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
        except (OSError, SafetensorError) as error:
            raise WeightsError(
                f"support bank cannot be read: {error}", where=str(path), remedy="encode the supports again"
            ) from error
        if meta is None:
            raise WeightsError(
                "file is not a support bank", where=str(path), remedy="use a file written by SupportBank.save"
            )
        return cls(arrays=arrays, **json.loads(meta))


T = TypeVar("T")


class BankCache(Generic[T]):
    """Things made of banks, by bank and key."""

    def __init__(self) -> None:
        self._known: WeakKeyDictionary[SupportBank, dict[Hashable, T]] = WeakKeyDictionary()

    def get(self, bank: SupportBank, key: Hashable, make: Callable[[], T]) -> T:
        """What was made of a bank under a key; made now where it was not yet."""
        known = self._known.setdefault(bank, {})
        if key not in known:
            known[key] = make()
        return known[key]
