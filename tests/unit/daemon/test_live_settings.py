"""Settings of a running daemon: written, taken over at once or kept for its next start, refused where overridden."""

from __future__ import annotations

from pathlib import Path

import pytest

from p2pckpt.config import PROJECT_FILE, Config, load
from p2pckpt.control.settings_messages import SetRequest, SettingRow
from p2pckpt.daemon.live_settings import LiveSettings
from p2pckpt.errors import BadUsage, NotAllowed


class Bench:
    """Settings of a home with an environment of its own."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.environ: dict[str, str] = {}
        self.changes: list[Config] = []
        self.told = 0
        self.live = LiveSettings(self.load(), self.load, self.changes.append, self._tell)

    def _tell(self) -> None:
        self.told += 1

    def load(self) -> Config:
        return load(home=self.home, environ=self.environ, directory=self.home)

    @property
    def file(self) -> Path:
        return self.live.config.user_file

    def row(self, key: str) -> SettingRow:
        return next(row for row in self.live.rows().rows if row.key == key)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


async def test_a_live_setting_is_written_and_in_force(bench: Bench) -> None:
    row = await bench.live.set(SetRequest("upload_limit", "5M"))
    assert (row.value, row.in_force, row.origin, row.live) == (5 << 20, 5 << 20, str(bench.file), True)
    assert bench.file.read_text() == 'upload_limit = "5M"\n'
    assert [found.number("upload_limit") for found in bench.changes] == [5 << 20]
    assert bench.live.config.number("upload_limit") == 5 << 20


async def test_another_setting_waits_for_the_next_start(bench: Bench) -> None:
    row = await bench.live.set(SetRequest("port", 6881))
    assert (row.value, row.in_force, row.live) == (6881, 0, False)
    assert bench.changes == []
    assert bench.told == 1
    assert bench.live.config.number("port") == 0
    assert bench.row("port") == row


async def test_none_takes_a_setting_back_to_its_default(bench: Bench) -> None:
    await bench.live.set(SetRequest("turtle", "on"))
    row = await bench.live.set(SetRequest("turtle", None))
    assert (row.value, row.in_force, row.origin) == ("auto", "auto", "default")
    assert [found.text("turtle") for found in bench.changes] == ["on", "auto"]


async def test_what_the_environment_says_is_not_overridden(bench: Bench) -> None:
    bench.environ["P2PCKPT_UPLOAD_LIMIT"] = "7K"
    with pytest.raises(NotAllowed) as raised:
        await bench.live.set(SetRequest("upload_limit", "5M"))
    assert raised.value.fact.startswith("environment P2PCKPT_UPLOAD_LIMIT says what upload_limit is")
    assert raised.value.kept == "upload_limit is 7K"
    assert not bench.file.exists()


async def test_what_a_project_file_says_is_not_overridden(bench: Bench) -> None:
    (bench.home / PROJECT_FILE).write_text("turtle = 'off'\n")
    with pytest.raises(NotAllowed) as raised:
        await bench.live.set(SetRequest("turtle", "on"))
    assert raised.value.next_step == f"change it in {bench.home / PROJECT_FILE}"


@pytest.mark.parametrize(
    ("key", "value"), [("prot", "1"), ("turtle", "loud"), ("port", "many"), ("turtle_hours", "9-5")]
)
async def test_what_makes_no_sense_is_refused(bench: Bench, key: str, value: str) -> None:
    with pytest.raises(BadUsage):
        await bench.live.set(SetRequest(key, value))
    assert not bench.file.exists()
    assert bench.changes == []


async def test_a_file_that_somebody_else_wrote_is_taken_over(bench: Bench) -> None:
    bench.file.parent.mkdir()
    bench.file.write_text("upload_limit = '2MB'\nport = 7\n")
    rows = {row.key: row for row in (await bench.live.reload()).rows}
    assert (rows["upload_limit"].in_force, rows["port"].value, rows["port"].in_force) == (2_000_000, 7, 0)
    await bench.live.reload()
    assert (len(bench.changes), bench.told) == (1, 1)


async def test_a_broken_file_changes_nothing(bench: Bench) -> None:
    await bench.live.set(SetRequest("upload_limit", 7))
    bench.file.write_text("upload_limit = = 8\n")
    for work in (bench.live.reload(), bench.live.set(SetRequest("turtle", "on"))):
        with pytest.raises(BadUsage):
            await work
    assert bench.row("upload_limit").in_force == 7
    assert len(bench.changes) == 1
    assert bench.file.read_text() == "upload_limit = = 8\n"
