"""What an operator's tools ask: is it up, would it work, how is it doing."""

import json
from typing import Annotated

from fastapi import APIRouter, Depends, Response

from gateway.api.schemas import ReadinessReport
from gateway.api.state import Services, services
from runtime import metrics

router = APIRouter(tags=["operations"])


@router.get("/api/v1/images/health")
async def health() -> str:
    """The seed's own health check: the process answers."""
    return "Image Service is running"


@router.get("/livez", response_class=Response)
async def livez() -> Response:
    """200 while the event loop turns; restart the process when it does not."""
    return Response("ok\n", media_type="text/plain")


@router.get(
    "/readyz",
    response_model=ReadinessReport,
    responses={503: {"model": ReadinessReport, "description": "An upload would not be labelled."}},
)
def readyz(app: Annotated[Services, Depends(services)]) -> Response:
    """200 only where an upload would be labelled: a canary goes through Triton, seconds apart."""
    report = app.readiness.report()
    body = json.dumps({"ready": report.ready, "checks": dict(report.checks)})
    headers = {} if report.ready else {"Retry-After": "5"}
    return Response(
        body, 200 if report.ready else 503, headers=headers, media_type="application/json"
    )


@router.get(metrics.PATH, response_class=Response)
def prometheus() -> Response:
    """Every metric of this service, summed over its worker processes."""
    return Response(metrics.render(), headers={"Content-Type": metrics.CONTENT_TYPE})
