"""A project with Alembic of its own has pgqueue's schema as a branch of its revisions."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import Connection

from pgqueue.database import migrate
from pgqueue.database.dsn import sqlalchemy_url
from pgqueue.integrations import alembic_versions
from tests.command_line import pgq
from tests.schema.test_drift import shape

ROOT = Path(__file__).parents[2]
INI = """
[alembic]
script_location = %(here)s
path_separator = newline
version_locations =
    %(here)s/versions
    pgqueue.integrations:alembic_versions
"""
ENV = """
import os
from alembic import context
from sqlalchemy import Column, Integer, MetaData, Table, create_engine
from pgqueue.integrations.alembic import include_name

metadata = MetaData()
Table("orders", metadata, Column("id", Integer, primary_key=True))
options = dict(target_metadata=metadata, include_schemas=True, include_name=include_name)

def run():
    with context.begin_transaction():
        context.run_migrations()

if context.is_offline_mode():
    style = {"paramstyle": os.environ["STYLE"]} if "STYLE" in os.environ else {}
    context.configure(dialect_name="postgresql", literal_binds=True, dialect_opts=style, **options)
    run()
elif os.environ["URL"].startswith("postgresql+asyncpg"):
    import asyncio
    from sqlalchemy.ext.asyncio import create_async_engine

    def of_a_connection(connection):
        context.configure(connection=connection, **options)
        run()

    async def main():
        engine = create_async_engine(os.environ["URL"])
        async with engine.connect() as connection:
            await connection.run_sync(of_a_connection)
            await connection.commit()
        await engine.dispose()

    asyncio.run(main())
else:
    engine = create_engine(os.environ["URL"], isolation_level=os.environ.get("ISOLATION", "READ COMMITTED"))
    with engine.connect() as connection:
        context.configure(connection=connection, **options)
        run()
"""
MAKO = """
revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}
branch_labels = ${repr(branch_labels)}
depends_on = ${repr(depends_on)}
from alembic import op
import sqlalchemy as sa
${imports if imports else ""}
def upgrade():
    ${upgrades if upgrades else "pass"}
def downgrade():
    ${downgrades if downgrades else "pass"}
"""
ORDERS = """
from alembic import op
import sqlalchemy as sa
revision = "a1"
down_revision = None
branch_labels = ("shop",)
depends_on = {depends}
def upgrade():
    op.execute("create table orders (id int primary key)")  # in the schema to which the search path leads
def downgrade():
    op.drop_table("orders")
"""


class Project:
    """A user's project in a folder of its own. ``url``: of SQLAlchemy."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder, self.url = folder, url
        (folder / "versions").mkdir()
        for name, text in (("alembic.ini", INI), ("env.py", ENV), ("script.py.mako", MAKO)):
            (folder / name).write_text(text)
        self.write_orders("None")

    def write_orders(self, depends: str) -> None:
        (self.folder / "versions/a1.py").write_text(ORDERS.format(depends=depends))

    def alembic(self, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "alembic", *words],
            cwd=self.folder, env={**os.environ, "URL": self.url, **environment}, capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip


@pytest.fixture
def project(tmp_path: Path, empty_dsn: str) -> Project:
    return Project(tmp_path, str(sqlalchemy_url(empty_dsn)))


def shape_of(dsn: str) -> dict[str, str]:
    with psycopg.connect(dsn) as connection:
        assert migrate.differences(connection) == []
        return shape(connection)


@pytest.mark.parametrize("driver", ["psycopg", "psycopg2", "asyncpg"])
def test_one_upgrade_brings_both_schemas_and_autogenerate_finds_nothing_of_pgqueue(
    tmp_path, empty_dsn, db, driver
):
    url = sqlalchemy_url(empty_dsn).set(drivername=f"postgresql+{driver}")
    if driver == "asyncpg":
        query = dict(url.query)
        url = url.set(database=query.pop("dbname"), query=query)
    project = Project(tmp_path, url.render_as_string(hide_password=False))
    project.write_orders("'pgqueue_0_2_0'")  # so the revision of the user follows in the same transaction
    done = project.alembic("upgrade", "heads")
    assert done.returncode == 0, done.stderr
    assert shape_of(empty_dsn) == shape(db)
    with psycopg.connect(empty_dsn) as connection:
        assert connection.execute("select to_regclass('public.orders') is not null").fetchone() == (True,)
        assert connection.execute("select version_num from pgqueue.schema_version").fetchone() == (
            migrate.HEAD,
        )
    if driver != "psycopg":
        return
    assert pgq("migrate", "--check", cwd=tmp_path, dsn=empty_dsn).returncode == 0
    checked = project.alembic("check")
    assert "No new upgrade operations detected" in checked.stdout, checked.stdout + checked.stderr
    refused = project.alembic("downgrade", "pgqueue@base")
    assert refused.returncode != 0
    assert "drop schema pgqueue cascade" in refused.stdout + refused.stderr
    assert "Traceback" not in refused.stderr


def test_alembic_accepts_a_schema_that_pgq_migrate_has_made(project, dsn, db):
    project.url = str(sqlalchemy_url(dsn))
    [job_id] = db.execute("insert into pgqueue.jobs (task) values ('t') returning id").fetchone()
    done = project.alembic("upgrade", "heads")
    assert done.returncode == 0, done.stderr
    assert db.execute("select id from pgqueue.jobs").fetchall() == [(job_id,)]


def test_an_older_schema_of_pgq_migrate_is_upgraded(project, empty_dsn, db):
    from alembic import command

    command.upgrade(migrate.config(dsn=empty_dsn), "0024")
    done = project.alembic("upgrade", "heads")
    assert done.returncode == 0, done.stderr
    assert shape_of(empty_dsn) == shape(db)


def test_sql_that_alembic_prints_makes_the_same_schema(project, empty_dsn, db):
    refused = project.alembic("upgrade", "heads", "--sql")
    assert "dialect_opts" in refused.stdout + refused.stderr
    printed = project.alembic("upgrade", "heads", "--sql", STYLE="named")
    assert printed.returncode == 0, printed.stderr
    with psycopg.connect(empty_dsn, autocommit=True) as connection:
        connection.execute(printed.stdout.encode())
    assert shape_of(empty_dsn) == shape(db)


def test_what_stands_in_the_way_is_said_in_one_sentence(project, dsn, db, connect):
    project.url = str(sqlalchemy_url(dsn))
    refused = project.alembic("upgrade", "heads", ISOLATION="AUTOCOMMIT")
    assert "use a connection without AUTOCOMMIT" in refused.stdout + refused.stderr
    db.execute("update pgqueue.schema_version set version_num = '9999'")
    refused = project.alembic("upgrade", "heads")
    assert "upgrade the package pgqueue-jobs here" in refused.stdout + refused.stderr
    db.execute("update pgqueue.schema_version set version_num = '0028'")
    blocker = connect(autocommit=False)
    blocker.execute("lock table pgqueue.schema_version")
    locked = project.alembic("upgrade", "heads")
    assert "Nothing was changed" in locked.stdout + locked.stderr
    for said in (refused, locked):
        assert said.returncode != 0
        assert "Traceback" not in said.stderr


def test_the_newest_revision_for_alembic_covers_this_version():
    """Whoever adds a revision to pgqueue after a release adds a revision for Alembic, too."""
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    files = sorted(Path(alembic_versions.__path__[0]).glob("release_*.py"))
    assert files[-1].stem == f"release_{version.replace('.', '_')}"
    scope: dict[str, Any] = {}
    exec(files[-1].read_text(), scope)
    assert scope["UNTIL"] == migrate.HEAD


def test_the_sql_of_pgq_migrate_can_begin_at_any_revision(tmp_path, empty_dsn, db: Connection[Any]):
    from alembic import command

    command.upgrade(migrate.config(dsn=empty_dsn), "0024")
    with psycopg.connect(empty_dsn, autocommit=True) as connection:
        connection.execute(migrate.upgrade_sql("0024").encode())
    assert shape_of(empty_dsn) == shape(db)
    refused = pgq("migrate", "--sql", "--from", "0999", cwd=tmp_path)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "pgqueue has no revision '0999'" in refused.stderr
    assert pgq("migrate", "--from", "0024", cwd=tmp_path).returncode == 2
