"""The dispatcher does not start with wrong settings, and says which they are."""

import pytest

from dispatcher.__main__ import main

NEEDED = {
    "DISPATCHER_KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:9092",
    "DISPATCHER_OBJECT_STORE_URL": "file:///objects",
    "DISPATCHER_TRITON_GRPC_ADDRESS": "127.0.0.1:8001",
}


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, text in NEEDED.items():
        monkeypatch.setenv(name, text)


@pytest.mark.parametrize(
    ("name", "wrong", "complaint"),
    [
        *[(name, None, f"{name}: Field required") for name in NEEDED],
        ("DISPATCHER_BATCH_SIZE", "65", "DISPATCHER_BATCH_SIZE: "),
        ("DISPATCHER_TOPK", "3", "the nearest is DISPATCHER_TOP_K"),
    ],
)
def test_what_is_wrong_is_named(
    name: str,
    wrong: str | None,
    complaint: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if wrong is None:
        monkeypatch.delenv(name)
    else:
        monkeypatch.setenv(name, wrong)
    with pytest.raises(SystemExit) as caught:
        main([])
    assert caught.value.code == 2
    assert complaint in capsys.readouterr().err


def test_it_takes_no_arguments(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--batch-size=3"])
    assert caught.value.code == 2
    assert "--batch-size" in capsys.readouterr().err
