"""Logs: one JSON object a line, with what a search needs, whoever wrote the record."""

import json
import subprocess
import sys
from typing import Any

import pytest

PROGRAM = """
import logging, sys, structlog
from runtime import logs
logs.configure("tests", {form!r}, "INFO")
log = structlog.get_logger("mine")
log.info("image classified", action="classify", image_id=7, trace_id="ab")
log.debug("too quiet to be seen", action="debug")
logging.getLogger("library").warning("from %s", "a library")
logging.getLogger("kafka.conn").warning("reconnecting, again")
logging.getLogger("other").error("broken")
try:
    1 / 0
except ZeroDivisionError:
    log.exception("failed", action="divide")
"""


def lines(form: str) -> list[str]:
    program = PROGRAM.format(form=form)
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=30
    )
    assert ran.stdout == "", "logs go to stderr alone"
    return ran.stderr.splitlines()


@pytest.fixture(scope="module")
def records() -> list[dict[str, Any]]:
    return [json.loads(line) for line in lines("json")]


def test_each_record_is_one_line(records: list[dict[str, Any]]) -> None:
    events = [record["event"] for record in records]
    assert events == ["image classified", "from a library", "broken", "failed"]


def test_every_record_says_when_who_and_how_bad(records: list[dict[str, Any]]) -> None:
    for record in records:
        assert record["service"] == "tests"
        assert record["timestamp"].endswith("Z")
        assert record["level"] in {"info", "warning", "error"}
        assert not any(name.startswith("_") for name in record)


def test_fields_stay_fields(records: list[dict[str, Any]]) -> None:
    first = records[0]
    assert (first["action"], first["image_id"], first["trace_id"]) == ("classify", 7, "ab")


def test_only_a_failure_has_a_traceback(records: list[dict[str, Any]]) -> None:
    *others, failure = records
    assert "ZeroDivisionError: division by zero" in failure["exception"]
    assert not any("exception" in record or "exc_info" in record for record in others)


def test_the_console_form_is_for_reading() -> None:
    text = "\n".join(lines("console"))
    assert "image classified" in text
    assert "image_id=7" in text
    assert "\x1b[" not in text, "no colours where there is no terminal"
    assert "ZeroDivisionError" in text
