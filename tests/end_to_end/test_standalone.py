"""What the person at the terminal gets: a table, addresses, processes, and a clean end."""

import signal
import subprocess
from pathlib import Path

import httpx
import pytest

from standalone.wheels.unpacked import PHOTOS
from tests.end_to_end.whole_platform import ROOT, Platform

pytestmark = [pytest.mark.end_to_end, pytest.mark.timeout(400)]

NAMES = [
    "dispatcher-0", "gateway-api", "gateway-relay", "gateway-writer",
    "kafka", "postgres", "redis", "triton",
]  # fmt: skip


def processes_of(data_dir: Path) -> str:
    """Command lines of processes that name the data folder or run in it."""
    listing = subprocess.run(["ps", "-eww", "-o", "pid=,args="], capture_output=True, check=True)
    lines = listing.stdout.decode(errors="replace").splitlines()
    return "\n".join(line for line in lines if str(data_dir) in line)


def test_table_addresses_and_curl_line_are_printed(platform: Platform) -> None:
    for word in ("photo", "label", "confidence", "ms", "espresso"):
        assert word in platform.output
    assert f"{platform.url}/docs" in platform.output
    assert f"{platform.url}/actuator/prometheus" in platform.output
    assert f"127.0.0.1:{platform.triton_port}" in platform.output


def test_printed_curl_line_works_when_pasted(platform: Platform) -> None:
    line = next(line for line in platform.output.splitlines() if line.strip().startswith("curl -F"))
    pasted = subprocess.run(["bash", "-c", line], capture_output=True, check=True, cwd=ROOT)
    assert b'"status":"PENDING"' in pasted.stdout


def test_ps_lists_every_process(platform: Platform) -> None:
    rows = platform.processes()
    assert sorted(rows) == NAMES
    for row in rows.values():
        assert set(row) == {"name", "pid", "state", "restarts", "address"}
        assert Path(f"/proc/{row['pid']}").exists()
    assert rows["gateway-api"]["address"] == f"127.0.0.1:{platform.gateway_port}"
    assert rows["triton"]["address"] == f"127.0.0.1:{platform.triton_port}"


def test_embedded_broker_restart_and_clean_end(tmp_path: Path) -> None:
    """Beside the other platform; the restart knows what the first run was given."""
    first = Platform(tmp_path / "data", kafka="embedded")
    first.start()
    assert "in memory" in first.output
    with first.client() as client:
        image_id = first.upload(client, (PHOTOS / "rocket.jpg").read_bytes())
        before = first.terminal(client, image_id)
        first.kill("kafka")  # its log is gone
        again = first.upload(client, (PHOTOS / "coffee.png").read_bytes())
        assert first.terminal(client, again)["status"] == "COMPLETED"
    assert first.stop(signal.SIGTERM) is not None
    assert processes_of(first.data_dir) == ""

    second = Platform(
        tmp_path / "data",
        kafka="embedded",
        gateway_port=first.gateway_port,
        triton_port=first.triton_port,
    )
    second.start()
    try:
        with second.client() as client:
            assert client.get(f"/api/v1/images/{image_id}").json() == before
            content = client.get(f"/api/v1/images/{image_id}/content")
            assert content.headers["content-type"] == "image/jpeg"
    finally:
        second.stop()
    assert processes_of(second.data_dir) == ""


def test_taken_port_is_named(platform: Platform, tmp_path: Path) -> None:
    other = Platform(tmp_path / "data", gateway_port=platform.gateway_port)
    with pytest.raises(TimeoutError, match=f"Port {platform.gateway_port}"):
        other.start()
    assert processes_of(other.data_dir) == ""


def test_second_platform_on_the_same_folder_is_refused(platform: Platform) -> None:
    other = Platform(platform.data_dir)
    other_output = platform.data_dir.parent / "second.out"
    answer = subprocess.run(
        [ROOT / ".venv/bin/python", "-m", "standalone", "up", "--data-dir", str(other.data_dir),
         "--gateway-port", str(other.gateway_port), "--triton-grpc-port", str(other.triton_port)],
        capture_output=True, cwd=ROOT, check=False, timeout=60,
    )  # fmt: skip
    assert answer.returncode != 0
    assert b"already runs" in answer.stdout + answer.stderr
    assert not other_output.exists()


def test_api_is_ready_when_the_table_is_there(platform: Platform) -> None:
    assert httpx.get(f"{platform.url}/readyz", timeout=10).json()["ready"] is True
