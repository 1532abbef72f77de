"""A model configuration's text and new values in, the same text with those values out.

Triton's configurations are protobuf's text format. The project's carry their reasons as comments,
which no protobuf library keeps: so values are found by their place in the text, and only they are
replaced.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

_TOKEN = re.compile(r'\s+|#[^\n]*|"(?:\\.|[^"\\])*"|[{}\[\]:,;]|[^\s{}\[\]:,;#"]+')
_SEPARATORS = {",", ";"}


class MalformedConfiguration(Exception):
    """The text is not protobuf's text format, or lacks a value that must be replaced."""


@dataclass(frozen=True)
class Value:
    """Where a field's value stands: `path` is the names of the fields around it and its own."""

    path: tuple[str, ...]
    start: int
    end: int


def replaced(text: str, new: Callable[[tuple[str, ...]], str | None]) -> str:
    """`new` gives the text of the value at a path, or None for a value that stays.

    Raises MalformedConfiguration.
    """
    kept_from, parts = 0, []
    for value in values(text):
        replacement = new(value.path)
        if replacement is not None and value.start >= kept_from:
            parts += [text[kept_from : value.start], replacement]
            kept_from = value.end
    return "".join([*parts, text[kept_from:]])


def values(text: str) -> list[Value]:
    """All values, the messages themselves included, in the order in which they begin."""
    reader = _Reader(text)
    reader.fields((), until=None)
    return sorted(reader.found, key=lambda value: value.start)


class _Reader:
    """Recursive descent; scalars inside a list are no values of their own."""

    def __init__(self, text: str) -> None:
        self.found: list[Value] = []
        matches = list(_TOKEN.finditer(text))
        if "".join(match[0] for match in matches) != text:
            raise MalformedConfiguration("a string has no end")
        self._tokens = [m for m in matches if not m[0].isspace() and m[0][0] != "#"]
        self._at = 0

    def fields(self, path: tuple[str, ...], until: str | None) -> None:
        """Those of a message, up to its closing brace; of the whole text where that is None."""
        while self._next_is_not(until):
            name = self._take()[0]
            if name in _SEPARATORS:
                continue
            first = self._take()
            if first[0] == ":":
                first = self._take()
            self._value((*path, name), first)

    def _value(self, path: tuple[str, ...], first: re.Match[str]) -> None:
        if first[0] == "{":
            self.fields(path, until="}")
        elif first[0] == "[":
            while self._next_is_not("]"):
                if self._take()[0] == "{":
                    self.fields(path, until="}")
        self.found.append(Value(path, first.start(), self._tokens[self._at - 1].end()))

    def _next_is_not(self, until: str | None) -> bool:
        if until is None:
            return self._at < len(self._tokens)
        if self._tokens[self._at : self._at + 1] and self._tokens[self._at][0] == until:
            self._at += 1
            return False
        return True

    def _take(self) -> re.Match[str]:
        if self._at == len(self._tokens):
            raise MalformedConfiguration("it ends amid a value")
        self._at += 1
        return self._tokens[self._at - 1]
