"""How far an export is from open_clip comes in, whether it may be installed comes out."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from build.exporting.refusal import CannotExport
from zero_shot.label_set import Embeddings

PHOTOS = "photos"
TEXTS = "texts"

# Labels of one set may lie so close together that open_clip itself hardly prefers one; which of
# them comes first then says nothing about an export. docs/decisions/0010-agreement-with-ties.md
TIE_ODDS = 1.1


@dataclass(frozen=True)
class Gate:
    """The least cosine over photos or texts, and the least share of equal or tied best labels."""

    least_cosine: float
    least_agreement: float | None = None


GATES = {
    "fp32": Gate(0.9999),
    "fp16": Gate(0.998),
    "bf16": Gate(0.998),
    "int8": Gate(0.97, least_agreement=0.97),
}
# Faultless bf16 measured 0.998 on the oddest text of the sample; a wrong token costs far more than
# 0.005. Of an int8 export, the text tower is bf16.
TEXT_GATES = {**dict.fromkeys(GATES, Gate(0.995)), "fp32": GATES["fp32"]}


@dataclass(frozen=True)
class Parity:
    """Cosines between our embeddings and open_clip's, and the agreement of best labels, 0 to 1.

    `agreement` counts the same label; `agreement_or_tie` also one that open_clip rates within
    TIE_ODDS of its own best.
    """

    compared: int
    least_cosine: float
    mean_cosine: float
    agreement: float | None = None
    agreement_or_tie: float | None = None

    def __str__(self) -> str:
        text = (
            f"{self.compared}: cosine to open_clip at least {self.least_cosine:.5f}, "
            f"{self.mean_cosine:.5f} on average"
        )
        if self.agreement is not None and self.agreement_or_tie is not None:
            text += (
                f"; same best label on {self.agreement:.1%}, or one tied with it on "
                f"{self.agreement_or_tie:.1%}"
            )
        return text

    def as_fields(self) -> dict[str, Any]:
        return {name: value for name, value in asdict(self).items() if value is not None}


def compare(ours: Embeddings, theirs: Embeddings) -> Parity:
    """Of their cosines only. `ours` and `theirs` are [N, D] of unit rows."""
    cosines = (ours.astype(np.float64) * theirs).sum(axis=1)
    return Parity(len(ours), float(cosines.min()), float(cosines.mean()))


def compare_labels(
    ours: Embeddings, theirs: Embeddings, labels: Embeddings, logit_scale: float
) -> Parity:
    """Of the best labels too; `labels` is the matrix of a label set, [labels, D]."""
    logits = logit_scale * (theirs.astype(np.float64) @ labels.T)
    chosen = (ours.astype(np.float64) @ labels.T).argmax(axis=1)
    behind = logits.max(axis=1) - logits[np.arange(len(logits)), chosen]
    return replace(
        compare(ours, theirs),
        agreement=float((chosen == logits.argmax(axis=1)).mean()),
        agreement_or_tie=float((behind <= math.log(TIE_ODDS)).mean()),
    )


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
        agreement = -1.0 if parity.agreement_or_tie is None else parity.agreement_or_tie
        if not agreement >= gate.least_agreement:
            found.append(
                f"the best label is open_clip's, or tied with it, on {agreement:.1%} of "
                f"{parity.compared} {what}, below {gate.least_agreement:.0%}"
            )
    return found
