"""Ports: free ones, kept over restarts, and chosen again when another program has one."""

import socket
from pathlib import Path

import pytest

from standalone.machine.ports import HIGHEST_PORT, NoFreePort, PortBook, free_port, is_free

LOCAL_PORT_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")


@pytest.fixture
def book_path(tmp_path: Path) -> Path:
    return tmp_path / "ports.json"


def test_a_listening_port_is_not_free() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        assert not is_free(listener.getsockname()[1])


def test_a_port_listening_on_all_addresses_is_not_free() -> None:
    with socket.create_server(("0.0.0.0", 0)) as listener:  # noqa: S104 - closed at once
        assert not is_free(listener.getsockname()[1])


def test_a_free_port_can_be_listened_on() -> None:
    with socket.create_server(("127.0.0.1", free_port())):
        pass


def test_free_ports_lie_outside_the_range_of_outgoing_connections() -> None:
    lowest_outgoing = int(LOCAL_PORT_RANGE.read_text().split()[0])
    assert lowest_outgoing > HIGHEST_PORT


def test_no_free_port_says_so() -> None:
    with pytest.raises(NoFreePort):
        free_port(free=lambda _port: False)


def test_a_name_keeps_its_port_over_restarts(book_path: Path) -> None:
    first = PortBook(book_path)
    given = {name: first.port(name) for name in ("kafka", "redis")}
    again = PortBook(book_path)
    assert {name: again.port(name) for name in ("redis", "kafka")} == given


def test_one_book_always_answers_the_same_though_the_port_is_in_use_by_then(
    book_path: Path,
) -> None:
    taken: set[int] = set()
    book = PortBook(book_path, free=lambda port: port not in taken)
    port = book.port("kafka")
    taken.add(port)
    assert book.port("kafka") == port


def test_a_port_that_another_program_took_is_chosen_again(book_path: Path) -> None:
    before = PortBook(book_path).port("kafka")
    after = PortBook(book_path, free=lambda port: port != before).port("kafka")
    assert after != before
    assert PortBook(book_path).port("kafka") == after


def test_a_kept_port_that_is_now_set_for_something_else_is_chosen_again(book_path: Path) -> None:
    before = PortBook(book_path).port("kafka")
    assert PortBook(book_path, reserved={before}).port("kafka") != before


def test_names_never_share_a_port(book_path: Path) -> None:
    book = PortBook(book_path)
    ports = [book.port(f"part-{number}") for number in range(200)]
    assert len(set(ports)) == len(ports)


@pytest.mark.parametrize("content", ["", "{", "[]", '"kafka"'])
def test_a_damaged_book_is_begun_anew(book_path: Path, content: str) -> None:
    book_path.write_text(content)
    port = PortBook(book_path).port("kafka")
    assert PortBook(book_path).port("kafka") == port
