"""Model files come in, a version of the Triton repository comes out, served if that is wanted."""

import errno
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from build import model_versions
from build.artefacts import Folder, only_one_builder
from build.configuration import MalformedConfiguration
from build.exporting.refusal import CannotExport, wrong_usage
from build.model_versions import CannotActivate, Hardware
from contracts.tensors import BYTES_MODEL, PROMPT_MODEL

# Times the weights: graphs and model files while they are made, and the copy that is installed.
SCRATCH_ROOM, INSTALLED_ROOM = 3, 1
MEGABYTE = 1_000_000


def check(repository: Path) -> None:
    """Raises CannotExport where a version could not be installed: told before the work."""
    needed = [repository / model / model_versions.CODE for model in (BYTES_MODEL, PROMPT_MODEL)]
    missing = [path for path in needed if not path.is_file()]
    if missing:
        raise wrong_usage(
            f"{repository} is no model repository of this project: {missing[0]} is missing. "
            "Start from a copy of model_repository/"
        )
    try:
        for model in model_versions.MODELS:
            with tempfile.TemporaryFile(dir=repository / model):
                pass
    except OSError as exc:
        raise CannotExport(f"{repository} cannot be written to: {exc}") from exc


def check_room(repository: Path, weights_bytes: int) -> None:
    """Raises CannotExport where the disk is too full for a model of this size."""
    for folder, times in (
        (Path(tempfile.gettempdir()), SCRATCH_ROOM),
        (repository, INSTALLED_ROOM),
    ):
        lacking = lacking_bytes(shutil.disk_usage(folder).free, weights_bytes * times)
        if lacking:
            raise CannotExport(
                f"{folder} lacks {lacking / MEGABYTE:.0f} MB of free space for this model"
                + (" (TMPDIR says where it is)" if folder != repository else "")
            )


def failed(repository: Path, exc: OSError) -> str:
    """What the system refused, in words that say what to do."""
    if exc.errno != errno.ENOSPC:
        return f"{exc}; nothing is left half done"
    folder = Path(tempfile.gettempdir())
    free = " and ".join(
        f"{each} has {shutil.disk_usage(each).free / MEGABYTE:.0f} MB free"
        for each in (repository, folder)
    )
    return f"the disk became full; nothing is left half done ({free}; TMPDIR moves the second)"


def lacking_bytes(free: int, needed: int) -> int:
    return max(0, needed - free)


def install(repository: Path, files: Mapping[str, Folder], fields: Mapping[str, Any]) -> str:
    """The number of the new version. Raises OSError; then nothing is left of it."""
    with only_one_builder(repository):
        version = model_versions.next_version(repository)
        numbered = {**fields, "version": version, "triton_version": version}
        model_versions.install(repository, version, files, numbered)
    return version


def activate(repository: Path, version: str) -> str:
    """What is served from now on, in words. Raises CannotExport."""
    try:
        activation = model_versions.activate(repository, version)
    except CannotActivate as exc:
        why = str(exc).removeprefix(f"version {version}: ")
        raise CannotExport(f"version {version} cannot be activated: {why}") from exc
    dropped = f"; no longer {', '.join(activation.dropped)}" if activation.dropped else ""
    served = ", ".join(activation.served)
    return f"version {version} is active; served: {served}{dropped}. Triton reads it when it starts"


def listing(repository: Path) -> str:
    """A line for each installed version, oldest first."""
    try:
        served = {hardware: model_versions.served(repository, hardware) for hardware in Hardware}
    except (OSError, MalformedConfiguration) as exc:
        raise CannotExport(f"{repository} cannot be read: {exc}") from exc
    lines = []
    for version, manifest in model_versions.installed(repository).items():
        hardware = model_versions.hardware_of(manifest)
        state = ""
        if version in served[hardware]:
            is_active = version == served[hardware][-1]
            state = f"{'active' if is_active else 'served'} on {hardware.name}"
        made_of = f"{manifest['model']} {manifest['runtime']} {manifest.get('precision', '')}"
        lines.append(f"{version:>4}  {made_of:<40}  {state}".rstrip())
    return "\n".join(lines) or f"no version is installed in {repository}"
