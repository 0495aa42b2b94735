"""One rank of a training that saves with torch.distributed.checkpoint: ``torchrun --nproc-per-node 2 -m tests.support.rank``.

Arguments: the directory of the save, the run's name, how it is saved (save, thread, process).
"""

from __future__ import annotations

import sys

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint.state_dict_saver import AsyncCheckpointerType
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import Shard, distribute_tensor

from p2pckpt.bridges.training.dcp import P2pckptWriter


def state() -> dict[str, object]:
    """One tensor over all ranks, one on each, and a number."""
    mesh = init_device_mesh("cpu", (dist.get_world_size(),))
    whole = torch.arange(1 << 16, dtype=torch.float32).reshape(256, 256)
    return {"model": {"spread": distribute_tensor(whole, mesh, [Shard(0)]), "bias": torch.ones(256)}, "step": 3}


def main() -> None:
    directory, name, how = sys.argv[1:]
    dist.init_process_group("gloo")
    writer = P2pckptWriter(directory, name=name, step=3, metrics={"loss": torch.tensor(0.5)})
    if how == "save":
        dcp.save(state(), storage_writer=writer)
    else:
        kind = AsyncCheckpointerType(how)
        dcp.async_save(state(), storage_writer=writer, async_checkpointer_type=kind).result()
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
