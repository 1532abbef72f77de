"""Environments: made once, brought up to date on top, begun anew when an install was cut off."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from standalone.wheels.checks import CannotInstall
from standalone.wheels.environments import Environment


class Recorded(Environment):
    """Runs nothing, and remembers what it would have run."""

    def __init__(self, folder: Path, packages: list[Path], files_of: list[Path]) -> None:
        super().__init__(folder, packages, files_of)
        self.ran: list[str] = []
        self.fails_at = ""

    def _run(self, doing: str, arguments: list[str]) -> None:
        self.ran.append(doing)
        if doing == self.fails_at:
            raise CannotInstall(doing)
        if doing == "creating it":
            (self.folder / "bin").mkdir()
            (self.folder / "bin" / "python").touch()
        for argument in arguments:
            if argument.startswith("--target="):
                Path(argument.removeprefix("--target=")).mkdir()


@pytest.fixture
def requirements(tmp_path: Path) -> dict[str, Path]:
    paths = {name: tmp_path / f"{name}.txt" for name in ("platform", "dev", "standalone")}
    for name, path in paths.items():
        path.write_text(f"# {name}\n")
    return paths


@pytest.fixture
def make(tmp_path: Path, requirements: dict[str, Path]) -> Callable[..., Recorded]:
    def make(*packages: str) -> Recorded:
        names = packages or ("platform",)
        chosen = [requirements[name] for name in names]
        return Recorded(tmp_path / ".venv", chosen, [requirements["standalone"]])

    return make


def test_the_first_install_does_everything(make: Callable[..., Recorded]) -> None:
    environment = make()
    assert not environment.is_current
    environment.install()
    assert environment.ran == ["creating it", "platform", "standalone"]
    assert environment.is_current
    assert (environment.folder / "opt").is_dir()


def test_nothing_is_left_to_do_after_it(make: Callable[..., Recorded]) -> None:
    make().install()
    assert make().is_current


def test_a_changed_file_is_installed_on_top(
    make: Callable[..., Recorded], requirements: dict[str, Path]
) -> None:
    make().install()
    requirements["platform"].write_text("# newer\n")
    environment = make()
    assert not environment.is_current
    environment.install()
    assert environment.ran == ["platform"]


def test_development_tools_are_added_and_kept(make: Callable[..., Recorded]) -> None:
    make().install()
    environment = make("platform", "dev")
    environment.install()
    assert environment.ran == ["dev"]
    assert make().is_current
    assert make("platform", "dev").is_current


def test_an_environment_made_by_hand_is_kept(make: Callable[..., Recorded], tmp_path: Path) -> None:
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    (tmp_path / ".venv" / "bin" / "python").touch()
    environment = make()
    environment.install()
    assert environment.ran == ["platform", "standalone"]


@pytest.mark.parametrize("cut_off_at", ["creating it", "platform", "standalone"])
def test_an_install_that_was_cut_off_is_begun_anew(
    make: Callable[..., Recorded], cut_off_at: str
) -> None:
    first = make()
    first.fails_at = cut_off_at
    with pytest.raises(CannotInstall):
        first.install()
    again = make()
    assert not again.is_current
    again.install()
    assert again.ran == ["creating it", "platform", "standalone"]
    assert again.is_current


def test_an_upgrade_that_was_cut_off_is_begun_anew(
    make: Callable[..., Recorded], requirements: dict[str, Path]
) -> None:
    make().install()
    requirements["platform"].write_text("# newer\n")
    upgrade = make()
    upgrade.fails_at = "platform"
    with pytest.raises(CannotInstall):
        upgrade.install()
    requirements["platform"].write_text("# platform\n")  # as at first: still half of the newer
    assert not make().is_current


def test_another_python_means_another_environment(make: Callable[..., Recorded]) -> None:
    environment = make()
    environment.install()
    stamp = environment.folder / "installed.json"
    stamp.write_text(json.dumps({**json.loads(stamp.read_text()), "python": "3.9"}))
    again = make()
    assert not again.is_current
    again.install()
    assert again.ran == ["creating it", "platform", "standalone"]


def test_a_python_that_is_gone_means_another_environment(make: Callable[..., Recorded]) -> None:
    environment = make()
    environment.install()
    python = environment.folder / "bin" / "python"
    python.unlink()
    python.symlink_to(environment.folder / "nowhere")
    assert not make().is_current
    again = make()
    again.install()
    assert again.ran == ["creating it", "platform", "standalone"]


def test_a_failed_command_shows_its_last_words(tmp_path: Path) -> None:
    environment = Environment(tmp_path, [])
    script = "import sys; print('No space left on device'); sys.exit(1)"
    with pytest.raises(CannotInstall, match=r"(?s)disk is full.*No space left.*install\.log"):
        environment._run("platform", [sys.executable, "-S", "-c", script])
    assert environment.progress() == f"{tmp_path.name}: platform (No space left on device)"
