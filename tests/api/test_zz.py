import re
from tests.api import road
def test_x(client):
    i=road.uploaded_id(client); client.get(f"/api/v1/images/{i}"); client.get("/livez")
    print("\n".join(l for l in client.get("/actuator/prometheus").text.splitlines() if "request_seconds_count" in l))
    assert 0
