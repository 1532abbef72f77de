"""Photos in, labels a person would accept out."""

import json
from pathlib import Path

import httpx
import pytest

from standalone.wheels.unpacked import PHOTOS
from tests.end_to_end.whole_platform import Platform

pytestmark = pytest.mark.end_to_end

ACCEPTED = {
    "chelsea.png": {"tabby cat", "tiger cat", "Egyptian Mau", "Persian cat", "lynx"},
    "rocket.jpg": {"missile", "projectile", "space shuttle"},
    "coffee.png": {"espresso", "coffee mug", "cup", "soup bowl"},
    "motorcycle_left.png": {"moped", "vespa", "disc brake", "crash helmet"},
}


@pytest.mark.parametrize("name", sorted(ACCEPTED))
def test_label_is_one_a_person_would_accept(
    platform: Platform, client: httpx.Client, name: str
) -> None:
    photo = (PHOTOS / name).read_bytes()

    image = platform.terminal(client, platform.upload(client, photo, name))

    result = json.loads(image["classificationResult"])
    labels = [score["class"] for score in result["top5"]]
    assert image["status"] == "COMPLETED"
    assert result["class"] in ACCEPTED[name], labels
    assert image["confidenceScore"] == result["confidence"] == result["top5"][0]["confidence"]
    assert result["labelSet"] == "imagenet-1k"
    assert result["model"] == "starter"
    assert len(set(labels)) == 5


def test_label_and_description_are_searchable(platform: Platform, client: httpx.Client) -> None:
    photo = (PHOTOS / "coffee.png").read_bytes()
    answer = client.post(
        "/api/v1/images/upload",
        files={"file": ("coffee.png", photo)},
        data={"description": "breakfasting in Antananarivo"},
    )
    image = platform.terminal(client, answer.json()["id"])
    label = json.loads(image["classificationResult"])["class"]

    by_description = client.get("/api/v1/images", params={"q": "breakfast antananarivo"}).json()
    by_both = client.get("/api/v1/images", params={"q": f"antananarivo {label}"}).json()

    assert [found["id"] for found in by_description["items"]] == [image["id"]]
    assert [found["id"] for found in by_both["items"]] == [image["id"]]


def test_damaged_photo_fails_with_a_reason(platform: Platform, client: httpx.Client) -> None:
    photo = bytearray((PHOTOS / "rocket.jpg").read_bytes())
    middle = len(photo) // 2
    photo[middle : middle + 4_000] = bytes(4_000)

    image = platform.terminal(client, platform.upload(client, bytes(photo)))

    assert image["status"] == "FAILED"
    assert "cannot be decoded" in image["failureReason"]
    assert image["classificationResult"] is None


def test_sample_photos_are_where_the_wheel_has_them() -> None:
    assert all((Path(PHOTOS) / name).is_file() for name in ACCEPTED)
