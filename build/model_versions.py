"""Model versions of the Triton repository: which are installed, which are served, what comes next.

A version is one number in the folders of all four models: the towers clip_vit and clip_text, and
clip_image and clip_prompt, which decode or tokenise for the towers of their own version. The
starter is number 1; exports take the next free one and are never overwritten.

What Triton serves is said by the models' configurations, one set for each hardware. Activating a
version rewrites in them what differs from model to model: backend, file names, dimensions and the
version policy. The highest served version is the active one: Triton gives it to requests that name
none.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from build import artefacts
from build.configuration import MalformedConfiguration, replaced, values
from build.serving import Serving, SuitsNoConfiguration
from contracts.manifest import Manifest
from contracts.tensors import BYTES_MODEL, IMAGE_MODEL, PROMPT_MODEL, TEXT_MODEL

REPOSITORY = Path(__file__).parent.parent / "model_repository"  # the tracked one
MODELS = (IMAGE_MODEL, TEXT_MODEL, BYTES_MODEL, PROMPT_MODEL)
STARTER = "1"  # kept for it, there or not: no export takes this number
MANIFEST = "manifest.json"
FILES_FIELD = "files_bytes"  # of this folder's files: what must be there for it to be complete
TOKENIZER = "tokenizer.json"
CODE = "model.py"
SERVED_AT_MOST = 2  # the active one, and the one before it for those who still ask for that
POLICY = ("version_policy", "specific", "versions")


class Hardware(Enum):
    """Which of a model's configurations is meant, by its path in the model's folder."""

    GPU = "config.pbtxt"
    CPU = "configs/cpu.pbtxt"


class CannotActivate(Exception):
    """Nothing was changed; the message says why, and what to do about it."""


@dataclass(frozen=True)
class Activation:
    """Which versions Triton is told to serve from now on, and which no longer, oldest first.

    A running Triton takes it over by loading the models in `load_order`: a model that calls
    another finds the version it needs, whether that is new or about to be dropped.
    """

    served: list[str]
    dropped: list[str]

    @property
    def load_order(self) -> tuple[str, ...]:
        goes_back = any(int(version) > int(self.served[-1]) for version in self.dropped)
        return MODELS[::-1] if goes_back else MODELS


def install(
    repository: Path,
    version: str,
    files: Mapping[str, artefacts.Folder],
    manifest: Mapping[str, Any],
) -> None:
    """Puts a version into all four models' folders, or into none.

    `files` are those of the towers: relative names to contents, or to files that are copied. The
    text tower's `tokenizer.json` is needed. Raises OSError where the disk is full or not ours.
    """
    folders: dict[str, artefacts.Folder] = {
        IMAGE_MODEL: files[IMAGE_MODEL],
        TEXT_MODEL: files[TEXT_MODEL],
        BYTES_MODEL: {CODE: REPOSITORY / BYTES_MODEL / CODE},
        PROMPT_MODEL: {
            CODE: REPOSITORY / PROMPT_MODEL / CODE,
            TOKENIZER: files[TEXT_MODEL][TOKENIZER],
        },
    }
    facts = {**manifest, "triton_version": version}
    with artefacts.only_one_builder(repository):
        recover(repository)
        artefacts.place(
            {
                repository / model / version: {**folder, MANIFEST: _described(folder, facts)}
                for model, folder in folders.items()
            }
        )


def recover(repository: Path) -> None:
    """Ends what a killed builder left half done."""
    models = [repository / model for model in MODELS]
    with artefacts.only_one_builder(repository):
        artefacts.recover([*models, *(model / "configs" for model in models)])


def next_version(repository: Path) -> str:
    """Free in all four folders. Two exporters take turns: hold artefacts.only_one_builder(
    repository) from here until the version is installed."""
    taken = [int(path.name) for model in MODELS for path in (repository / model).glob("[0-9]*")]
    return str(max([int(STARTER), *taken]) + 1)


def installed(repository: Path) -> dict[str, Mapping[str, Any]]:
    """The manifests of the versions that are complete in all four folders, oldest first."""
    found: dict[str, Mapping[str, Any]] = {}
    names = {path.name for path in (repository / IMAGE_MODEL).glob("[0-9]*")}
    for version in sorted(filter(str.isdecimal, names), key=int):
        try:
            found[version] = _read(repository, version)
        except CannotActivate:
            continue
    return found


def hardware_of(manifest: Mapping[str, Any]) -> Hardware:
    return Hardware.GPU if manifest.get("runtime") == "tensorrt" else Hardware.CPU


def served(repository: Path, hardware: Hardware) -> list[str]:
    """What the configurations name, lowest first: the last is the active version.

    Raises MalformedConfiguration.
    """
    text = (repository / IMAGE_MODEL / hardware.value).read_text(encoding="utf-8")
    found = [text[v.start : v.end] for v in values(text) if v.path == POLICY]
    return sorted((n for value in found for n in re.findall(r"\d+", value)), key=int)


def activate(repository: Path, version: str, on: Hardware | None = None) -> Activation:
    """Has Triton serve `version` to those who name none, from its next start or load on.

    The version before it is served beside it where one configuration serves both, that is, where
    backend, file names and dimensions are the same. Higher ones are dropped: activating a lower
    number is rolling back. With `on`, a version for other hardware is refused. Raises
    CannotActivate.
    """
    with artefacts.only_one_builder(repository):
        recover(repository)
        serving = _serving(repository, version)
        hardware = hardware_of(serving.manifest)
        if on not in {None, hardware}:
            raise CannotActivate(
                f"version {version} is for the {hardware.name}, and this machine serves the "
                f"{on.name if on else ''}: export it for the runtime of this machine"
            )
        before = served(repository, hardware)
        after = [*_served_beside(repository, serving, version, before), version]
        _configure(repository, hardware, serving, after)
    return Activation(served=after, dropped=[v for v in before if v not in after])


def _served_beside(
    repository: Path, serving: Serving, version: str, candidates: list[str]
) -> list[str]:
    kept = []
    for candidate in candidates:
        try:
            is_alike = _serving(repository, candidate).contract == serving.contract
        except CannotActivate:  # it was removed meanwhile
            continue
        if is_alike and int(candidate) < int(version):
            kept.append(candidate)
    return kept[1 - SERVED_AT_MOST :]


def _serving(repository: Path, version: str) -> Serving:
    manifest = _read(repository, version)
    try:
        names = {model: _names(repository, model, version) for model in (IMAGE_MODEL, TEXT_MODEL)}
        return Serving.of(manifest, names)
    except SuitsNoConfiguration as exc:
        raise CannotActivate(f"version {version}: {exc}") from exc
    except (LookupError, TypeError, ValueError, AttributeError) as exc:
        raise CannotActivate(f"the manifest of version {version} is damaged: {exc!r}") from exc


def _configure(repository: Path, hardware: Hardware, serving: Serving, versions: list[str]) -> None:
    paths = {model: repository / model / hardware.value for model in MODELS}
    policy = f"[ {', '.join(versions)} ]"

    def configured(model: str, path: Path) -> bytes:
        text = path.read_text(encoding="utf-8")
        if not any(value.path == POLICY for value in values(text)):
            raise MalformedConfiguration(f"{'.'.join(POLICY)} is missing")
        return replaced(
            text, lambda at: policy if at == POLICY else serving.value(model, at)
        ).encode()

    try:
        contents = {path: configured(model, path) for model, path in paths.items()}
    except (OSError, MalformedConfiguration) as exc:
        raise CannotActivate(f"a model configuration cannot be changed: {exc}") from exc
    artefacts.place(contents)


def _read(repository: Path, version: str) -> Mapping[str, Any]:
    """The manifest of a version that is complete and that the services understand."""
    facts: list[Mapping[str, Any]] = []
    for model in MODELS:
        folder = repository / model / version
        try:
            fields = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
            sizes = fields.pop(FILES_FIELD)
            Manifest.from_json(json.dumps(fields))
            lost = [name for name, size in sizes.items() if _size(folder / name) != size]
        except FileNotFoundError:
            known = ", ".join(sorted(_numbers(repository), key=int)) or "none"
            raise CannotActivate(
                f"{folder / MANIFEST} is not there (versions that are: {known})"
            ) from None
        except (OSError, ValueError, LookupError, TypeError, AttributeError) as exc:
            raise CannotActivate(f"{folder / MANIFEST} is damaged: {exc}") from exc
        if lost:
            raise CannotActivate(f"{folder} is incomplete: {', '.join(lost)} is missing or cut off")
        facts.append(fields)
    if any(fields != facts[0] for fields in facts):
        raise CannotActivate(f"the folders of version {version} are not of one export")
    return facts[0]


def _described(folder: artefacts.Folder, facts: Mapping[str, Any]) -> bytes:
    sizes = {
        name: len(content) if isinstance(content, bytes) else content.stat().st_size
        for name, content in folder.items()
    }
    fields = {**facts, FILES_FIELD: sizes}
    return (json.dumps(fields, indent=2, ensure_ascii=False) + "\n").encode()


def _numbers(repository: Path) -> set[str]:
    return {path.parent.name for path in repository.glob(f"*/[0-9]*/{MANIFEST}")}


def _names(repository: Path, model: str, version: str) -> list[str]:
    return sorted(path.name for path in (repository / model / version).iterdir())


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else -1
