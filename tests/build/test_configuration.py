"""Values of a configuration are found in its text, and replaced with all else left as it is."""

import pytest

from build.configuration import MalformedConfiguration, replaced, values

TEXT = """# dims: [ 1 ] in a comment
name: "a: { # no comment"  # why
input [
  { name: "x", dims: [ 2, 3 ] },
  { name: 'y', dims: [ 4 ] }
]
output { dims: 5 }
version_policy: { specific { versions: [ 1 ] } }
"""


def at(text: str, *path: str) -> list[str]:
    return [text[value.start : value.end] for value in values(text) if value.path == path]


def test_values_are_found_by_the_names_around_them() -> None:
    assert at(TEXT, "name") == ['"a: { # no comment"']
    assert at(TEXT, "input", "dims") == ["[ 2, 3 ]", "[ 4 ]"]
    assert at(TEXT, "output", "dims") == ["5"]
    assert at(TEXT, "version_policy", "specific", "versions") == ["[ 1 ]"]
    assert at(TEXT, "output") == ["{ dims: 5 }"]


def test_only_what_is_given_is_replaced() -> None:
    new = {("input", "dims"): "[ 9 ]", ("output",): "{ dims: 6 }", ("output", "dims"): "7"}
    expected = TEXT.replace("[ 2, 3 ]", "[ 9 ]").replace("[ 4 ]", "[ 9 ]")
    assert replaced(TEXT, new.get) == expected.replace("{ dims: 5 }", "{ dims: 6 }")
    assert replaced(TEXT, lambda _: None) == TEXT


@pytest.mark.parametrize("text", ['name: "x', "input {", "input [ {", "name:", "name"])
def test_what_ends_too_early_is_refused(text: str) -> None:
    with pytest.raises(MalformedConfiguration):
        values(text)
