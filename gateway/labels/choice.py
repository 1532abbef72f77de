"""The parameters of an upload go in, which labels it shall be scored against comes out."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from gateway.labels.definitions import MAX_AD_HOC_LABELS, Definition, checked_name, define
from gateway.problems import Unusable

LABEL_SET = "labelSet"
LABELS = "labels"
TEMPLATES = "templates"
PARAMETERS = (LABEL_SET, LABELS, TEMPLATES)


@dataclass(frozen=True)
class LabelChoice:
    """A label set by its name, or labels of the request's own: one of them is None."""

    label_set: str | None = None
    ad_hoc: Definition | None = None


def chosen(form: Mapping[str, str], query: Mapping[str, str]) -> LabelChoice | None:
    """From either place, or None for the default labels. Raises Unusable.

    Labels are separated by commas; templates, which may hold commas, stand one a line.
    """
    given: dict[str, str] = {}
    for name in PARAMETERS:
        if name in form and name in query:
            raise Unusable(f"{name} is both in the form and in the query. Send it once.")
        if name in form or name in query:
            given[name] = form[name] if name in form else query[name]
    if not given:
        return None
    _check_combination(given)
    if LABEL_SET in given:
        return LabelChoice(label_set=_name(given[LABEL_SET]))
    return LabelChoice(ad_hoc=_ad_hoc(given[LABELS], given.get(TEMPLATES)))


def chosen_in_json(fields: Mapping[str, Any]) -> LabelChoice | None:
    """As `chosen`, from a JSON object, where labels and templates are lists and null is nothing.

    Raises Unusable.
    """
    given = {name: fields[name] for name in PARAMETERS if fields.get(name) is not None}
    if not given:
        return None
    _check_combination(given)
    if LABEL_SET in given:
        return LabelChoice(label_set=_name(given[LABEL_SET]))
    definition = define(given[LABELS], given.get(TEMPLATES), MAX_AD_HOC_LABELS)
    return LabelChoice(ad_hoc=definition)


def _check_combination(given: Collection[str]) -> None:
    if LABELS not in given and TEMPLATES in given:
        raise Unusable(f"{TEMPLATES} go with {LABELS}; a label set has its own.")
    if LABELS in given and LABEL_SET in given:
        raise Unusable(f"Send {LABEL_SET} or {LABELS}, not both.")


def _name(text: Any) -> str:
    try:
        return checked_name(text.strip() if isinstance(text, str) else text)
    except Unusable as exc:
        raise Unusable(f"{LABEL_SET}: the {exc.detail}") from exc


def _ad_hoc(labels: str, templates: str | None) -> Definition:
    if labels.strip().startswith("[") and labels.strip().endswith("]"):
        raise Unusable(f"{LABELS} is a JSON list. Separate them by commas here: cat,dog.")
    lines = None if templates is None else templates.splitlines()
    return define(labels.split(","), lines, MAX_AD_HOC_LABELS)
