"""Migrate: every file once, however many migrate at a time, and all or nothing."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.database import Database, Unstorable
from gateway.migrate import MIGRATIONS, migrate
from standalone.parts.postgres import EmbeddedPostgres
from tests.conftest import ROOT, administer, url_of
from tests.gateway import rows

pytestmark = pytest.mark.integration

EMPTY = "empty_for_migrations"


@pytest.fixture
def empty_url(postgres: EmbeddedPostgres) -> Iterator[str]:
    administer(postgres, f"CREATE DATABASE {EMPTY}")
    yield url_of(postgres, EMPTY)
    administer(postgres, f"DROP DATABASE {EMPTY} WITH (FORCE)")


@pytest.fixture
def empty(empty_url: str) -> Iterator[Database]:
    database = Database(empty_url, pool_size=2, timeout_s=5)
    yield database
    database.close()


def test_each_migration_is_applied_once(empty: Database) -> None:
    names = [path.stem for path in sorted(MIGRATIONS.glob("*.sql"))]
    assert names
    assert migrate(empty) == names
    assert migrate(empty) == []
    assert rows.value(empty, "SELECT count(*) FROM schema_migrations") == len(names)


def test_new_files_are_applied_in_order(empty: Database, tmp_path: Path) -> None:
    (tmp_path / "0001_first.sql").write_text("CREATE TABLE story (n INT);")
    assert migrate(empty, tmp_path) == ["0001_first"]
    (tmp_path / "0003_third.sql").write_text("INSERT INTO story SELECT n + 1 FROM story;")
    (tmp_path / "0002_second.sql").write_text("INSERT INTO story VALUES (1);")
    assert migrate(empty, tmp_path) == ["0002_second", "0003_third"]
    assert rows.value(empty, "SELECT array_agg(n ORDER BY n) FROM story") == [1, 2]


def test_a_broken_file_leaves_nothing_behind(empty: Database, tmp_path: Path) -> None:
    (tmp_path / "0001_good.sql").write_text("CREATE TABLE good (n INT);")
    (tmp_path / "0002_broken.sql").write_text("CREATE TABLE bad (n INT); SELECT 1 / 0;")
    with pytest.raises(Exception, match="division by zero"):
        migrate(empty, tmp_path)
    tables = "SELECT array_agg(tablename) FROM pg_tables WHERE schemaname = 'public'"
    assert rows.value(empty, tables) is None
    (tmp_path / "0002_broken.sql").write_text("CREATE TABLE mended (n INT);")
    assert migrate(empty, tmp_path) == ["0001_good", "0002_broken"]


def test_threads_that_migrate_at_once_share_the_work(empty_url: str, tmp_path: Path) -> None:
    (tmp_path / "0001_slow.sql").write_text("CREATE TABLE t (n INT); SELECT pg_sleep(0.3);")
    applied: list[str] = []

    def run() -> None:
        database = Database(empty_url, pool_size=1, timeout_s=5)
        applied.extend(migrate(database, tmp_path))
        database.close()

    threads = [threading.Thread(target=run) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert applied == ["0001_slow"]


def test_processes_that_migrate_at_once_share_the_work(empty_url: str) -> None:
    program = (
        "import sys; from gateway.database import Database; from gateway.migrate import migrate\n"
        "print(len(migrate(Database(sys.argv[1], 1, 5))))"
    )
    started = [
        subprocess.Popen(
            [sys.executable, "-c", program, empty_url],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    outputs = [process.communicate(timeout=30)[0] for process in started]
    assert [process.returncode for process in started] == [0, 0, 0]
    counts = sorted(int(output.split()[-1]) for output in outputs)
    assert counts == [0, 0, len(list(MIGRATIONS.glob("*.sql")))]


def test_a_migration_may_take_longer_than_statements_do(empty_url: str, tmp_path: Path) -> None:
    (tmp_path / "0001_slow.sql").write_text("SELECT pg_sleep(1);")
    database = Database(empty_url, pool_size=1, timeout_s=0.5)
    assert migrate(database, tmp_path) == ["0001_slow"]
    database.close()


def test_the_schema_has_what_readers_and_the_outbox_search_by(empty: Database) -> None:
    migrate(empty)
    definitions = rows.value(
        empty, "SELECT string_agg(indexdef, E'\\n') FROM pg_indexes WHERE tablename = 'images'"
    )
    for column in ("(s3_key)", "(status, id)", "(created_at)", "gin (search)"):
        assert column in definitions
    assert "UNIQUE INDEX images_s3_key" in definitions
    assert rows.value(empty, "SELECT enum_range(NULL::image_status)::text") == (
        "{PENDING,PROCESSING,COMPLETED,FAILED}"
    )


def test_a_status_outside_the_enum_is_refused(empty: Database) -> None:
    migrate(empty)
    image = rows.insert(empty)
    with pytest.raises(Unstorable), empty.statement() as cursor:
        cursor.execute("UPDATE images SET status = 'LOST' WHERE id = %s", (image.id,))
