"""README's commands, run as they stand there; its links and its settings, checked."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from standalone.settings import StandaloneSettings
from standalone.wheels.unpacked import PHOTOS
from tests.end_to_end.whole_platform import ROOT, Platform

README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```bash\n(.*?)```", README, re.DOTALL)


@pytest.mark.end_to_end
def test_commands_of_the_newcomer(platform: Platform, tmp_path: Path) -> None:
    up, calls, _ = BLOCKS
    assert up == "make up\n"  # the platform of this session was started so
    shutil.copy(PHOTOS / "rocket.jpg", tmp_path / "photo.jpg")
    script = calls.replace("http://127.0.0.1:8080", platform.url)

    ran = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script], cwd=tmp_path, capture_output=True, check=True
    )

    assert b'"status":"PENDING"' in ran.stdout
    assert b'"status":"COMPLETED"' in ran.stdout
    assert b'"items":[{' in ran.stdout


def test_commands_of_the_developer_are_what_ci_runs() -> None:
    assert BLOCKS[2].strip() in (ROOT / ".ci/run").read_text()


def test_settings_of_the_table_are_those_of_the_code() -> None:
    documented = dict(re.findall(r"\| `STANDALONE_([A-Z_]+)` \| `([^`]+)` \|", README))
    fields = StandaloneSettings.model_fields
    assert {name.lower() for name in documented} == set(fields)
    for name, default in documented.items():
        assert str(fields[name.lower()].default) == default


def test_links_lead_somewhere() -> None:
    links = re.findall(r"\]\(([^)#]+)\)", README)
    assert links
    assert [link for link in links if "//" not in link and not (ROOT / link).exists()] == []


def test_it_is_short() -> None:
    assert len(README.splitlines()) < 200
