"""Label sets of the callers' own over HTTP: made once, then named by uploads."""

import json
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query, Request, Response

from gateway import problems, resource
from gateway.api import problem_json
from gateway.api.json_body import JSON, PROBLEM_EXAMPLES, parse_object, read_json
from gateway.api.labels import text_model_away
from gateway.api.schemas import LabelSetDefinition, LabelSetPage, LabelSetResource
from gateway.api.state import Services, services
from gateway.labels.definitions import MAX_NAME_CHARS, Definition, from_json
from gateway.labels.prompts import PromptsUnavailable
from gateway.labels.sets import LabelSet, Summary

router = APIRouter(prefix="/api/v1/label-sets", tags=["label sets"])

MAX_PAGE = 100

App = Annotated[Services, Depends(services)]
Name = Annotated[str, Path(min_length=1, max_length=MAX_NAME_CHARS, description="Its name.")]

# Read from the request as a stream, which FastAPI cannot describe by itself.
REQUEST_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {JSON: {"schema": LabelSetDefinition.model_json_schema()}},
    }
}
EXAMPLES: dict[type[problems.Problem], str] = {
    **PROBLEM_EXAMPLES,
    problems.NotFound: "There is no label set 'birds'.",
    problems.Conflict: "There is a label set 'birds' already, with other labels or templates. "
    "Choose another name, or delete it first.",
}
NAMED_EXAMPLES: dict[type[problems.Problem], str] = {
    problems.NotFound: EXAMPLES[problems.NotFound],
    problems.Unusable: "Correct name: see errors.",
    problems.Conflict: "'birds' is the model's own label set; it cannot be deleted.",
}
NAMED = f"{router.prefix}/birds"
READ_PROBLEMS = (problems.NotFound, problems.Unusable, problems.Overloaded)


@router.post(
    "",
    status_code=201,
    response_model=LabelSetResource,
    openapi_extra=REQUEST_BODY,
    responses={
        200: {"model": LabelSetResource, "description": "The same label set was there already."},
        **problem_json.documented(
            problems.Malformed,
            problems.TooSlow,
            problems.Conflict,
            problems.TooLarge,
            problems.UnsupportedType,
            problems.Unusable,
            problems.Overloaded,
            problems.StorageFull,
            instance=router.prefix,
            examples=EXAMPLES,
        ),
    },
)
async def create_label_set(request: Request, app: App) -> Response:
    """Name labels to classify with, and embed them.

    The answer comes once they are embedded: some seconds for a thousand prompts on a CPU. To send
    the same set again is safe, so repeat the request where its answer was lost.
    """
    data = await read_json(request, app.json_limits)
    name, definition = await app.threads.run(_definition, data)
    found = await app.threads.run(app.label_catalogue.existing, name, definition)
    if found is not None:
        return _answer(found, 200)
    try:
        made, is_new = await app.embedding_threads.run(app.label_catalogue.create, name, definition)
    except PromptsUnavailable as exc:
        raise text_model_away() from exc
    return _answer(made, 201 if is_new else 200)


@router.get(
    "",
    response_model=LabelSetPage,
    responses=problem_json.documented(
        problems.Unusable,
        problems.Overloaded,
        instance=router.prefix,
        examples={problems.Unusable: "Correct limit: see errors."},
    ),
)
def list_label_sets(
    app: App,
    cursor: Annotated[
        str | None,
        Query(
            max_length=MAX_NAME_CHARS,
            pattern="^[A-Za-z0-9._-]*$",
            description="`nextCursor` of the page before.",
        ),
    ] = None,
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE, description="Label sets of one page.")] = 50,
) -> Response:
    """The model's own label set first, then the others by name, without their labels."""
    found, next_cursor = app.label_catalogue.page(cursor, limit)
    return _json({"items": [_summary(each) for each in found], "nextCursor": next_cursor})


@router.get(
    "/{name}",
    response_model=LabelSetResource,
    responses=problem_json.documented(*READ_PROBLEMS, instance=NAMED, examples=NAMED_EXAMPLES),
)
def get_label_set(app: App, name: Name) -> Response:
    """One label set with all its labels."""
    return _answer(app.label_catalogue.get(_storable(name)), 200)


@router.delete(
    "/{name}",
    status_code=204,
    responses=problem_json.documented(
        problems.Conflict, *READ_PROBLEMS, instance=NAMED, examples=NAMED_EXAMPLES
    ),
)
def delete_label_set(app: App, name: Name) -> None:
    """Delete a label set; images that were uploaded with it keep it.

    Within seconds every process refuses uploads that name it.
    """
    app.label_catalogue.delete(_storable(name))


def _definition(data: bytes) -> tuple[str, Definition]:
    return from_json(parse_object(data))


def _storable(name: str) -> str:
    """Nothing is of another name, and Postgres would not even look for some of them."""
    if not (name.isascii() and name.isprintable()):
        raise problems.NotFound("There is no label set of this name.")
    return name


def _summary(summary: Summary) -> dict[str, object]:
    return {
        "name": summary.name,
        "labelCount": summary.label_count,
        "templates": summary.templates,
        "default": summary.is_default,
        "createdAt": resource.timestamp(summary.created_at),
    }


def _answer(label_set: LabelSet, status: int) -> Response:
    body = {**_summary(Summary.of(label_set)), "labels": label_set.definition.labels}
    location = {"Location": f"{router.prefix}/{label_set.name}"}
    return _json(body, status, location if status == 201 else {})  # noqa: PLR2004


def _json(
    body: dict[str, object], status: int = 200, headers: dict[str, str] | None = None
) -> Response:
    data = json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()
    return Response(data, status, headers, media_type=JSON)
