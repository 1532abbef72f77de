"""Reading a service's settings: a line for each variable that is missing, wrong or unknown."""

import pytest
from pydantic import Field
from pydantic_settings import SettingsConfigDict

from runtime.settings import LogSettings, SettingsError, from_environment


class ServiceSettings(LogSettings):
    model_config = SettingsConfigDict(env_prefix="SERVICE_", frozen=True)

    url: str
    attempts: int = Field(default=3, gt=0)


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SERVICE_URL", "http://user:secret-word@host")


def complaints() -> list[str]:
    with pytest.raises(SettingsError) as caught:
        from_environment(ServiceSettings)
    assert "secret-word" not in str(caught.value)
    return str(caught.value).splitlines()


def test_settings_are_read_in_either_case(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("service_attempts", "7")
    monkeypatch.setenv("OTHER_ATTEMPTS", "none of ours")
    settings = from_environment(ServiceSettings)
    assert (settings.url, settings.attempts) == ("http://user:secret-word@host", 7)


def test_a_missing_variable_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SERVICE_URL")
    assert complaints() == ["SERVICE_URL: Field required"]


@pytest.mark.parametrize("wrong", ["0", "many", ""])
def test_a_wrong_value_is_named(wrong: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SERVICE_ATTEMPTS", wrong)
    (complaint,) = complaints()
    assert complaint.startswith("SERVICE_ATTEMPTS: Input should be ")


@pytest.mark.parametrize("name", ["SERVICE_ATTEMPT", "service_attempt"])
def test_an_unknown_variable_is_named_with_what_was_meant(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, "7")
    assert complaints() == [f"{name}: there is no such setting; the nearest is SERVICE_ATTEMPTS"]


def test_everything_wrong_is_said_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SERVICE_URL")
    monkeypatch.setenv("SERVICE_LOG_LEVEL", "LOUD")
    monkeypatch.setenv("SERVICE_NONSENSE", "1")
    assert {line.split(":")[0] for line in complaints()} == {
        "SERVICE_URL", "SERVICE_LOG_LEVEL", "SERVICE_NONSENSE",
    }  # fmt: skip
