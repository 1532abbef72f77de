"""Label definitions: what can be embedded comes out cleaned, and a refusal says which and why."""

import json
import time
from typing import Any

import pytest

from gateway.labels.definitions import (
    MAX_LABEL_CHARS,
    MAX_LABELS,
    Definition,
    check_prompts,
    checked_name,
    define,
    digest,
    from_json,
)
from gateway.problems import Unusable

PLAIN = {"name": "pets", "labels": ["cat", "dog"]}


def numbered(count: int) -> list[str]:
    return [f"label {number}" for number in range(count)]


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (["cat"], ("cat",)),
        ([" cat ", "\N{NO-BREAK SPACE}dog"], ("cat", "dog")),
        (["Cat", "cat"], ("Cat", "cat")),
        (["cafe\N{COMBINING ACUTE ACCENT}"], ("café",)),
        (["family: 👨‍👩‍👧", "猫", "قطة"], ("family: 👨‍👩‍👧", "猫", "قطة")),
        (["{}", "a {b}"], ("{}", "a {b}")),
        (["x" * MAX_LABEL_CHARS], ("x" * MAX_LABEL_CHARS,)),
        (numbered(MAX_LABELS), tuple(numbered(MAX_LABELS))),
    ],
    ids=lambda value: str(value)[:30],
)
def test_good_labels_are_cleaned(labels: list[str], expected: tuple[str, ...]) -> None:
    assert define(labels) == Definition(expected)


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (None, "labels must be a list"),
        ("cat,dog", "labels must be a list"),
        ({"cat": 1}, "labels must be a list"),
        ([], "labels has 0 entries; send 1 to 10000"),
        (numbered(MAX_LABELS + 1), "labels has 10001 entries; send 1 to 10000"),
        (["cat", ""], r"labels\[1\] is empty"),
        (["cat", " \N{IDEOGRAPHIC SPACE} "], r"labels\[1\] is empty"),
        (["cat", "\N{ZERO WIDTH SPACE}"], r"labels\[1\] is empty"),
        (["cat", 7], r"labels\[1\] must be a text"),
        (["cat", None], r"labels\[1\] must be a text"),
        (["cat", ["dog"]], r"labels\[1\] must be a text"),
        (["x" * (MAX_LABEL_CHARS + 1)], r"labels\[0\] is longer than 200 characters"),
        (["x" * 1_000_000], r"labels\[0\] is longer than 200 characters"),
        (["cat", "dog", "cat"], r"labels\[2\] is labels\[0\] again: 'cat'"),
        (["cat", " cat "], r"labels\[1\] is labels\[0\] again"),
        (["café", "cafe\N{COMBINING ACUTE ACCENT}"], r"labels\[1\] is labels\[0\] again"),
        (["cat\0"], r"labels\[0\] has the control character U\+0000"),
        (["cat\n"], r"U\+000A"),
        (["\tcat"], r"U\+0009"),
        (["c\x1bat"], r"U\+001B"),
        (["cat\x7f"], r"U\+007F"),
        (["cat\x85"], r"U\+0085"),
        (["cat\N{LINE SEPARATOR}"], r"U\+2028"),
        (["cat\ud800"], r"U\+D800"),
    ],
    ids=lambda value: str(value)[:30].encode("ascii", "replace").decode(),
)
def test_bad_labels_are_named(labels: Any, words: str) -> None:
    with pytest.raises(Unusable, match=words) as caught:
        define(labels)
    assert len(caught.value.detail) < 300


def test_43_a_label_that_is_slow_to_compose_is_refused_at_once() -> None:
    """Canonical ordering takes quadratic time: minutes for this one."""
    label = "a" + "\u0315\u0316" * 500_000
    started_s = time.monotonic()
    with pytest.raises(Unusable, match="longer"):
        define([label])
    assert time.monotonic() - started_s < 1


@pytest.mark.parametrize(
    ("templates", "words"),
    [
        ([], "templates has 0 entries"),
        (["a {}"] * 101, "templates has 101 entries; send 1 to 100"),
        ("a {}", "templates must be a list"),
        (["a photo"], r"templates\[0\] must have exactly one \{\}"),
        (["a {}", "a {} on a {}"], r"templates\[1\] must have exactly one \{\}"),
        (["a {name}"], r"templates\[0\] must have exactly one"),
        (["a {}", "a {} "], r"templates\[1\] is templates\[0\] again"),
        (["a {}" + "x" * 300], r"templates\[0\] is longer than 300 characters"),
        (["a\n{}"], r"templates\[0\] has the control character"),
        ([""], r"templates\[0\] is empty"),
    ],
)
def test_bad_templates_are_named(templates: Any, words: str) -> None:
    with pytest.raises(Unusable, match=words):
        define(["cat"], templates)


def test_good_templates_are_cleaned() -> None:
    assert define(["cat"], [" {} ", "a {}, {1}"]).templates == ("{}", "a {}, {1}")


@pytest.mark.parametrize("name", ["a", "Pets-2", "v1.0_b", "9lives", "x" * 100])
def test_good_names(name: str) -> None:
    assert checked_name(name) == name


@pytest.mark.parametrize(
    "name",
    [None, 7, "", "x" * 101, "-a", ".", "..", "_a", "a b", "a/b", "a\n", "a\0", "é", "a?b", "a%2f",
     "ad-hoc"],
    ids=repr,
)  # fmt: skip
def test_bad_names(name: Any) -> None:
    with pytest.raises(Unusable, match="name must"):
        checked_name(name)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"label": ["cat"]}, "label is no field of a label set; there are labels, name, templates"),
        ({"x" * 500: 1}, "is no field"),
        ({"name": None}, "name must"),
        ({"labels": None}, "labels must"),
        ({"templates": 7}, "templates must"),
    ],
)
def test_other_fields_are_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(Unusable, match=words) as caught:
        from_json({**PLAIN, **changes})
    assert len(caught.value.detail) < 300


def test_a_body_without_templates_leaves_them_to_the_model() -> None:
    assert from_json(PLAIN) == ("pets", Definition(("cat", "dog")))
    assert from_json({**PLAIN, "templates": None})[1].templates is None


@pytest.mark.parametrize(("limit", "is_refused"), [(5, True), (6, False)])
def test_prompts_are_counted(limit: int, is_refused: bool) -> None:
    definition = Definition(("a", "b"))
    if is_refused:
        with pytest.raises(
            Unusable, match=r"2 labels in 3 templates of the model make 6 .*at most 5"
        ):
            check_prompts(definition, ["1 {}", "2 {}", "3 {}"], limit)
    else:
        check_prompts(definition, ["1 {}", "2 {}", "3 {}"], limit)


def test_the_digest_is_of_the_prompts_and_their_order() -> None:
    same = digest(("a", "b"), ("{}",))
    assert same == digest(["a", "b"], ["{}"])
    others = [(["b", "a"], ["{}"]), (["a"], ["b", "{}"]), (['a", "b'], ["{}"]), (["ab"], ["{}"])]
    assert len({same, *(digest(*other) for other in others)}) == 1 + len(others)
    assert json.dumps(same)
