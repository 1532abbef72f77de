"""A PyTorch checkpoint of the format before 1.6 in, its tensors as numpy arrays by name out.

The format is four pickles (magic number, protocol, system facts, the object), a pickled list of
storage keys, then for each key its element count (int64) and its raw little-endian elements.
Only the five names a plain state dict needs can be unpickled, so a hostile file cannot run code.
(tinygrad's `torch_load` reads it too, but needs clang on the machine to bring a tensor to memory,
or 40 seconds without.)
"""

import pickle
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

MAGIC_NUMBER = 0x1950A86A20F9469CFC6C
PROTOCOL_VERSION = 1001
ELEMENT_COUNT_BYTES = 8

STORAGE_DTYPES: dict[str, np.dtype[Any]] = {
    "FloatStorage": np.dtype("<f4"),
    "LongStorage": np.dtype("<i8"),
}


@dataclass(frozen=True)
class _Storage:
    """A run of elements, known by its key before its bytes have been read."""

    key: str
    dtype: np.dtype[Any]


@dataclass(frozen=True)
class _TensorView:
    """A tensor as the pickle describes it: a window on a storage, strides in elements."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def read(self, storages: dict[str, NDArray[Any]]) -> NDArray[Any]:
        elements = storages[self.storage.key][self.offset :]
        strides_bytes = tuple(stride * elements.itemsize for stride in self.strides)
        view = np.lib.stride_tricks.as_strided(elements, self.shape, strides_bytes, writeable=False)
        return np.ascontiguousarray(view).reshape(self.shape)


def _rebuild_tensor(
    storage: _Storage, offset: int, shape: tuple[int, ...], strides: tuple[int, ...], *_: Any
) -> _TensorView:
    return _TensorView(storage, offset, shape, strides)


class _StateDictUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        allowed: dict[tuple[str, str], Callable[..., Any] | str] = {
            ("collections", "OrderedDict"): OrderedDict,
            ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
            ("torch", "FloatStorage"): "FloatStorage",
            ("torch", "LongStorage"): "LongStorage",
        }
        try:
            return allowed[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"{module}.{name} has no place in a state dict") from None

    def persistent_load(self, pid: Any) -> _Storage:
        _kind, storage_type, key, *_ = pid
        return _Storage(str(key), STORAGE_DTYPES[storage_type])


def read_state_dict(path: Path) -> dict[str, NDArray[Any]]:
    """Raises pickle.UnpicklingError where the file is of another format or holds anything else."""
    with path.open("rb") as file:
        magic, protocol, _system = (_StateDictUnpickler(file).load() for _ in range(3))
        if magic != MAGIC_NUMBER or protocol != PROTOCOL_VERSION:
            raise pickle.UnpicklingError(f"{path} is not a PyTorch checkpoint of the old format")
        views: dict[str, _TensorView] = _StateDictUnpickler(file).load()
        keys: list[str] = _StateDictUnpickler(file).load()
        dtypes = {view.storage.key: view.storage.dtype for view in views.values()}
        storages = {key: _read_storage(file, dtypes[key]) for key in keys}
    return {name: view.read(storages) for name, view in views.items()}


def _read_storage(file: BinaryIO, dtype: np.dtype[Any]) -> NDArray[Any]:
    count = int.from_bytes(file.read(ELEMENT_COUNT_BYTES), "little")
    return np.frombuffer(file.read(count * dtype.itemsize), dtype)
