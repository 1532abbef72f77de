"""What belongs together takes its place together, or not at all, and leftovers are cleared."""

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from build import artefacts

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture
def folders(tmp_path: Path) -> list[Path]:
    """Two models with a version each."""
    versions = [tmp_path / model / "1" for model in ("a", "b")]
    for version in versions:
        version.parent.mkdir()
    artefacts.place({version: {"model": b"old", "sets/x": b"labels"} for version in versions})
    return versions


def names(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_contents_and_copies_of_files_take_their_places(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"large")
    artefacts.place({tmp_path / "1": {"model": source, "sets/x": b""}, tmp_path / "c": b"text"})
    assert names(tmp_path) == ["1/model", "1/sets/x", "c", "source"]
    assert (tmp_path / "1" / "model").read_bytes() == b"large"
    assert (tmp_path / "c").read_bytes() == b"text"


def test_a_new_folder_takes_the_place_of_all_of_the_old_one(folders: list[Path]) -> None:
    artefacts.place({folder: {"model": b"new"} for folder in folders})
    for folder in folders:
        assert names(folder.parent) == ["1/model"]
        assert (folder / "model").read_bytes() == b"new"


def test_one_that_fails_leaves_all_as_they_were(folders: list[Path]) -> None:
    missing = folders[0] / "missing"
    with pytest.raises(FileNotFoundError):
        artefacts.place({folders[0]: {"model": b"new"}, folders[1]: {"model": missing}})
    for folder in folders:
        assert names(folder.parent) == ["1/model", "1/sets/x"]
        assert (folder / "model").read_bytes() == b"old"


class Killed(BaseException):
    """Nothing after it runs: what a SIGKILL at this place leaves."""


@pytest.mark.parametrize("renames_done", range(7))
def test_killed_anywhere_it_is_all_old_or_all_new_after_recovery(
    folders: list[Path], monkeypatch: pytest.MonkeyPatch, renames_done: int
) -> None:
    """Of two folders: two renames to ready, then two for each to take its place."""
    rename, done = Path.rename, iter(range(renames_done))

    def dying(path: Path, target: Path) -> Path:
        if next(done, None) is None:
            raise Killed
        return rename(path, target)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "rename", dying)
        try:
            artefacts.place({folder: {"model": b"new"} for folder in folders})
        except Killed:
            assert renames_done < 6
    artefacts.recover([folder.parent for folder in folders])

    is_new = renames_done >= 2
    for folder in folders:
        assert names(folder.parent) == (["1/model"] if is_new else ["1/model", "1/sets/x"])
        assert (folder / "model").read_bytes() == (b"new" if is_new else b"old")


def test_what_was_staged_in_part_only_is_cleared(folders: list[Path]) -> None:
    (folders[0].parent / ".2.ready").mkdir()
    (folders[1].parent / ".2.part").mkdir()
    (folders[1].parent / ".hidden").write_bytes(b"not ours")
    artefacts.recover([folder.parent for folder in folders])
    assert sorted(path.name for path in folders[0].parent.iterdir()) == ["1"]
    assert sorted(path.name for path in folders[1].parent.iterdir()) == [".hidden", "1"]


def test_two_builders_take_turns_and_a_dead_one_does_not_count(tmp_path: Path) -> None:
    holding = (
        "import sys, time; from pathlib import Path; from build import artefacts\n"
        "with artefacts.only_one_builder(Path(sys.argv[1])):\n"
        "    print('in', flush=True); time.sleep(600)"
    )
    command = [sys.executable, "-c", holding, str(tmp_path)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as other:
        assert other.stdout
        assert other.stdout.readline()
        entered = threading.Event()

        def enter() -> None:
            with artefacts.only_one_builder(tmp_path):
                entered.set()

        thread = threading.Thread(target=enter)
        thread.start()
        assert not entered.wait(0.3)
        other.kill()
        assert entered.wait(10)
        thread.join()


def test_a_builders_steps_do_not_wait_for_itself(tmp_path: Path) -> None:
    with artefacts.only_one_builder(tmp_path), artefacts.only_one_builder(tmp_path):
        pass


def test_the_digest_follows_facts_and_contents(tmp_path: Path) -> None:
    file = tmp_path / "weights"
    file.write_bytes(b"1")
    first = artefacts.digest_of([file], {"scale": 1})
    assert artefacts.digest_of([file], {"scale": 1}) == first
    assert artefacts.digest_of([file], {"scale": 2}) != first
    file.write_bytes(b"2")
    assert artefacts.digest_of([file], {"scale": 1}) != first
