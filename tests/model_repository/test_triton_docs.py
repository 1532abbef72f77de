"""The scripts of docs/triton.md, run as they stand there against a real Triton."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from standalone.parts.triton_server import TritonServer
from standalone.wheels.unpacked import PHOTOS

ROOT = Path(__file__).parent.parent.parent
SCRIPTS = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "triton.md").read_text(), re.DOTALL)
FILES, PIXELS, TEXTS = SCRIPTS
PICTURES = [str(PHOTOS / name) for name in ("chelsea.png", "coffee.png", "rocket.jpg")]

pytestmark = pytest.mark.integration


def output_of(script: str, server: TritonServer) -> str:
    here = script.replace("127.0.0.1:8001", str(server.address))
    assert here != script
    ran = subprocess.run(
        [sys.executable, "-c", here, *PICTURES], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def test_pictures_as_files(triton: TritonServer) -> None:
    assert re.fullmatch(r"\(3, \d+\) from version \d+\n", output_of(FILES, triton))


def test_pictures_as_pixels(triton: TritonServer) -> None:
    shape, lengths = output_of(PIXELS, triton).split(" [")
    assert re.fullmatch(r"\(3, \d+\)", shape)
    assert [float(length.strip("]\n")) for length in lengths.split()] == pytest.approx([1] * 3)


def test_pictures_against_texts(triton: TritonServer) -> None:
    lines = output_of(TEXTS, triton).splitlines()
    assert ["a cat" in lines[0], "a cup of coffee" in lines[1], "a rocket" in lines[2]] == [
        True
    ] * 3


def test_every_model_of_the_contract_is_described() -> None:
    text = (ROOT / "docs" / "triton.md").read_text()
    models = {path.name for path in (ROOT / "model_repository").iterdir() if path.is_dir()}
    assert {model for model in models if f"`{model}`" not in text} == set()
