"""A caller's words for labels go in, a definition that can be embedded comes out, or a refusal."""

import hashlib
import json
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from gateway.problems import Unusable
from zero_shot.prompts import PLACE

AD_HOC = "ad-hoc"  # what results call labels that came with the upload
MAX_NAME_CHARS = 100
MAX_LABELS = 10_000
MAX_AD_HOC_LABELS = 1_000
MAX_LABEL_CHARS = 200
MAX_TEMPLATES = 100
MAX_TEMPLATE_CHARS = 300
SHOWN_CHARS = 40
# Composition may shorten a text to a third; it takes quadratic time, so not of just any length.
MOST_DECOMPOSED = 3
FIELDS = {"name", "labels", "templates"}

_NAME = re.compile(rf"[A-Za-z0-9][A-Za-z0-9._-]{{0,{MAX_NAME_CHARS - 1}}}")
# Control characters, lone surrogates, line and paragraph separators.
_UNFIT = {"Cc", "Cs", "Zl", "Zp"}
_INVISIBLE = {"Cf", "Zs"}


@dataclass(frozen=True)
class Definition:
    """Labels and the templates they are put into; None: those of whichever model is asked."""

    labels: tuple[str, ...]
    templates: tuple[str, ...] | None = None


def digest(labels: Sequence[str], templates: Sequence[str]) -> str:
    """The same for the same prompts in the same order, and for no others."""
    return hashlib.sha256(json.dumps([labels, templates]).encode()).hexdigest()


def checked_name(name: object) -> str:
    """Raises Unusable for what cannot name a label set."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise _refused(
            "name",
            f"must be 1 to {MAX_NAME_CHARS} letters, digits, dots, hyphens or underscores "
            "(a-z, A-Z, 0-9, . - _), the first a letter or a digit",
        )
    if name == AD_HOC:
        raise _refused("name", f"must not be {AD_HOC!r}, which labels sent with an upload are")
    return name


def from_json(fields: dict[str, Any]) -> tuple[str, Definition]:
    """The name and definition in the body of a request. Raises Unusable."""
    for field in sorted(fields.keys() - FIELDS):
        raise _refused(field, f"is no field of a label set; there are {', '.join(sorted(FIELDS))}")
    name = checked_name(fields.get("name"))
    return name, define(fields.get("labels"), fields.get("templates"))


def define(labels: object, templates: object = None, max_labels: int = MAX_LABELS) -> Definition:
    """Texts trimmed and in Unicode's composed form (NFC). Raises Unusable, which says which."""
    return Definition(
        _texts("labels", labels, max_labels, MAX_LABEL_CHARS),
        None if templates is None else _templates(templates),
    )


def check_prompts(definition: Definition, templates: Sequence[str], max_prompts: int) -> None:
    """Raises Unusable where `templates` make more prompts of the labels than are embedded."""
    labels = len(definition.labels)
    if labels * len(templates) > max_prompts:
        whose = "of the model" if definition.templates is None else "of the request"
        raise Unusable(
            f"{labels} labels in {len(templates)} templates {whose} make "
            f"{labels * len(templates)} prompts; at most {max_prompts} are embedded "
            "(GATEWAY_MAX_PROMPTS). Send fewer labels, or fewer templates."
        )


def _templates(given: object) -> tuple[str, ...]:
    templates = _texts("templates", given, MAX_TEMPLATES, MAX_TEMPLATE_CHARS)
    for number, template in enumerate(templates):
        if template.count(PLACE) != 1:
            raise _refused(
                f"templates[{number}]",
                f"must have exactly one {PLACE}, the place of the label, as in 'a photo of a {{}}'",
            )
    return templates


def _texts(field: str, given: object, most: int, max_chars: int) -> tuple[str, ...]:
    """A list of different texts."""
    if not isinstance(given, list):
        raise _refused(field, "must be a list of texts")
    if not 0 < len(given) <= most:
        raise _refused(field, f"has {len(given)} entries; send 1 to {most}")
    first_at: dict[str, int] = {}
    for number, text in enumerate(given):
        cleaned = _cleaned(f"{field}[{number}]", text, max_chars)
        at = first_at.setdefault(cleaned, number)
        if at != number:
            raise _refused(f"{field}[{number}]", f"is {field}[{at}] again: {_shown(cleaned)}")
    return tuple(first_at)


def _cleaned(where: str, text: object, max_chars: int) -> str:
    if not isinstance(text, str):
        raise _refused(where, "must be a text")
    if len(text) > max_chars * MOST_DECOMPOSED:
        raise _refused(where, f"is longer than {max_chars} characters: {_shown(text)}")
    for character in text:
        if unicodedata.category(character) in _UNFIT:
            raise _refused(
                where, f"has the control character U+{ord(character):04X}: {_shown(text)}"
            )
    cleaned = unicodedata.normalize("NFC", text).strip()
    if all(unicodedata.category(character) in _INVISIBLE for character in cleaned):
        raise _refused(where, "is empty")
    if len(cleaned) > max_chars:
        raise _refused(where, f"is longer than {max_chars} characters: {_shown(cleaned)}")
    return cleaned


def _shown(text: str) -> str:
    return repr(text[:SHOWN_CHARS])


def _refused(where: str, why: str) -> Unusable:
    return Unusable(f"{where[:SHOWN_CHARS]} {why}.")
