"""A cached plan is used where every fact agrees and every byte is there; else it says why."""

import json
from pathlib import Path

import pytest

from build.artefacts import sha256_of
from build.exporting import plan_cache
from build.exporting.plan_cache import MustBuild, refusal

FACTS = {
    "onnx_sha256": "1" * 64,
    "profile": '{"pixels": [[1, 224, 224, 3], [16, 224, 224, 3], [64, 224, 224, 3]]}',
    "typing": "strongly typed",
    "flavour": "tensorrt",
    "version": "11.4.0.106",
    "compute_capability": "8.9",
    "gpu": "NVIDIA L4",
    "driver": "580.95.05",
}
PLAN = bytes(range(256))


@pytest.fixture
def plan(tmp_path: Path) -> Path:
    path = tmp_path / "clip_vit" / "model-tensorrt-11.4.0.106-sm89.plan"
    plan_cache.store(path, PLAN, FACTS, 12.34)
    return path


def test_nothing_is_refused_where_all_facts_agree() -> None:
    assert refusal({**FACTS, "plan_sha256": "2" * 64}, FACTS) is None


@pytest.mark.parametrize(
    ("fact", "here", "reason"),
    [
        (
            "onnx_sha256",
            "2" * 64,
            "from another ONNX graph (sha256 111111111111, here 222222222222)",
        ),
        ("profile", "{}", f"for another optimization profile ({FACTS['profile']}, here {{}})"),
        ("typing", "weakly typed", "with another typing (strongly typed, here weakly typed)"),
        ("flavour", "tensorrt_rtx", "by another builder (tensorrt, here tensorrt_rtx)"),
        ("version", "10.4.0", "by another version (11.4.0.106, here 10.4.0)"),
        ("compute_capability", "9.0", "for another compute capability (8.9, here 9.0)"),
        ("gpu", "NVIDIA L40S", "on another GPU (NVIDIA L4, here NVIDIA L40S)"),
        ("driver", "560.35.03", "under another driver (580.95.05, here 560.35.03)"),
    ],
)
def test_a_fact_that_differs_is_the_reason(fact: str, here: str, reason: str) -> None:
    assert refusal(FACTS, {**FACTS, fact: here}) == f"it was built {reason}"


@pytest.mark.parametrize("fact", FACTS)
def test_a_plan_that_says_too_little_is_refused(fact: str) -> None:
    said = {name: value for name, value in FACTS.items() if name != fact}
    assert refusal(said, FACTS) == f"its facts do not name its {fact}"


@pytest.mark.parametrize("fact", FACTS)
def test_only_facts_that_are_asked_for_count(fact: str) -> None:
    assert (
        refusal({**FACTS, fact: "another"}, {k: v for k, v in FACTS.items() if k != fact}) is None
    )


def test_what_was_stored_is_found(plan: Path) -> None:
    facts = plan_cache.find(plan, FACTS)
    assert facts == {
        **FACTS,
        "plan_sha256": sha256_of(plan),
        "plan_bytes": "256",
        "build_s": "12.3",
    }
    assert plan.read_bytes() == PLAN
    assert sorted(path.name for path in plan.parent.iterdir()) == [
        plan.name,
        plan_cache.facts_path(plan).name,
    ]


def test_there_may_be_none(tmp_path: Path) -> None:
    with pytest.raises(MustBuild, match="no such plan is cached"):
        plan_cache.find(tmp_path / "model.plan", FACTS)


def test_a_plan_by_another_is_refused(plan: Path) -> None:
    with pytest.raises(MustBuild, match="is refused: it was built under another driver"):
        plan_cache.find(plan, {**FACTS, "driver": "560.35.03"})


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (PLAN[:-1], "it has 255 of 256 bytes"),
        (b"", "it has 0 of 256 bytes"),
        (PLAN + b"\0", "it has 257 of 256 bytes"),
        (b"\1" + PLAN[1:], "its bytes changed since"),
    ],
)
def test_a_damaged_plan_is_refused(plan: Path, content: bytes, reason: str) -> None:
    plan.write_bytes(content)
    with pytest.raises(MustBuild, match=reason):
        plan_cache.find(plan, FACTS)


def test_a_plan_that_cannot_be_read_is_refused(plan: Path) -> None:
    facts = plan_cache.find(plan, FACTS)
    plan.unlink()
    assert "cannot be read" in str(plan_cache.damage(plan, facts))


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"null", b"\xff", b"[" * 100_000, b'{"build_s": null}', b'{"build_s": "x"}'],
)
def test_facts_that_cannot_be_read_refuse_the_plan(plan: Path, content: bytes) -> None:
    plan_cache.facts_path(plan).write_bytes(content)
    with pytest.raises(MustBuild, match="its facts cannot be read"):
        plan_cache.find(plan, FACTS)


def test_a_plan_without_its_facts_is_refused(plan: Path) -> None:
    plan_cache.facts_path(plan).unlink()
    with pytest.raises(MustBuild, match="its facts cannot be read"):
        plan_cache.find(plan, FACTS)


def test_a_plan_beside_the_facts_of_the_one_before_is_refused(plan: Path, tmp_path: Path) -> None:
    """As a crash between the two leaves them."""
    before = plan_cache.facts_path(plan).read_bytes()
    plan_cache.store(plan, PLAN[::-1], FACTS, 1.0)
    plan_cache.facts_path(plan).write_bytes(before)
    with pytest.raises(MustBuild, match="its bytes changed since"):
        plan_cache.find(plan, FACTS)


def test_every_bit_of_the_facts_counts(plan: Path) -> None:
    """Whatever one flipped bit makes of them, the plan is refused or the facts say the same."""
    path = plan_cache.facts_path(plan)
    sound, facts = path.read_bytes(), plan_cache.find(plan, FACTS)
    for position in range(len(sound)):
        damaged = bytearray(sound)
        damaged[position] ^= 1
        path.write_bytes(damaged)
        try:
            found = plan_cache.find(plan, FACTS)
        except MustBuild:
            continue
        assert {**found, "build_s": facts["build_s"]} == facts, json.dumps(found)


def test_sealed_content_comes_back_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "timings.cache"
    assert plan_cache.read_sealed(path) == b""
    plan_cache.write_sealed(path, PLAN)
    assert plan_cache.read_sealed(path) == PLAN
    whole = path.read_bytes()
    for damaged in (b"", whole[:-1], whole[:10], whole + b"\0", whole[:-1] + b"\1"):
        path.write_bytes(damaged)
        assert plan_cache.read_sealed(path) == b""
