"""A bank's arrays as tensors."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch

from hdm_pipeline.errors import BankMismatchError
from hdm_pipeline.model.bank import SupportBank

CPU = torch.device("cpu")


def test_a_read_only_array_is_used_in_place_and_without_a_warning() -> None:
    array = np.arange(6, dtype=np.float32)
    array.flags.writeable = False  # as it comes out of an object store
    bank = SupportBank("any", "0", "water", 1, {"tokens": array})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tensor = bank.tensor("tokens", CPU)
    assert tensor.data_ptr() == array.ctypes.data
    assert tensor.tolist() == array.tolist()


def test_a_missing_array_is_named() -> None:
    with pytest.raises(BankMismatchError, match="lacks the array 'keys'"):
        SupportBank("any", "0", "water", 1, {}).tensor("keys", CPU)
