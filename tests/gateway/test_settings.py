"""Settings: one prefix, and a clear word about every variable that is wrong."""

import pytest

from gateway.__main__ import main
from gateway.settings import GatewaySettings, from_environment
from runtime.settings import SettingsError

NEEDED = {
    "GATEWAY_DATABASE_URL": "postgresql://user:secret-word@127.0.0.1/db",
    "GATEWAY_REDIS_URL": "redis://127.0.0.1/0",
    "GATEWAY_KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:9092",
    "GATEWAY_OBJECT_STORE_URL": "file:///objects",
    "GATEWAY_TRITON_GRPC_ADDRESS": "127.0.0.1:8001",
}


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, text in NEEDED.items():
        monkeypatch.setenv(name, text)


def test_what_has_no_safe_default_is_needed_and_nothing_else() -> None:
    needed = {n for n, field in GatewaySettings.model_fields.items() if field.is_required()}
    assert {f"GATEWAY_{name.upper()}" for name in needed} == set(NEEDED)
    assert from_environment().port == 8080


@pytest.mark.parametrize("name", sorted(GatewaySettings.model_fields))
def test_every_setting_is_read_with_the_prefix_and_only_so(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = getattr(from_environment(), name)
    other = {"log_format": "console", "log_level": "ERROR"}.get(name, other_than(before))
    monkeypatch.setenv(name.upper(), other)
    assert getattr(from_environment(), name) == before
    monkeypatch.setenv(f"GATEWAY_{name.upper()}", other)
    assert str(getattr(from_environment(), name)) == other


def other_than(value: object) -> str:
    return str(value + 1) if isinstance(value, int | float) else f"{value}-other"


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("GATEWAY_PORT", "tcp://10.0.0.1:80"),
        ("GATEWAY_PORT", "65536"),
        ("GATEWAY_PORT", ""),
        ("GATEWAY_WORKERS", "0"),
        ("GATEWAY_MAX_UPLOAD_BYTES", "-1"),
        ("GATEWAY_MAX_UPLOAD_BYTES", "10 MB"),
        ("GATEWAY_LOG_FORMAT", "xml"),
        ("GATEWAY_LOG_LEVEL", "LOUD"),
        ("GATEWAY_KAFKA_SESSION_TIMEOUT_S", "1"),
        ("GATEWAY_REDIS_TIMEOUT_S", "0"),
        ("GATEWAY_SWEEP_INTERVAL_S", "60"),  # a pause that looks like a hang
        ("GATEWAY_RELAY_POLL_S", "60"),
    ],
)
def test_a_wrong_value_is_named(name: str, wrong: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, wrong)
    with pytest.raises(SettingsError, match=f"^{name}: "):
        from_environment()


@pytest.mark.parametrize("name", sorted(NEEDED))
def test_a_missing_value_is_named(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(name)
    with pytest.raises(SettingsError, match=rf"^{name}: Field required$"):
        from_environment()


def test_a_misspelt_name_is_named_with_what_was_meant(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATEWAY_MAX_PIXEL", "1")
    with pytest.raises(SettingsError, match=r"^GATEWAY_MAX_PIXEL: .*GATEWAY_MAX_PIXELS$"):
        from_environment()


def test_everything_wrong_is_said_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATEWAY_PORT", "many")
    monkeypatch.setenv("GATEWAY_WORKERS", "none")
    monkeypatch.setenv("GATEWAY_NONSENSE", "1")
    with pytest.raises(SettingsError) as caught:
        from_environment()
    assert {line.split(":")[0] for line in str(caught.value).splitlines()} == {
        "GATEWAY_PORT", "GATEWAY_WORKERS", "GATEWAY_NONSENSE",
    }  # fmt: skip


@pytest.mark.parametrize("command", ["api", "relay", "writer", "migrate"])
def test_no_process_starts_with_wrong_settings(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GATEWAY_PORT", "many")
    with pytest.raises(SystemExit) as caught:
        main([command])
    assert caught.value.code == 2
    said = capsys.readouterr().err
    assert "GATEWAY_PORT: " in said
    assert "Traceback" not in said
    assert "secret-word" not in said
