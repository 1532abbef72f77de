"""How far an export is from open_clip comes in, whether it may be installed comes out."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from build.exporting.refusal import CannotExport
from zero_shot.label_set import Embeddings

PHOTOS = "photos"
TEXTS = "texts"


@dataclass(frozen=True)
class Gate:
    """The least cosine over photos or texts, and the least share of equal best labels."""

    least_cosine: float
    least_agreement: float | None = None


GATES = {
    "fp32": Gate(0.9999),
    "fp16": Gate(0.998),
    "bf16": Gate(0.998),
    "int8": Gate(0.97, least_agreement=0.97),
}
TEXT_GATES = {**GATES, "int8": GATES["bf16"]}  # of an int8 export, the text tower is bf16


@dataclass(frozen=True)
class Parity:
    """Cosines between our embeddings and open_clip's; `agreement` of the best labels, 0 to 1."""

    compared: int
    least_cosine: float
    mean_cosine: float
    agreement: float | None = None

    def __str__(self) -> str:
        text = (
            f"{self.compared}: cosine to open_clip at least {self.least_cosine:.5f}, "
            f"{self.mean_cosine:.5f} on average"
        )
        if self.agreement is not None:
            text += f"; same best label on {self.agreement:.1%}"
        return text

    def as_fields(self) -> dict[str, Any]:
        return {name: value for name, value in asdict(self).items() if value is not None}


def compare(ours: Embeddings, theirs: Embeddings, labels: Embeddings | None = None) -> Parity:
    """`ours` and `theirs` are [N, D] of unit rows; `labels` is the matrix of a label set."""
    cosines = (ours.astype(np.float64) * theirs).sum(axis=1)
    agreement = None
    if labels is not None:
        best = [(each @ labels.T).argmax(axis=1) for each in (ours, theirs)]
        agreement = float((best[0] == best[1]).mean())
    return Parity(len(ours), float(cosines.min()), float(cosines.mean()), agreement)


def hold(parities: Mapping[str, Parity], precision: str) -> None:
    """Raises CannotExport for an export that drifts from open_clip."""
    gates = {PHOTOS: GATES[precision], TEXTS: TEXT_GATES[precision]}
    found = [why for what in gates for why in objections(what, parities[what], gates[what])]
    if found:
        raise CannotExport(
            f"the {precision} model drifts from open_clip, so it is not installed: "
            + "; ".join(found)
            + "".join(f"\n  {what}: {parities[what]}" for what in gates)
        )


def objections(what: str, parity: Parity, gate: Gate) -> list[str]:
    """Why it may not be installed; an embedding that is no number fails as well."""
    found = []
    if not parity.least_cosine >= gate.least_cosine:
        found.append(
            f"the least cosine over {parity.compared} {what} is {parity.least_cosine:.5f}, below "
            f"{gate.least_cosine}"
        )
    if gate.least_agreement is not None:
        agreement = -1.0 if parity.agreement is None else parity.agreement
        if not agreement >= gate.least_agreement:
            found.append(
                f"the best label agrees on {agreement:.1%} of {parity.compared} {what}, below "
                f"{gate.least_agreement:.0%}"
            )
    return found
