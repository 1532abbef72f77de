"""Resource: the field names and forms that callers were promised, and no others."""

import json
from dataclasses import replace
from datetime import datetime, timedelta, timezone

import pytest

from gateway import resource
from gateway.images import Image, Status

CREATED = datetime(2025, 12, 24, 10, 30, tzinfo=timezone.utc)
IMAGE = Image(
    1, "images/0d9a-car.jpg", "image/jpeg", Status.PENDING, None, None, None, "trace",
    CREATED, CREATED + timedelta(seconds=15),
)  # fmt: skip
BASE = "https://cdn.example.com/images"
CLASSIFICATION = '{"class": "car", "confidence": 0.95}'


def test_an_accepted_upload_has_four_fields() -> None:
    assert json.loads(resource.accepted_json(IMAGE, BASE)) == {
        "id": 1,
        "imageUrl": "https://cdn.example.com/images/0d9a-car.jpg",
        "status": "PENDING",
        "createdAt": "2025-12-24T10:30:00.000",
    }


def test_a_completed_image_has_its_classification_as_a_string_of_json() -> None:
    done = replace(
        IMAGE,
        status=Status.COMPLETED,
        classification_result=CLASSIFICATION,
        confidence_score=0.95,
    )
    assert json.loads(resource.to_json(done, BASE)) == {
        "id": 1,
        "imageUrl": "https://cdn.example.com/images/0d9a-car.jpg",
        "status": "COMPLETED",
        "classificationResult": CLASSIFICATION,
        "confidenceScore": 0.95,
        "createdAt": "2025-12-24T10:30:00.000",
        "updatedAt": "2025-12-24T10:30:15.000",
    }


def test_a_failed_image_says_why() -> None:
    failed = replace(IMAGE, status=Status.FAILED, failure_reason="It is cut off.")
    fields = json.loads(resource.to_json(failed, BASE))
    assert (fields["status"], fields["failureReason"]) == ("FAILED", "It is cut off.")
    assert fields["classificationResult"] is None
    assert "failureReason" not in json.loads(resource.to_json(IMAGE, BASE))


@pytest.mark.parametrize("base", [BASE, BASE + "/"])
def test_urls_have_one_slash(base: str) -> None:
    assert resource.image_url(IMAGE, base) == f"{BASE}/0d9a-car.jpg"


@pytest.mark.parametrize(
    ("moment", "text"),
    [
        (CREATED, "2025-12-24T10:30:00.000"),
        (CREATED + timedelta(microseconds=999_999), "2025-12-24T10:30:00.999"),
        (CREATED.astimezone(timezone(timedelta(hours=5, minutes=30))), "2025-12-24T10:30:00.000"),
    ],
)
def test_times_are_utc_with_milliseconds(moment: datetime, text: str) -> None:
    assert resource.timestamp(moment) == text


@pytest.mark.parametrize("status", list(Status))
def test_a_resource_knows_whether_it_is_terminal(status: Status) -> None:
    text = resource.to_json(replace(IMAGE, status=status), BASE)
    assert resource.is_terminal(text) is status.terminal


def test_no_text_in_it_makes_a_pending_image_terminal() -> None:
    sly = replace(IMAGE, s3_key='images/"status":"COMPLETED".jpg')
    assert not resource.is_terminal(resource.to_json(sly, BASE))
