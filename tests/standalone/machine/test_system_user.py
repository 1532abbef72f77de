"""Who Postgres runs as: nobody in particular, unless the folder already belongs to someone."""

import os
from pathlib import Path

import pytest

from standalone.machine import system_user
from standalone.machine.system_user import SystemUser, unprivileged_user


@pytest.fixture
def as_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(system_user, "_nobody", lambda: (65534, 65533))


@pytest.fixture
def open_folder(tmp_path: Path) -> Path:
    """As if every folder on the way were open: pytest's own is private."""
    return Path("/")


def test_a_plain_user_stays_who_they_are(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert unprivileged_user(tmp_path, tmp_path) is None


@pytest.mark.usefixtures("as_root")
def test_root_becomes_nobody(open_folder: Path) -> None:
    user = unprivileged_user(open_folder / "no-such-folder", open_folder)
    assert user == SystemUser(65534, 65533, reach_private_folders=False)


@pytest.mark.usefixtures("as_root")
def test_private_folders_on_the_way_need_the_right_to_pass(tmp_path: Path) -> None:
    private = tmp_path / "private"
    private.mkdir(mode=0o700)
    user = unprivileged_user(private / "data", Path("/"))
    assert user
    assert user.reach_private_folders


@pytest.mark.usefixtures("as_root")
def test_private_program_files_need_it_too(tmp_path: Path) -> None:
    private = tmp_path / "private"
    private.mkdir(mode=0o700)
    user = unprivileged_user(Path("/no-such-folder"), private)
    assert user
    assert user.reach_private_folders


@pytest.mark.usefixtures("as_root")
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
@pytest.mark.parametrize(("named", "owner"), [(True, (1234, 2345)), (False, (65534, 65533))])
def test_the_owner_of_the_folder_keeps_it_if_it_has_a_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: bool, owner: tuple[int, int]
) -> None:
    os.chown(tmp_path, 1234, 2345)
    monkeypatch.setattr(system_user, "has_name", lambda _uid: named)
    user = unprivileged_user(tmp_path, Path("/"))
    assert user
    assert (user.uid, user.gid) == owner


@pytest.mark.parametrize(("named", "borrowed"), [(True, None), (False, 65534)])
def test_a_name_is_borrowed_where_there_is_none(
    monkeypatch: pytest.MonkeyPatch, named: bool, borrowed: int | None
) -> None:
    monkeypatch.setattr(system_user, "_nobody", lambda: (65534, 65533))
    monkeypatch.setattr(system_user, "has_name", lambda _uid: named)
    assert system_user.borrowed_uid() == borrowed
