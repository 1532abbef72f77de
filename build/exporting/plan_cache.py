"""Serialized engines in, each with what it was built from, by and for; only one that fits out.

A plan is machine code. It is never handed to TensorRT to see whether it still works: what it was
built from, by and for stands in a file beside it, and where one fact differs it is built again.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from build.artefacts import place, sha256_of

ANY = "any"  # GPU and driver of a plan that was built ahead of time
PLAN_SHA256 = "plan_sha256"
PLAN_BYTES = "plan_bytes"
BUILD_S = "build_s"

# Fact to what a difference means, the deciding ones first.
WORDS = {
    "onnx_sha256": "from another ONNX graph (sha256 {there:.12}, here {here:.12})",
    "profile": "for another optimization profile ({there}, here {here})",
    "typing": "with another typing ({there}, here {here})",
    "flavour": "by another builder ({there}, here {here})",
    "version": "by another version ({there}, here {here})",
    "compute_capability": "for another compute capability ({there}, here {here})",
    "gpu": "on another GPU ({there}, here {here})",
    "driver": "under another driver ({there}, here {here})",
}


class MustBuild(Exception):
    """There is no plan that may be used; the message says why."""


def refusal(
    facts_of_plan: Mapping[str, str], facts_of_this_machine: Mapping[str, str]
) -> str | None:
    """Why the plan must not be used where the second facts hold; None where all of them agree."""
    for fact in [fact for fact in WORDS if fact in facts_of_this_machine]:
        here, there = facts_of_this_machine[fact], facts_of_plan.get(fact)
        if there is None:
            return f"its facts do not name its {fact}"
        if there != here:
            return "it was built " + WORDS[fact].format(there=there, here=here)
    return None


def damage(plan: Path, facts: Mapping[str, str]) -> str | None:
    """What happened to the file since it was written; None where it is whole."""
    try:
        size_bytes, digest = plan.stat().st_size, sha256_of(plan)
    except OSError as exc:
        return f"it cannot be read ({exc})"
    if str(size_bytes) != facts.get(PLAN_BYTES):
        return f"it has {size_bytes} of {facts.get(PLAN_BYTES)} bytes"
    if digest != facts.get(PLAN_SHA256):
        return f"its bytes changed since (sha256 {digest:.12}, once {facts.get(PLAN_SHA256)!s:.12})"
    return None


def find(plan: Path, wanted: Mapping[str, str]) -> dict[str, str]:
    """The facts of the cached plan, its own digest among them. Raises MustBuild."""
    if not plan.exists():
        raise MustBuild("no such plan is cached")
    facts = _read_facts(facts_path(plan))
    if reason := refusal(facts, wanted) or damage(plan, facts):
        raise MustBuild(f"the cached plan is refused: {reason}")
    return facts


def store(plan: Path, content: bytes, facts: Mapping[str, str], build_s: float) -> dict[str, str]:
    """Puts the plan in its place, then its facts; returns these, the plan's digest among them.

    Raises OSError on a full disk. Between the two the plan stands beside facts of another, which
    `find` refuses.
    """
    complete = {
        **facts,
        PLAN_SHA256: hashlib.sha256(content).hexdigest(),
        PLAN_BYTES: str(len(content)),
        BUILD_S: f"{build_s:.1f}",
    }
    text = json.dumps(complete, indent=2) + "\n"
    place({plan: content, facts_path(plan): text.encode()})
    return complete


def facts_path(plan: Path) -> Path:
    return plan.with_name(plan.name + ".json")


def read_sealed(path: Path) -> bytes:
    """What `write_sealed` wrote; empty where there is none, or not all of it is left."""
    try:
        digest, _, content = path.read_bytes().partition(b"\n")
    except OSError:
        return b""
    return content if hashlib.sha256(content).hexdigest().encode() == digest else b""


def write_sealed(path: Path, content: bytes) -> None:
    """For content that TensorRT reads without checking it: its digest goes first."""
    place({path: hashlib.sha256(content).hexdigest().encode() + b"\n" + content})


def _read_facts(path: Path) -> dict[str, str]:
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
        float(facts[BUILD_S])
        return {name: str(value) for name, value in facts.items()}
    except (OSError, ValueError, LookupError, TypeError, RecursionError) as exc:
        raise MustBuild(f"the cached plan is refused: its facts cannot be read ({exc!r})") from exc
