"""How a request chooses its labels: the parameters, and the way from them to a matrix.

A matrix that is there already is looked up in a request thread. One that must be embedded first is
made in a lane of its own, so that no number of new labels holds up uploads and reads.
"""

from typing import Any

from fastapi import Request

from gateway.api.multipart import Upload
from gateway.api.state import Services
from gateway.labels.choice import LABEL_SET, LABELS, TEMPLATES, LabelChoice, chosen
from gateway.labels.definitions import MAX_AD_HOC_LABELS
from gateway.labels.prompts import PromptsUnavailable
from gateway.problems import Overloaded, Unusable
from gateway.registry import ActiveModel

SCHEMAS: dict[str, dict[str, Any]] = {
    LABEL_SET: {
        "type": "string",
        "description": "The name of a label set; see `/api/v1/label-sets`. Without it and "
        "`labels`, the model's own.",
        "example": "imagenet-1k",
    },
    LABELS: {
        "type": "string",
        "description": "Labels for this picture alone, separated by commas, at most "
        f"{MAX_AD_HOC_LABELS}. The result's label set is then `ad-hoc`.",
        "example": "sports car, bicycle, bus",
    },
    TEMPLATES: {
        "type": "string",
        "description": "Prompt templates for `labels`, one a line, each with one `{}`; without "
        "it, the model's own.",
        "example": "a photo of a {}, on the road",
    },
}
QUERY_PARAMETERS = [
    {
        "name": name,
        "in": "query",
        "required": False,
        "description": schema["description"] + " Here or in the form.",
        "schema": {"type": "string"},
    }
    for name, schema in SCHEMAS.items()
]


def choice_of(request: Request, upload: Upload) -> LabelChoice | None:
    """None for the model's own labels. Raises Unusable."""
    query = request.query_params
    for name in SCHEMAS:
        if len(query.getlist(name)) > 1:
            raise Unusable(f"{name} is in the query twice. Send it once.")
    return chosen(upload.fields, query)


async def answering(
    app: Services, choice: LabelChoice, model: ActiveModel | None = None
) -> ActiveModel:
    """`model`, or else the active one, with the chosen labels, embedded now if they never were.

    Raises Unusable for what cannot be chosen, Overloaded while it cannot be embedded, Conflict
    where `model` is not served any more.
    """
    known = await app.threads.run(app.labelling.known, choice, model)
    if known is not None:
        return known
    try:
        return await app.embedding_threads.run(app.labelling.embedded, choice, model)
    except PromptsUnavailable as exc:
        raise text_model_away() from exc


def text_model_away() -> Overloaded:
    return Overloaded(
        "These labels are new, and the text model is away or busy; nothing was kept. "
        "Try again shortly."
    )
