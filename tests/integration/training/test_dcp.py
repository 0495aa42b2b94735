"""torch.distributed.checkpoint with the writer: two ranks on this machine."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint.filesystem import _StorageInfo
from torch.distributed.checkpoint.storage import WriteResult

from p2pckpt.bridges.training.dcp import P2pckptWriter
from p2pckpt.bridges.training.resume import restore_async
from p2pckpt.control.run_messages import SaveState
from p2pckpt.errors import BadUsage

from ...support.homes import DEADLINE, Home
from ...support.runs import ended


async def torchrun(home: Home, *arguments: object) -> str:
    """What the ranks said."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = await asyncio.to_thread(
        subprocess.run,
        [*command, "-m", "tests.support.rank", *map(str, arguments)],
        env=home.env,
        capture_output=True,
        text=True,
        timeout=DEADLINE * 2,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stderr


@pytest.mark.asyncio(loop_scope="package")
async def test_what_two_ranks_save_in_any_way_is_published_whole_and_loads(alice: Home, tmp_path: Path) -> None:
    told = await torchrun(alice, tmp_path / "saves", "dcp/run")
    assert "handed over" not in told and "not waiting" not in told, told
    names = ["step-1", "step-2", "step-3"]
    saves = await ended(alice, "dcp/run", *names)
    assert [(saves[name].state, saves[name].step) for name in names] == [
        (SaveState.PUBLISHED, 1),
        (SaveState.PUBLISHED, 2),
        (SaveState.PUBLISHED, 3),
    ], saves
    assert saves["step-2"].metrics == {"loss": 0.5}
    for step in (1, 2, 3):
        version = saves[f"step-{step}"].version
        restored = await restore_async(f"dcp/run@{version}", to=tmp_path / f"restored-{step}", config=alice.config)
        model = {"spread": torch.zeros(256, 256), "bias": torch.zeros(256)}
        loaded = {"model": model, "step": 0}
        dcp.load(loaded, checkpoint_id=restored.path)
        assert torch.equal(model["spread"], torch.arange(1 << 16, dtype=torch.float32).reshape(256, 256) + step)
        assert loaded["step"] == step


def plans(writer: Any, monkeypatch: pytest.MonkeyPatch, *hosts: str) -> list[Any]:
    """What ranks on these hosts plan, as the coordinator gets it."""
    made = []
    for host in hosts:
        monkeypatch.setattr("socket.gethostname", lambda host=host: host)
        made.append(writer.prepare_local_plan(dcp.SavePlan([])))
    return made


def test_ranks_on_several_hosts_are_refused_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer: Any = P2pckptWriter(tmp_path / "step-3", name="dcp/hosts")
    with pytest.raises(BadUsage, match=r"its ranks run on 2 hosts; save to a directory that all of them share"):
        writer.prepare_global_plan(plans(writer, monkeypatch, "one", "two"))


def test_ranks_on_several_hosts_are_refused_at_once_where_the_launcher_tells(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "16")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "8")
    with pytest.raises(BadUsage, match="16 ranks, 8 of them on this host"):
        P2pckptWriter(tmp_path / "step-3", name="dcp/hosts")
    P2pckptWriter(tmp_path / "step-3", name="dcp/hosts", shared=True)


def test_ranks_that_each_save_for_themselves_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    writer: Any = P2pckptWriter(tmp_path / "step-3", name="dcp/alone")
    writer.set_up_storage_writer(True, rank=0, use_collectives=False)
    with pytest.raises(BadUsage, match="use_collectives"):
        writer.prepare_local_plan(dcp.SavePlan([]))


def test_with_a_shared_directory_hosts_do_not_matter_but_every_file_has_to_be_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer: Any = P2pckptWriter(tmp_path / "step-3", name="dcp/shared", shared=True, strict=True, start_daemon=False)
    made = writer.prepare_global_plan(plans(writer, monkeypatch, "one", "two"))
    assert [plan.storage_data.prefix for plan in made] == ["__0_", "__1_"]

    index = dcp.metadata.MetadataIndex("weight")
    write = WriteResult(index, 4, _StorageInfo("__1_0.distcp", 0, 4))
    with pytest.raises(BadUsage, match=r"1 files of .*, such as __1_0\.distcp, can't be seen from two"):
        writer.finish(dcp.metadata.Metadata({}), [[write]])
