"""Label choice: a set by name or labels of one's own, from the form or from the query."""

from typing import Any

import pytest

from gateway.labels.choice import LabelChoice, chosen, chosen_in_json
from gateway.labels.definitions import Definition
from gateway.problems import Unusable

MANY = ",".join(str(number) for number in range(1_001))


@pytest.mark.parametrize("in_form", [True, False], ids=["form", "query"])
@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, None),
        ({"description": "x", "label": "y"}, None),
        ({"labelSet": " pets "}, LabelChoice("pets")),
        ({"labels": " cat, dog ,a b"}, LabelChoice(None, Definition(("cat", "dog", "a b")))),
        (
            {"labels": "cat", "templates": "a {}, by night\r\n a {} "},
            LabelChoice(None, Definition(("cat",), ("a {}, by night", "a {}"))),
        ),
    ],
)
def test_what_is_chosen(in_form: bool, given: dict[str, str], expected: LabelChoice | None) -> None:
    form, query = (given, {}) if in_form else ({}, given)
    assert chosen(form, query) == expected


@pytest.mark.parametrize(
    ("form", "query", "words"),
    [
        ({"labelSet": "a"}, {"labelSet": "a"}, "labelSet is both in the form and in the query"),
        ({"labels": "a"}, {"labels": "b"}, "labels is both"),
        ({"labelSet": "a", "labels": "b"}, {}, "labelSet or labels, not both"),
        ({"labelSet": "a"}, {"labels": "b"}, "not both"),
        ({"templates": "a {}"}, {}, "templates go with labels"),
        ({"labelSet": "a", "templates": "a {}"}, {}, "templates go with labels"),
        ({"labelSet": ""}, {}, "labelSet: the name must"),
        ({"labelSet": "ad-hoc"}, {}, "labelSet: the name must not"),
        ({"labels": ""}, {}, r"labels\[0\] is empty"),
        ({"labels": "a,,b"}, {}, r"labels\[1\] is empty"),
        ({"labels": "a,b,"}, {}, r"labels\[2\] is empty"),
        ({"labels": "a,b, a"}, {}, r"labels\[2\] is labels\[0\] again"),
        ({"labels": "a,b\n"}, {}, "control character"),
        ({"labels": ' ["cat", "dog"]'}, {}, "is a JSON list"),
        ({"labels": MANY}, {}, "labels has 1001 entries; send 1 to 1000"),
        ({"labels": "a", "templates": ""}, {}, "templates has 0 entries"),
        ({"labels": "a", "templates": "a {},b {}"}, {}, "exactly one"),
    ],
)
def test_what_cannot_be_chosen(form: dict[str, str], query: dict[str, str], words: str) -> None:
    with pytest.raises(Unusable, match=words):
        chosen(form, query)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, None),
        ({"topK": 3, "labelSet": None, "labels": None, "templates": None}, None),
        ({"labelSet": " pets "}, LabelChoice("pets")),
        ({"labels": ["cat, or dog"]}, LabelChoice(None, Definition(("cat, or dog",)))),
        (
            {"labels": ["cat"], "templates": ["a {}", "{}"]},
            LabelChoice(None, Definition(("cat",), ("a {}", "{}"))),
        ),
    ],
)
def test_what_is_chosen_in_json(fields: dict[str, Any], expected: LabelChoice | None) -> None:
    assert chosen_in_json(fields) == expected


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"labelSet": "a", "labels": ["b"]}, "not both"),
        ({"templates": ["a {}"]}, "templates go with labels"),
        ({"labelSet": "a", "templates": ["a {}"]}, "templates go with labels"),
        ({"labelSet": ["a"]}, "labelSet: the name must"),
        ({"labels": "a,b"}, "labels must be a list"),
        ({"labels": ["a"], "templates": []}, "templates has 0 entries"),
        ({"labels": [str(number) for number in range(1_001)]}, "1001 entries"),
    ],
)
def test_what_cannot_be_chosen_in_json(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(Unusable, match=words):
        chosen_in_json(fields)
