"""Databases for the tests of the stores: SQLite, and PostgreSQL where it is installed."""

import random
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """A PostgreSQL server of the tests' own; skips with the reason where none can be started."""
    pytest.importorskip("psycopg", reason="no PostgreSQL driver here: pip install 'psycopg[binary]'")
    pgserver = pytest.importorskip("pgserver", reason="no PostgreSQL here: pip install pgserver")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about a runtime folder that bare machines lack
        server = pgserver.get_server(tempfile.mkdtemp(prefix="solu-postgres-"), cleanup_mode="delete")
    yield server.get_uri().replace("postgresql://", "postgresql+psycopg://")
    server.cleanup()


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_database(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/empty.sqlite"
    address = sa.make_url(request.getfixturevalue("postgres"))
    name = f"t{random.randrange(2**60)}"
    admin = sa.create_engine(address, isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name}")
    admin.dispose()
    return address.set(database=name).render_as_string(hide_password=False)
