"""What the routes need, wired in gateway/api/bootstrap.py and reached through FastAPI's Depends."""

from dataclasses import dataclass

from fastapi import Request

from gateway.api.json_body import JsonLimits
from gateway.api.multipart import BodyLimits
from gateway.api.threads import RequestThreads
from gateway.database import Database
from gateway.deletion import Deletion
from gateway.labels.catalogue import LabelCatalogue
from gateway.labels.labelling import Labelling
from gateway.lookup import Lookup
from gateway.readiness import Readiness
from gateway.reclassification import Reclassification
from gateway.submission import Submission
from gateway.validation import Limits
from gateway.waiting import Waiting
from runtime.objects import ObjectStore


@dataclass(frozen=True)
class Services:
    database: Database
    objects: ObjectStore
    submission: Submission
    labelling: Labelling
    label_catalogue: LabelCatalogue
    lookup: Lookup
    reclassification: Reclassification
    deletion: Deletion
    waiting: Waiting
    readiness: Readiness
    threads: RequestThreads
    embedding_threads: RequestThreads
    body_limits: BodyLimits
    json_limits: JsonLimits
    image_limits: Limits
    image_base_url: str


def services(request: Request) -> Services:
    found = request.app.state.services
    assert isinstance(found, Services)
    return found
