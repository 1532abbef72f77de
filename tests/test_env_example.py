""".env.example names every setting of the services with its default, and nothing else."""

import re
from pathlib import Path

import pytest
from pydantic_core import PydanticUndefined
from pydantic_settings import BaseSettings

from dispatcher.settings import DispatcherSettings
from gateway.settings import GatewaySettings

TEXT = (Path(__file__).parent.parent / ".env.example").read_text()


@pytest.mark.parametrize("settings", [GatewaySettings, DispatcherSettings])
def test_example_is_complete_and_true(settings: type[BaseSettings]) -> None:
    prefix = settings.model_config["env_prefix"]
    shown = dict(re.findall(rf"^#? ?{prefix}(\w+)=(.*)$", TEXT, re.MULTILINE))
    fields = settings.model_fields

    assert {name.lower() for name in shown} == set(fields)
    for name, value in shown.items():
        default = fields[name.lower()].default
        if name != "DECODE_THREADS":  # depends on the machine
            assert value == ("" if default is PydanticUndefined else str(default)), name
