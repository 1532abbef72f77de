"""Step 10: ids and filters go in; images, their stored bytes and pages of images come out."""

import time
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query, Response

from contracts.events import MAX_IMAGE_ID
from contracts.objects import IMAGES_PREFIX
from gateway import images, listing, problems, resource
from gateway.api import problem_json
from gateway.api.schemas import ImagePage, ImageResource
from gateway.api.state import Services, services
from gateway.images import Image, Status
from runtime.errors import ObjectNotFound

router = APIRouter(tags=["images"])

MAX_WAIT_S = 30.0
# Wake-ups come by NOTIFY; this poll only covers a lost one.
WAIT_POLL_S = 3.0
MAX_PAGE = 200
MAX_QUERY_CHARS = 500

ImageId = Annotated[
    int, Path(ge=1, le=MAX_IMAGE_ID, description="The id that the upload returned.")
]
App = Annotated[Services, Depends(services)]

NOT_FOUND = problem_json.documented(problems.NotFound, problems.Unusable, problems.Overloaded)
CONTENT_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; sandbox",
    "Cache-Control": "private, max-age=3600, immutable",
    "Content-Disposition": "inline",
    "Cross-Origin-Resource-Policy": "same-site",
}
CONTENT_RESPONSES = {
    200: {
        "description": "The stored image.",
        "content": {kind: {} for kind in ("image/jpeg", "image/png", "image/webp")},
    },
    **NOT_FOUND,
}


@router.get("/api/v1/images/{image_id}", response_model=ImageResource, responses=NOT_FOUND)
async def get_image(
    app: App,
    image_id: ImageId,
    wait_s: Annotated[
        float, Query(ge=0, le=MAX_WAIT_S, description="Hold the answer until terminal.")
    ] = 0.0,
) -> Response:
    """An image's status and labels, from the cache where it is there."""
    if wait_s and not app.waiting.is_full:
        found = await _until_terminal(app, image_id, wait_s)
    else:
        found = await app.threads.run(app.lookup.get, image_id)
    if found is None:
        raise _not_found(image_id)
    return Response(found, media_type="application/json")


async def _until_terminal(app: Services, image_id: int, wait_s: float) -> bytes | None:
    """The image once it is terminal, or as it is after `wait_s`."""
    give_up_at_s = time.monotonic() + wait_s
    async with app.waiting.expect(image_id) as expectation:
        while True:
            found = await app.threads.run(app.lookup.get, image_id)
            left_s = give_up_at_s - time.monotonic()
            is_final = found is None or resource.is_terminal(found)
            if is_final or left_s <= 0 or app.waiting.released:
                return found
            await expectation.wait(min(left_s, WAIT_POLL_S))


@router.get("/api/v1/images", response_model=ImagePage, responses=problem_json.documented(
    problems.Unusable, problems.Overloaded))  # fmt: skip
def list_images(
    app: App,
    cursor: Annotated[
        str | None, Query(description="`nextCursor` of the page before.", examples=["YmVmb3JlOjQy"])
    ] = None,
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = 50,
    status: Annotated[Status | None, Query(examples=["COMPLETED"])] = None,
    created_after: Annotated[
        datetime | None, Query(alias="createdAfter", examples=["2025-12-24T10:30:00"])
    ] = None,
    created_before: Annotated[
        datetime | None, Query(alias="createdBefore", examples=["2025-12-25T00:00:00"])
    ] = None,
    q: Annotated[
        str | None,
        Query(max_length=MAX_QUERY_CHARS, description="Words of descriptions and labels."),
    ] = None,
) -> Response:
    """Images, newest first; every row is on exactly one page."""
    selection = images.Selection(
        before_id=listing.decode_cursor(cursor),
        status=status,
        created_after=listing.utc(created_after),
        created_before=listing.utc(created_before),
        q=listing.search_text(q),
    )
    with app.database.statement() as statement:
        found = images.select(statement, selection, limit + 1)
    return Response(listing.page_json(found, limit, app.image_base_url),
                    media_type="application/json")  # fmt: skip


@router.get(
    "/api/v1/images/{image_id}/content", response_class=Response, responses=CONTENT_RESPONSES
)
def get_content(app: App, image_id: ImageId) -> Response:
    """The image as uploaded, less the metadata that could say where it was taken."""
    with app.database.statement() as cursor:
        image = images.find(cursor, image_id)
    return _content(app, image, str(image_id))


@router.get("/images/{name}", response_class=Response, responses=CONTENT_RESPONSES)
def get_by_url(app: App, name: str) -> Response:
    """What `imageUrl` points at where no CDN stands before the store."""
    if not name.isprintable():
        raise _not_found("of this name")
    with app.database.statement() as cursor:
        image = images.find_by_key(cursor, IMAGES_PREFIX + name)
    return _content(app, image, name)


@router.delete("/api/v1/images/{image_id}", status_code=204, responses=NOT_FOUND)
def delete_image(app: App, image_id: ImageId) -> None:
    """Delete an image, its labels and its stored bytes."""
    if not app.deletion.delete(image_id):
        raise _not_found(image_id)


def _content(app: Services, image: Image | None, name: str) -> Response:
    if image is None:
        raise _not_found(name)
    try:
        data = app.objects.get(image.s3_key)
    except ObjectNotFound as exc:
        raise _not_found(name) from exc
    return Response(data, media_type=image.media_type, headers=CONTENT_HEADERS)


def _not_found(name: int | str) -> problems.NotFound:
    return problems.NotFound(f"There is no image {name}.")
