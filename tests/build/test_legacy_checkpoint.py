"""Checkpoints of PyTorch's old format, written here by hand: what is read, and what is refused."""

import io
import os
import pickle
import sys
import types
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from build.starter.legacy_checkpoint import MAGIC_NUMBER, PROTOCOL_VERSION, read_state_dict


class Storage:
    """What the pickle names by a persistent id instead of writing it out."""

    def __init__(self, kind: type, key: str, elements: Any) -> None:
        self.kind, self.key, self.elements = kind, key, elements


class Tensor:
    def __init__(self, *description: Any) -> None:
        self.description = description

    def __reduce__(self) -> Any:
        return sys.modules["torch._utils"]._rebuild_tensor_v2, self.description


class Writer(pickle.Pickler):
    def persistent_id(self, obj: Any) -> Any:
        if not isinstance(obj, Storage):
            return None
        return ("storage", obj.kind, obj.key, "cpu", len(obj.elements), None)


@pytest.fixture
def torch(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Just enough of the module for its names to be written into a pickle."""
    torch, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")
    for name in ("FloatStorage", "LongStorage", "HalfStorage"):
        setattr(torch, name, type(name, (), {"__module__": "torch"}))

    def _rebuild_tensor_v2() -> None: ...

    _rebuild_tensor_v2.__module__ = "torch._utils"
    _rebuild_tensor_v2.__qualname__ = "_rebuild_tensor_v2"
    utils._rebuild_tensor_v2 = _rebuild_tensor_v2  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torch", torch)
    monkeypatch.setitem(sys.modules, "torch._utils", utils)
    return torch


def checkpoint(state: Any, storages: list[Storage], magic: int = MAGIC_NUMBER) -> bytes:
    file = io.BytesIO()
    for fact in (magic, PROTOCOL_VERSION, {"little_endian": True}):
        pickle.dump(fact, file, protocol=2)
    Writer(file, protocol=2).dump(state)
    pickle.dump([storage.key for storage in storages], file, protocol=2)
    for storage in storages:
        file.write(len(storage.elements).to_bytes(8, "little") + storage.elements.tobytes())
    return file.getvalue()


def test_tensors_come_back_by_name(torch: Any, tmp_path: Path) -> None:
    floats = Storage(torch.FloatStorage, "7", np.arange(12, dtype="<f4"))
    longs = Storage(torch.LongStorage, "3", np.array([41], "<i8"))
    state = OrderedDict(
        whole=Tensor(floats, 0, (3, 4), (4, 1), False, OrderedDict()),
        transposed=Tensor(floats, 0, (4, 3), (1, 4), False, OrderedDict()),
        part=Tensor(floats, 5, (2,), (1,), False, OrderedDict()),
        count=Tensor(longs, 0, (), (), False, OrderedDict()),
    )
    path = tmp_path / "old.pth"
    path.write_bytes(checkpoint(state, [longs, floats]))

    tensors = read_state_dict(path)

    assert list(tensors) == ["whole", "transposed", "part", "count"]
    whole = np.arange(12, dtype=np.float32).reshape(3, 4)
    np.testing.assert_array_equal(tensors["whole"], whole)
    np.testing.assert_array_equal(tensors["transposed"], whole.T)
    np.testing.assert_array_equal(tensors["part"], [5, 6])
    assert tensors["count"].shape == ()
    assert tensors["count"] == 41


class Hostile:
    def __reduce__(self) -> Any:
        return os.system, ("touch executed",)


def test_a_checkpoint_that_would_run_code_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "hostile.pth"
    path.write_bytes(checkpoint({"weight": Hostile()}, []))

    with pytest.raises(pickle.UnpicklingError, match=r"system has no place in a state dict"):
        read_state_dict(path)

    assert not (tmp_path / "executed").exists()


def test_another_format_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.pth"
    path.write_bytes(checkpoint({}, [], magic=1))
    with pytest.raises(pickle.UnpicklingError, match="not a PyTorch checkpoint of the old format"):
        read_state_dict(path)
