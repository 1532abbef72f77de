"""The names of ImageNet's classes: all there, in class order, usable as labels."""

import pytest

from build.starter.sources import class_names


@pytest.mark.parametrize(
    ("number", "name"),
    [
        (0, "tench"),
        (207, "golden retriever"),
        (281, "tabby cat"),
        (657, "missile"),
        (812, "space shuttle"),
        (999, "toilet paper"),
    ],
)
def test_a_name_stands_at_the_number_of_its_class(number: int, name: str) -> None:
    assert class_names()[number].lower() == name


def test_two_names_stand_for_two_classes_each_and_no_other_does() -> None:
    names = class_names()
    assert len(names) == 1000
    where = {name: [i for i, other in enumerate(names) if other == name] for name in names}
    assert {name: numbers for name, numbers in where.items() if len(numbers) > 1} == {
        "missile": [657, 744],
        "sunglasses": [836, 837],
    }


def test_no_name_needs_cleaning() -> None:
    assert [name for name in class_names() if name != name.strip() or "," in name] == []
