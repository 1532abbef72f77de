"""A converted tokenizer gives open_clip's own ids."""

import json

import pytest

from tests.build.exporting.in_export_environment import run

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("export_python")]


def test_no_text_has_other_tokens_than_in_open_clip() -> None:
    outcome = run("run_tokenizer")
    assert outcome.returncode == 0, outcome.stderr
    assert json.loads(outcome.stdout) == {"lower": [], "whitespace": [], "canonicalize": []}
