"""Brings the database to the newest schema."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from sqlalchemy import Column, Connection, Engine, MetaData, String, Table, insert, inspect, select

from .tables import metadata

NEWEST: Final = "0004"
"""The last of the migrations."""
_version = Table("alembic_version", MetaData(), Column("version_num", String(32), primary_key=True))
"""Alembic's: which migration the schema is at."""


def migrate(engine: Engine, revision: str = NEWEST) -> None:
    """Apply every migration that is missing, in one transaction; creates the schema in an empty file."""
    with engine.connect() as plain:
        connection = plain.execution_options(writing=True)
        with connection.begin():
            tables = inspect(connection).get_table_names()
            if not tables and revision == NEWEST:
                metadata.create_all(connection)
                _version.create(connection)
                connection.execute(insert(_version).values(version_num=revision))
            elif _version.name not in tables or connection.scalar(select(_version.c.version_num)) != revision:
                _upgrade(connection, revision)


def _upgrade(connection: Connection, revision: str) -> None:
    # here, because it takes as long to import as all the rest of the tracker, and few starts need it
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).with_name("migrations")))
    config.attributes["connection"] = connection
    command.upgrade(config, revision)
