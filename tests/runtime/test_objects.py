"""The object store keeps whole objects, in a directory and in S3, and tells failures apart."""

import errno
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime.errors import ObjectNotFound, Permanent, StorageFull, Unavailable
from runtime.objects import MAX_KEY_BYTES, MAX_NAME_BYTES, ObjectStore
from standalone.machine.ports import free_port

IMAGE = os.urandom(165_000)


@pytest.fixture(
    params=["directory", pytest.param("s3", marks=pytest.mark.integration)],
)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectStore:
    if request.param == "s3":
        return ObjectStore(request.getfixturevalue("s3_url"))
    return ObjectStore((tmp_path / "made by the store").as_uri())


def test_what_was_put_is_got(store: ObjectStore) -> None:
    store.put("images/a.jpg", IMAGE)
    store.put("images/b.jpg", b"")
    assert store.get("images/a.jpg") == IMAGE
    assert store.get("images/b.jpg") == b""


def test_a_second_put_replaces(store: ObjectStore) -> None:
    store.put("images/a.jpg", IMAGE)
    store.put("images/a.jpg", b"new")
    assert store.get("images/a.jpg") == b"new"


@pytest.mark.parametrize("key", ["images/ä b+c%20d&e=f.jpg", "images/猫.jpg", "images/..jpg"])
def test_any_safe_name_is_a_key(store: ObjectStore, key: str) -> None:
    store.put(key, b"named")
    assert store.get(key) == b"named"
    store.delete(key)
    with pytest.raises(ObjectNotFound):
        store.get(key)


BAD_KEYS = {
    "empty": "",
    "a slash": "/",
    "absolute": "/images/a.jpg",
    "a folder": "images/",
    "an empty name": "images//a.jpg",
    "here": "images/./a.jpg",
    "above": "images/../../a.jpg",
    "NUL": "images/a\0.jpg",
    "a line's end": "images/a.jpg\n",
    "half a character": "images/\ud800.jpg",
    "a name while it is written": "images/a.jpg#1",
    "a long name": "images/" + "é" * (MAX_NAME_BYTES // 2 + 1),
    "a long key": "/".join(["a" * 100] * (MAX_KEY_BYTES // 100 + 1)),
}


@pytest.mark.parametrize("key", [pytest.param(key, id=name) for name, key in BAD_KEYS.items()])
def test_what_can_be_no_key_is_refused_for_good(store: ObjectStore, key: str) -> None:
    for call in (lambda: store.put(key, b"x"), lambda: store.get(key), lambda: store.delete(key)):
        with pytest.raises(Permanent) as refusal:
            call()
        assert refusal.value.reason == "bad_object_key"


def test_the_longest_key_is_one(store: ObjectStore) -> None:
    names = ["a" * MAX_NAME_BYTES] * (MAX_KEY_BYTES // (MAX_NAME_BYTES + 1))
    longest = "/".join([*names, "b" * (MAX_KEY_BYTES - len("/".join(names)) - 1)])
    assert len(longest) == MAX_KEY_BYTES
    store.put(longest, b"named")
    assert store.get(longest) == b"named"


def test_each_character_is_refused_or_makes_a_key(tmp_path: Path) -> None:
    store = ObjectStore(tmp_path.as_uri())
    taken = 0
    for code in range(0x180):
        for key in (f"{code}/{chr(code)}", f"{code}/{chr(code)}a", f"{code}/a{chr(code)}b"):
            try:
                store.put(key, b"named")
            except Permanent:
                continue
            taken += 1
            assert store.get(key) == b"named"
            store.delete(key)
    assert taken > 0x100


def test_what_is_not_there_is_not_found(store: ObjectStore) -> None:
    with pytest.raises(ObjectNotFound, match=r"images/none\.jpg"):
        store.get("images/none.jpg")


def test_deleted_is_gone_and_deleting_twice_is_fine(store: ObjectStore) -> None:
    store.put("images/a.jpg", IMAGE)
    store.delete("images/a.jpg")
    store.delete("images/a.jpg")
    with pytest.raises(ObjectNotFound):
        store.get("images/a.jpg")


def test_two_stores_of_one_url_are_one(tmp_path: Path) -> None:
    ObjectStore(tmp_path.as_uri()).put("a/b", b"shared")
    assert ObjectStore(tmp_path.as_uri()).get("a/b") == b"shared"


@pytest.mark.parametrize("url", ["", "/data", "ftp://host/x", "gs://bucket"])
def test_other_urls_are_refused(url: str) -> None:
    with pytest.raises(ValueError, match="use file:///directory or s3://"):
        ObjectStore(url)


def test_a_put_is_synced_to_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced = []
    real_fsync = os.fsync

    def fsync(descriptor: int) -> None:
        synced.append(Path(f"/proc/self/fd/{descriptor}").readlink())
        real_fsync(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    ObjectStore(tmp_path.as_uri()).put("images/a.jpg", IMAGE)
    assert {tmp_path / "images" / "a.jpg", tmp_path / "images"} <= set(synced)
    assert tmp_path in synced, "the new folder's own name must be durable too"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_no_room_for_the_sync_is_storage_full(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fsync(descriptor: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(StorageFull, match=r"images/a\.jpg"):
        ObjectStore(tmp_path.as_uri()).put("images/a.jpg", IMAGE)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """256 kB, where the user of the tests may mount."""
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(tmp_path)]
    if os.geteuid() != 0 or subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("only root can mount a small disk")
    yield tmp_path
    subprocess.run(["umount", str(tmp_path)], check=True)


@pytest.mark.integration
def test_a_full_disk_is_storage_full_and_recovers(small_disk: Path) -> None:
    store = ObjectStore(small_disk.as_uri())
    store.put("images/first.jpg", IMAGE)
    with pytest.raises(StorageFull):
        store.put("images/second.jpg", IMAGE)
    assert store.get("images/first.jpg") == IMAGE
    store.delete("images/first.jpg")
    store.put("images/second.jpg", IMAGE)
    assert store.get("images/second.jpg") == IMAGE


def test_a_directory_that_is_a_file_is_unavailable(tmp_path: Path) -> None:
    store = ObjectStore(tmp_path.as_uri())
    (tmp_path / "images").write_text("in the way")
    with pytest.raises(Unavailable):
        store.put("images/a.jpg", IMAGE)


@pytest.mark.integration
def test_an_s3_that_does_not_answer_is_unavailable(
    s3_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT", f"http://127.0.0.1:{free_port()}")
    store = ObjectStore(s3_url)
    for call in (lambda: store.put("a", b"x"), lambda: store.get("a"), lambda: store.delete("a")):
        with pytest.raises(Unavailable):
            call()


@pytest.mark.integration
def test_a_bucket_that_is_not_there_is_not_a_missing_object(s3_url: str) -> None:
    store = ObjectStore("s3://no-such-bucket/x")
    with pytest.raises(Unavailable):
        store.put("images/a.jpg", IMAGE)
