"""What operators and their tools see: health, readiness, metrics, OpenAPI and its pages."""

import json
import re
import time
from typing import Any

import httpx
import pytest

from tests.api import road
from tests.api.conftest import Platform, Services
from tests.gateway.waits import until

pytestmark = pytest.mark.integration

METRICS = "/actuator/prometheus"


def test_health_is_the_promised_sentence(client: httpx.Client) -> None:
    answer = client.get("/api/v1/images/health")
    assert (answer.status_code, answer.json()) == (200, "Image Service is running")
    assert answer.headers["content-type"] == "application/json"


def test_the_process_lives(client: httpx.Client) -> None:
    assert client.get("/livez").status_code == 200


def ready(client: httpx.Client) -> dict[str, Any]:
    answer = client.get("/readyz")
    report: dict[str, Any] = answer.json()
    assert report["ready"] is (answer.status_code == 200)
    assert ("retry-after" in answer.headers) is (answer.status_code == 503)
    return report


def test_ready_is_the_whole_road(client: httpx.Client) -> None:
    until(lambda: ready(client)["ready"], within_s=20)
    assert ready(client)["checks"] == {"outbox": "ok", "model": "ok", "consumers": "ok"}


def test_without_a_dispatcher_it_is_not_ready(client: httpx.Client, platform: Platform) -> None:
    until(lambda: ready(client)["ready"], within_s=20)
    platform.dispatcher.terminate()
    try:
        until(lambda: not ready(client)["ready"], within_s=15)
        report = ready(client)
        assert "image-service-group" in report["checks"]["consumers"]
        assert report["checks"]["model"] == report["checks"]["outbox"] == "ok"
    finally:
        platform.dispatcher.start()
        platform.dispatcher.wait_ready()
    until(lambda: ready(client)["ready"], within_s=20)


def test_without_triton_it_is_not_ready_and_uploads_wait(
    client: httpx.Client, services: Services
) -> None:
    until(lambda: ready(client)["ready"], within_s=20)
    services.triton.kill()
    try:
        until(lambda: not ready(client)["ready"], within_s=15)
        assert "Triton" in ready(client)["checks"]["model"]
        image_id = road.uploaded_id(client)
        assert client.get(f"/api/v1/images/{image_id}").json()["status"] in {
            "PENDING", "PROCESSING",
        }  # fmt: skip
    finally:
        services.triton.start()
        services.triton.wait_ready()
    assert road.terminal(client, image_id)["status"] == "COMPLETED"
    until(lambda: ready(client)["ready"], within_s=20)


def samples(client: httpx.Client) -> dict[str, float]:
    answer = client.get(METRICS)
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain")
    found = re.findall(r"^([a-z_]+(?:\{.*\})?) ([\d.e+-]+)$", answer.text, re.MULTILINE)
    return {name: float(value) for name, value in found}


def test_every_promised_metric_is_there(client: httpx.Client, platform: Platform) -> None:
    image_id = road.uploaded_id(client)
    road.upload(client, b"rubbish")
    road.uploaded_id(client, labels="counted, timed")
    road.terminal(client, image_id)
    client.get(f"/api/v1/images/{image_id}")
    of_api = samples(client)
    for name in (
        'image_uploads_total{outcome="accepted"}',
        'image_uploads_total{outcome="rejected"}',
        'image_cache_requests_total{result="hit"}',
        'image_cache_requests_total{result="miss"}',
        'gateway_db_queries_total{operation="insert"}',
        'gateway_db_queries_total{operation="select"}',
        "image_upload_seconds_count",
        "image_upload_bytes_total",
        "gateway_prompts_embedded_total",
        "gateway_prompt_batch_seconds_count",
        'gateway_label_matrices_total{result="embedded"}',
        'gateway_request_seconds_count{method="POST",route="/api/v1/images/upload",status="201"}',
        'gateway_request_seconds_count{method="GET",route="/api/v1/images/{image_id}",status="200"}',
    ):
        assert of_api.get(name, 0) > 0, name
    assert "gateway_waiters" in of_api
    with road.client_of(platform.relay) as relay, road.client_of(platform.writer) as writer:
        assert samples(relay)["gateway_outbox_published_total"] > 0
        assert samples(writer)['image_classifications_total{status="COMPLETED"}'] > 0
        assert samples(writer)["image_classification_seconds_count"] > 0


def test_routes_nobody_has_are_one_label(client: httpx.Client) -> None:
    for number in range(3):
        client.get(f"/nobody/{number}")
        client.request(("PROPFIND", "MKCOL", "SEARCH")[number], "/livez")
    routes = {name for name in samples(client) if "gateway_request_seconds_count" in name}
    assert not [name for name in routes if "nobody" in name or "MKCOL" in name]


def test_several_workers_are_summed(services: Services) -> None:
    api = services.gateway.api(GATEWAY_WORKERS="2")
    with road.up(api), road.client_of(api) as client:
        image_id = road.uploaded_id(client)
        for _ in range(30):  # each on a connection of its own, so that both workers get some
            answer = httpx.get(
                f"http://{api.address}/api/v1/images/{image_id}",
                headers={"Connection": "close"},
                trust_env=False,
            )
            assert answer.status_code == 200
        for _ in range(5):
            found = samples(client)
            reads = [
                found.get(f'image_cache_requests_total{{result="{result}"}}', 0)
                for result in ("hit", "miss")
            ]
            assert sum(reads) == 30
            assert found['image_uploads_total{outcome="accepted"}'] == 1
        code, took_s = api.terminate()
    assert code == 0
    assert took_s < 5


# OpenAPI


@pytest.fixture(scope="module")
def openapi(platform: Platform) -> dict[str, Any]:
    with road.client_of(platform.api) as client:
        document: dict[str, Any] = client.get("/openapi.json").json()
    return document


ROUTES = {
    ("post", "/api/v1/images/upload"): {"201", "400", "408", "413", "415", "422", "503", "507"},
    ("get", "/api/v1/images/{image_id}"): {"200", "404", "422", "503"},
    ("delete", "/api/v1/images/{image_id}"): {"204", "404", "422", "503"},
    ("get", "/api/v1/images/{image_id}/content"): {"200", "404", "422", "503"},
    ("get", "/api/v1/images/{image_id}/embedding"): {"200", "404", "409", "422", "503"},
    ("post", "/api/v1/images/{image_id}/classify"): {
        "200",
        "400",
        "404",
        "408",
        "409",
        "413",
        "415",
        "422",
        "503",
        "507",
    },
    ("get", "/api/v1/images"): {"200", "422", "503"},
    ("get", "/images/{name}"): {"200", "404", "422", "503"},
    ("post", "/api/v1/label-sets"): {
        "200",
        "201",
        "400",
        "408",
        "409",
        "413",
        "415",
        "422",
        "503",
        "507",
    },
    ("get", "/api/v1/label-sets"): {"200", "422", "503"},
    ("get", "/api/v1/label-sets/{name}"): {"200", "404", "422", "503"},
    ("delete", "/api/v1/label-sets/{name}"): {"204", "404", "409", "422", "503"},
    ("get", "/api/v1/images/health"): {"200"},
    ("get", "/livez"): {"200"},
    ("get", "/readyz"): {"200", "503"},
    ("get", METRICS): {"200"},
}


def test_openapi_names_every_route_and_every_answer(openapi: dict[str, Any]) -> None:
    assert openapi["openapi"].startswith("3.")
    documented = {
        (method, path): set(operation["responses"])
        for path, operations in openapi["paths"].items()
        for method, operation in operations.items()
    }
    assert documented == ROUTES


def test_every_operation_and_parameter_is_described(openapi: dict[str, Any]) -> None:
    ids = []
    for operations in openapi["paths"].values():
        for operation in operations.values():
            ids.append(operation["operationId"])
            assert operation.get("description") or operation.get("summary")
            assert operation["tags"]
    assert len(ids) == len(set(ids))


def test_errors_are_problems_with_examples(openapi: dict[str, Any]) -> None:
    for (method, path), statuses in ROUTES.items():
        for status in statuses:
            answer = openapi["paths"][path][method]["responses"][status]
            if int(status) >= 400 and path != "/readyz":
                (media_type, content), *others = answer["content"].items()
                assert (media_type, others) == (road.PROBLEM, [])
                assert content["example"]["status"] == int(status)
            assert answer["description"]


def test_bodies_have_examples(openapi: dict[str, Any]) -> None:
    schemas = openapi["components"]["schemas"]
    assert schemas["AcceptedImage"]["example"].keys() == {
        "id", "imageUrl", "status", "createdAt",
    }  # fmt: skip
    example = schemas["ImageResource"]["example"]
    assert json.loads(example["classificationResult"])["class"]
    upload = openapi["paths"]["/api/v1/images/upload"]["post"]
    form = upload["requestBody"]["content"]["multipart/form-data"]["schema"]
    assert form["required"] == ["file"]
    in_query = {each["name"] for each in upload["parameters"] if each["in"] == "query"}
    assert in_query == {"labelSet", "labels", "templates"} <= form["properties"].keys()
    made = openapi["paths"]["/api/v1/label-sets"]["post"]["requestBody"]["content"]
    assert made["application/json"]["schema"]["example"]["labels"]
    assert schemas["LabelSetResource"]["example"].keys() == (
        schemas["LabelSetResource"]["properties"].keys()
    )


def test_every_reference_leads_somewhere(openapi: dict[str, Any]) -> None:
    references = set(re.findall(r'"\$ref": "#/([^"]+)"', json.dumps(openapi)))
    assert references
    for reference in references:
        found: Any = openapi
        for step in reference.split("/"):
            found = found[step]


def test_what_comes_back_is_what_openapi_says(
    client: httpx.Client, openapi: dict[str, Any]
) -> None:
    schemas = openapi["components"]["schemas"]
    accepted = road.upload(client).json()
    assert set(accepted) == set(schemas["AcceptedImage"]["properties"])
    image = road.terminal(client, accepted["id"])
    assert set(image) | {"failureReason"} == set(schemas["ImageResource"]["properties"])
    assert set(schemas["ImageResource"]["required"]) <= set(image)
    page = client.get("/api/v1/label-sets").json()
    assert set(page) == set(schemas["LabelSetPage"]["properties"])
    assert set(page["items"][0]) == set(schemas["LabelSetSummary"]["properties"])
    own = client.get(f"/api/v1/label-sets/{page['items'][0]['name']}").json()
    assert set(own) == set(schemas["LabelSetResource"]["properties"])
    assert set(client.get("/readyz").json()) == set(schemas["ReadinessReport"]["properties"])


def test_a_person_can_read_it_too(client: httpx.Client) -> None:
    page = client.get("/docs")
    assert page.status_code == 200
    assert "text/html" in page.headers["content-type"]
    assert "/openapi.json" in page.text


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 404),
        ("GET", "/api/v1/nothing", 404),
        ("PUT", "/api/v1/images/1", 405),
        ("GET", "/api/v1/images/upload", 422),
        ("DELETE", "/livez", 405),
        ("PROPFIND", "/livez", 405),
    ],
)
def test_every_error_is_a_problem(
    client: httpx.Client, method: str, path: str, status: int
) -> None:
    road.problem_of(client.request(method, path), status)


def test_readiness_is_not_asked_at_every_request(services: Services) -> None:
    api = services.gateway.api(GATEWAY_READINESS_CACHE_S="60")
    with road.up(api), road.client_of(api) as client:
        ready(client)
        started_s = time.monotonic()
        for _ in range(20):
            ready(client)
        assert time.monotonic() - started_s < 2
        queries = samples(client)['gateway_db_queries_total{operation="outbox_age"}']
        assert queries == 1
