"""The words of a failed install become what to do."""

import pytest

from standalone.wheels.pip_advice import advice, shortened


@pytest.mark.parametrize(
    ("output", "words"),
    [
        ("ERROR: Could not install: [Errno 28] No space left on device", "disk is full"),
        (
            "ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE.",
            "pip config list",
        ),
        ("ERROR: No matching distribution found for openvino==2026.4.1", "docker compose up"),
        ("ERROR: x.whl is not a supported wheel on this platform.", "docker compose up"),
        (
            "WARNING: Retrying after connection broken by 'NewConnectionError(...)'\n"
            "ERROR: No matching distribution found for numpy",
            "network",
        ),
        ("returned non-zero exit status 1: -m ensurepip --upgrade", "apt install python3-venv"),
        ("something new", "The install failed"),
    ],
)
def test_advice(output: str, words: str) -> None:
    assert words in advice(output)


@pytest.mark.parametrize(
    ("line", "short"),
    [
        (
            "Collecting numpy==2.2.6 (from -r requirements/triton.txt (line 9))",
            "Collecting numpy==2.2.6",
        ),
        ("x" * 60, "x" * 60),
        ("x" * 61, "x" * 59 + "…"),
    ],
)
def test_shortened(line: str, short: str) -> None:
    assert shortened(line) == short
