"""Photos go through the running platform's own API, first a canary, then a handful to look at."""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import urllib3

from standalone.machine.loopback import Address
from standalone.processes.steps import StartError
from standalone.wheels import unpacked

UPLOADS = "/api/v1/images/upload"
IMAGES = "/api/v1/images"
HELD_S = 10
TIMEOUT_S = 15.0
LABELLED_WITHIN_S = 60.0
CREATED = 201
OK = 200

PHOTOS = {
    "cat": "chelsea.png",
    "coffee": "coffee.png",
    "rocket": "rocket.jpg",
    "astronaut": "astronaut.png",
    "motorcycle": "motorcycle_left.png",
}
"""CC0 photos of scikit-image's wheel."""

CANARY = "cat"


@dataclass(frozen=True)
class Labelled:
    """A photo that went the whole road; `took_ms` is from the upload to the answer."""

    photo: str
    image_id: int
    label: str
    confidence: float
    took_ms: float


class SampleClient:
    """Uploads sample photos, each when the one before has its label. All methods block."""

    def __init__(self, api: Address) -> None:
        self._base = f"http://{api}"
        retries = urllib3.Retry(total=3, backoff_factor=0.2, allowed_methods=None)
        timeout = urllib3.Timeout(total=TIMEOUT_S)
        self._http = urllib3.PoolManager(retries=retries, timeout=timeout)

    def label(self, photo: str) -> Labelled:
        """Raises StartError when it is refused, FAILED, or not labelled in time."""
        started = time.monotonic()
        image_id = self._upload(photo)
        while (image := self._image(image_id))["status"] not in {"COMPLETED", "FAILED"}:
            if time.monotonic() - started > LABELLED_WITHIN_S:
                raise StartError(f"the photo {photo} has no label after {LABELLED_WITHIN_S:.0f} s")
        took_ms = (time.monotonic() - started) * 1000
        if image["status"] == "FAILED":
            raise StartError(f"the photo {photo} FAILED: {image.get('failureReason')}")
        label = json.loads(image["classificationResult"])["class"]
        return Labelled(photo, image_id, label, image["confidenceScore"], took_ms)

    def canary(self) -> Labelled:
        """One photo through the whole road, of which nothing is kept."""
        labelled = self.label(CANARY)
        self._request("DELETE", f"{IMAGES}/{labelled.image_id}")
        return labelled

    def _upload(self, photo: str) -> int:
        path = photo_path(photo)
        fields = {"file": (path.name, path.read_bytes()), "description": f"sample photo: {photo}"}
        answer = self._request("POST", UPLOADS, fields=fields)
        if answer.status != CREATED:
            raise StartError(f"the photo {photo} was refused: {answer.status} {answer.data!r}")
        return int(answer.json()["id"])

    def _image(self, image_id: int) -> dict[str, Any]:
        answer = self._request("GET", f"{IMAGES}/{image_id}?wait_s={HELD_S}")
        if answer.status != OK:
            raise StartError(f"image {image_id} cannot be read: {answer.status} {answer.data!r}")
        image: dict[str, Any] = answer.json()
        return image

    def _request(self, method: str, path: str, fields: Any = None) -> urllib3.BaseHTTPResponse:
        try:
            return self._http.request(method, self._base + path, fields=fields)
        except urllib3.exceptions.HTTPError as exc:
            raise StartError(f"the API does not answer: {exc}") from exc


def photo_path(photo: str) -> Path:
    return unpacked.PHOTOS / PHOTOS[photo]


def as_table(labelled: Sequence[Labelled]) -> str:
    width = max(len(each.label) for each in labelled)
    lines = [f"{'photo':<12}{'label':<{width}}  confidence      ms"]
    lines += [
        f"{each.photo:<12}{each.label:<{width}}  {each.confidence:>10.2f}  {each.took_ms:>6.0f}"
        for each in labelled
    ]
    return "\n".join(lines)
