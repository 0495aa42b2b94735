"""One rank of a training that saves with torch.distributed.checkpoint, under torchrun.

Arguments: a directory of saves, and the run's name. It saves in three ways: at once, later in a thread, in a process.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint.state_dict_saver import AsyncCheckpointerType
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import Shard, distribute_tensor

from p2pckpt.bridges.training.dcp import P2pckptWriter


def state(step: int) -> dict[str, object]:
    """One tensor over all ranks, one on each, and a number."""
    mesh = init_device_mesh("cpu", (dist.get_world_size(),))
    whole = torch.arange(1 << 16, dtype=torch.float32).reshape(256, 256) + step
    return {"model": {"spread": distribute_tensor(whole, mesh, [Shard(0)]), "bias": torch.ones(256)}, "step": step}


def main() -> None:
    directory, name = Path(sys.argv[1]), sys.argv[2]
    dist.init_process_group("gloo")
    for step, how in enumerate(("save", "thread", "process"), 1):
        writer = P2pckptWriter(
            directory / f"step-{step}", name=name, step=step, metrics={"loss": torch.tensor(1 / step)}
        )
        if how == "save":
            dcp.save(state(step), storage_writer=writer)
        else:
            kind = AsyncCheckpointerType(how)
            dcp.async_save(state(step), storage_writer=writer, async_checkpointer_type=kind).result()
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
