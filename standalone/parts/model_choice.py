"""The model repository and a wish go in, the version that Triton is to serve comes out.

Nothing is exported or downloaded here: what is not installed is asked for by the command that
makes it.
"""

from dataclasses import dataclass
from pathlib import Path

from build import model_versions
from build.configuration import MalformedConfiguration
from build.model_versions import Hardware
from contracts.tensors import IMAGE_MODEL
from standalone.processes.steps import StartError
from standalone.settings import WHATEVER_IS_ACTIVE

ACTIVATE = ".venv-export/bin/python -m build.export_tensorrt --activate-version"


@dataclass(frozen=True)
class ModelChoice:
    """`folder` holds the manifest and the default label set."""

    model: str
    version: str
    folder: Path


def needs_starter(repository: Path) -> bool:
    """Whether the starter is what is served, or what must stand in for what is no longer there."""
    active = _active(repository)
    return active == model_versions.STARTER or active not in model_versions.installed(repository)


def choose(repository: Path, wanted: str) -> ModelChoice:
    """`wanted` names a model as `make model MODEL=` does.

    Raises StartError, which says what to do, where another model is active.
    """
    models = {
        version: str(facts["model"])
        for version, facts in model_versions.installed(repository).items()
    }
    active = _active(repository)
    if active not in models:
        raise StartError(f"Version {active} is to be served, and is not whole in {repository}")
    if wanted not in {WHATEVER_IS_ACTIVE, models[active]}:
        raise StartError(_how_to_get(wanted, active, models))
    return ModelChoice(models[active], active, repository / IMAGE_MODEL / active)


def _active(repository: Path) -> str:
    try:
        return model_versions.served(repository, Hardware.CPU)[-1]
    except (MalformedConfiguration, IndexError, OSError) as exc:
        raise StartError(f"{IMAGE_MODEL}/{Hardware.CPU.value} names no version: {exc}") from exc


def _how_to_get(wanted: str, active: str, models: dict[str, str]) -> str:
    refusal = f"Model {wanted} is not the active one: version {active}, {models[active]}, is. "
    made = [version for version, model in models.items() if model == wanted]
    if made:
        return f"{refusal}Have version {made[-1]} served: {ACTIVATE} {made[-1]}"
    return f"{refusal}Make it first: make model MODEL={wanted}"
