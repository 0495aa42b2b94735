"""Where a restore goes."""

from __future__ import annotations

from pathlib import Path

import pytest

from p2pckpt.control.run_messages import RestoreRequest
from p2pckpt.errors import BadUsage
from p2pckpt.jobs.restore_place import place_for


def place(label: str, *, to: Path | str = "", base: Path | str = "") -> Path:
    return place_for(RestoreRequest(source="my/run", to=str(to), base=str(base)), label)


def test_a_save_goes_into_a_directory_of_its_name_or_where_it_is_told_to(tmp_path: Path) -> None:
    assert place("checkpoint-5", base=tmp_path) == tmp_path / "checkpoint-5"
    assert place("checkpoint-5", to=tmp_path / "back", base=tmp_path) == tmp_path / "back"


def test_links_are_resolved(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    (tmp_path / "real" / "checkpoint-5").symlink_to(tmp_path / "elsewhere")
    assert place("back", base=tmp_path / "link") == tmp_path / "real" / "back"
    assert place("back", to=tmp_path / "link") == tmp_path / "real"
    assert place("checkpoint-5", base=tmp_path / "link") == tmp_path / "elsewhere"


def test_a_directory_that_is_saved_to_over_and_over_again_is_restored_in_place(tmp_path: Path) -> None:
    run = tmp_path / "state"
    run.mkdir()
    assert place("state", base=run) == run / "state"
    for name in ("model.safetensors", "random_states_0.pkl"):
        (run / name).touch()
    assert place("state", base=run) == run


def test_what_is_no_directory_is_refused(tmp_path: Path) -> None:
    for path in ("checkpoints", ""):
        with pytest.raises(BadUsage, match="no absolute path"):
            place("checkpoint-5", base=path)
    (tmp_path / "one").symlink_to("other")
    (tmp_path / "other").symlink_to("one")
    with pytest.raises(BadUsage, match="leads nowhere"):
        place("checkpoint-5", to=tmp_path / "one" / "back")
