"""The supervisor with real, tiny processes: restarts, order of the stop, and what cannot start."""

import asyncio
import io
import os
import signal
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from standalone.console import Console
from standalone.processes.process_table import ProcessTable, Row, State
from standalone.processes.steps import StartError, Steps
from standalone.processes.supervisor import Layer, Supervisor
from tests.standalone import stand_ins
from tests.standalone.stand_ins import StandIn, runs

WITHIN_S = 15.0


class Stage:
    """A supervisor with what it writes and says."""

    def __init__(self, data_dir: Path) -> None:
        self.said = io.StringIO()
        self.table = ProcessTable(data_dir / "processes.json")
        self.supervisor = Supervisor(data_dir, self.table, Console(self.said))

    def row(self, name: str) -> Row:
        return next(row for row in self.table.read() if row.name == name)

    def start(self, part: StandIn, layer: Layer = Layer.DEPENDENCY) -> Awaitable[None]:
        return self.supervisor.start(part, layer)


Scene = Callable[[Stage], Coroutine[Any, Any, None]]


@pytest.fixture
def play(tmp_path: Path) -> Callable[[Scene], Stage]:
    """Runs a scene, and stops everything at its end."""

    def play(scene: Scene) -> Stage:
        async def run() -> Stage:
            stage = Stage(tmp_path)
            try:
                await scene(stage)
            finally:
                await stage.supervisor.stop()
            return stage

        return asyncio.run(run())

    return play


async def until(condition: Callable[[], bool]) -> None:
    async def poll() -> None:
        while not condition():  # noqa: ASYNC110 - the conditions are about other processes
            await asyncio.sleep(0.02)

    await asyncio.wait_for(poll(), WITHIN_S)


def test_start_returns_when_the_part_is_ready(
    play: Callable[[Scene], Stage], tmp_path: Path
) -> None:
    part = StandIn("redis", tmp_path)

    async def scene(stage: Stage) -> None:
        await stage.start(part)
        assert part.ready_file.exists()
        assert stage.row("redis") == Row("redis", part.pid, State.RUNNING, 0, str(part.address))
        assert stage.supervisor.waiting_for() == []

    stage = play(scene)
    assert f"redis ready at {part.address}" in stage.said.getvalue()
    assert stage.row("redis") == Row("redis", None, State.STOPPED, 0, str(part.address))


def test_what_dies_is_started_again_and_the_console_says_so(
    play: Callable[[Scene], Stage], tmp_path: Path
) -> None:
    part = StandIn("redis", tmp_path)

    async def scene(stage: Stage) -> None:
        await stage.start(part)
        for restarts in (1, 2):
            killed = part.pid
            assert killed
            os.kill(killed, signal.SIGKILL)
            await until(lambda n=restarts: stage.row("redis").restarts == n)  # type: ignore[misc]
            await until(lambda: stage.row("redis").state is State.RUNNING)
            assert part.pid not in {None, killed}

    said = play(scene).said.getvalue()
    assert "redis died (killed by SIGKILL): starts again in 0.2 s" in said
    assert "redis died (killed by SIGKILL): starts again in 0.4 s" in said
    assert f"redis is back at {part.address}" in said


def test_a_dead_part_has_no_pid(play: Callable[[Scene], Stage], tmp_path: Path) -> None:
    part = StandIn("redis", tmp_path)

    async def scene(stage: Stage) -> None:
        await stage.start(part)
        assert part.pid
        os.kill(part.pid, signal.SIGKILL)
        await until(lambda: stage.row("redis").state is State.DOWN)
        assert stage.row("redis").pid is None

    play(scene)


def test_the_higher_layer_is_stopped_first(play: Callable[[Scene], Stage], tmp_path: Path) -> None:
    names = {"postgres": Layer.DEPENDENCY, "gateway-api": Layer.SERVICE, "redis": Layer.DEPENDENCY}

    async def scene(stage: Stage) -> None:
        for name, layer in names.items():
            await stage.start(StandIn(name, tmp_path, stand_ins.LEAVES_A_NOTE_AT_THE_END), layer)

    play(scene)
    first, *others = (tmp_path / "notes").read_text().split()
    assert first == "gateway-api"
    assert sorted(others) == ["postgres", "redis"]


def test_grandchildren_are_stopped_too(play: Callable[[Scene], Stage], tmp_path: Path) -> None:
    part = StandIn("triton", tmp_path, stand_ins.WITH_A_CHILD)
    grandchildren = []

    async def scene(stage: Stage) -> None:
        await stage.start(part)
        await until(lambda: part.ready_file.read_text() != "")
        grandchildren.append(int(part.ready_file.read_text()))

    play(scene)
    assert stand_ins.eventually(lambda: not runs(grandchildren[0]))


def test_what_does_not_stop_is_ended(play: Callable[[Scene], Stage], tmp_path: Path) -> None:
    part = StandIn("triton", tmp_path, stand_ins.DEAF)
    part.stop_grace_s = 0.3

    async def scene(stage: Stage) -> None:
        await stage.start(part)

    stage = play(scene)
    assert part.exit_code() == -signal.SIGKILL
    assert "triton did not stop within 0 s: killed" in stage.said.getvalue()


def test_a_part_that_cannot_start_ends_the_start_with_its_last_words(
    play: Callable[[Scene], Stage], tmp_path: Path
) -> None:
    async def scene(stage: Stage) -> None:
        await stage.start(StandIn("kafka", tmp_path, stand_ins.DIES_AT_ONCE))

    with pytest.raises(
        StartError, match=r"kafka died \(exit code 7\) 3 times, see .*kafka.log"
    ) as e:
        play(scene)
    assert e.value.log_lines == ["the disk is on fire"]


def test_a_port_that_was_taken_meanwhile_is_named(
    play: Callable[[Scene], Stage], tmp_path: Path
) -> None:
    part = StandIn("kafka", tmp_path, stand_ins.DIES_AT_ONCE)

    async def scene(stage: Stage) -> None:
        async with await asyncio.start_server(_hang_up, "127.0.0.1", part.address.port):
            await stage.start(part)

    with pytest.raises(StartError, match=f"has taken port {part.address.port} meanwhile"):
        play(scene)


def test_a_part_that_is_never_ready_ends_the_start(
    play: Callable[[Scene], Stage], tmp_path: Path
) -> None:
    part = StandIn("kafka", tmp_path, stand_ins.NEVER_READY)
    part.ready_timeout_s = 0.5

    async def scene(stage: Stage) -> None:
        await stage.start(part)

    with pytest.raises(StartError, match="kafka was not ready within"):
        play(scene)
    assert part.exit_code() is not None


def test_a_failed_preparation_ends_the_start(
    play: Callable[[Scene], Stage], tmp_path: Path
) -> None:
    class Unprepared(StandIn):
        def prepare(self, steps: Steps) -> None:
            raise StartError("initdb failed")

    async def scene(stage: Stage) -> None:
        await stage.start(Unprepared("postgres", tmp_path))

    with pytest.raises(StartError, match="initdb failed"):
        play(scene)


def test_a_preparation_that_fails_later_is_tried_again(
    play: Callable[[Scene], Stage], tmp_path: Path
) -> None:
    class SometimesUnprepared(StandIn):
        preparations = 0

        def prepare(self, steps: Steps) -> None:
            self.preparations += 1
            if self.preparations == 2:
                raise StartError("the disk is full")

    part = SometimesUnprepared("postgres", tmp_path)

    async def scene(stage: Stage) -> None:
        await stage.start(part)
        assert part.pid
        os.kill(part.pid, signal.SIGKILL)
        await until(lambda: part.preparations == 3)
        await until(lambda: stage.row("postgres").state is State.RUNNING)

    assert "postgres cannot start (the disk is full)" in play(scene).said.getvalue()


def test_what_a_part_forgot_is_given_back_after_a_restart_only(
    play: Callable[[Scene], Stage], tmp_path: Path
) -> None:
    part = StandIn("kafka", tmp_path)
    given_back = []

    async def give_back() -> None:
        given_back.append(part.pid)

    async def scene(stage: Stage) -> None:
        await stage.supervisor.start(part, Layer.DEPENDENCY, give_back)
        assert given_back == []
        assert part.pid
        os.kill(part.pid, signal.SIGKILL)
        await until(lambda: given_back == [part.pid])
        await until(lambda: stage.row("kafka").state is State.RUNNING)

    play(scene)


def test_kill_ends_all_at_once(play: Callable[[Scene], Stage], tmp_path: Path) -> None:
    part = StandIn("triton", tmp_path, stand_ins.DEAF)

    async def scene(stage: Stage) -> None:
        await stage.start(part)
        stage.supervisor.kill()
        assert part.exit_code() == -signal.SIGKILL

    play(scene)


def test_nothing_is_started_while_stopping(play: Callable[[Scene], Stage], tmp_path: Path) -> None:
    async def scene(stage: Stage) -> None:
        await stage.supervisor.stop()
        with pytest.raises(StartError, match="everything is stopping"):
            await stage.start(StandIn("redis", tmp_path))

    play(scene)


async def _hang_up(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.close()
