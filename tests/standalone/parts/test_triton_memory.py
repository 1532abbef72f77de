"""Whose shared memory is whose, and that only a folder's own is removed."""

from pathlib import Path

from standalone.parts.triton_memory import remove_shared_memory, shared_memory_prefix


def test_each_data_folder_has_shared_memory_of_its_own(tmp_path: Path) -> None:
    one, other = shared_memory_prefix(tmp_path / "a"), shared_memory_prefix(tmp_path)
    assert one != other
    assert shared_memory_prefix(tmp_path / "b" / ".." / "a") == one


def test_only_what_a_folders_own_triton_left_is_removed(tmp_path: Path) -> None:
    for name in ("triton_a_1", "triton_a_2", "triton_b_1"):
        (tmp_path / name).touch()
    assert len(remove_shared_memory("triton_a_", tmp_path)) == 2
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["triton_b_1"]
    assert remove_shared_memory("triton_a_", tmp_path) == []
