"""``python -m bench.trainer HOME CORE delta|whole``: a training on one thread that says how long its steps take.

Commands come line by line: ``begin`` counts from now, ``publish PATH`` hands that save over as hooks do and counts
from now, ``end`` prints the seconds a step took since, on average: by the clock, and CPU time of the whole process.
``CORE`` is the one to stay on; -1: any.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from pathlib import Path
from queue import SimpleQueue

import torch
from torch import nn

from p2pckpt import SaveSender
from p2pckpt.config import load

RUN = "bench/run"
_WIDTH, _LAYERS, _BATCH, _LENGTH = 256, 2, 8, 64
_WARM_UP = 20


def main() -> None:
    home, core = Path(sys.argv[1]), int(sys.argv[2])
    if core >= 0:
        os.sched_setaffinity(0, {core})
    torch.set_num_threads(1)
    commands: SimpleQueue[str] = SimpleQueue()
    threading.Thread(target=_listen, args=(commands,), daemon=True).start()
    delta = sys.argv[3] == "delta"
    sender = SaveSender(RUN, delta=delta, config=load(home=home, environ={}, directory=home), start_daemon=False)
    layer = nn.TransformerEncoderLayer(_WIDTH, 4, 4 * _WIDTH, dropout=0.0, batch_first=True)
    model = nn.TransformerEncoder(layer, _LAYERS)
    optimizer = torch.optim.AdamW(model.parameters())
    rows = torch.randn(_BATCH, _LENGTH, _WIDTH)
    for _ in range(_WARM_UP):
        _step(model, optimizer, rows)
    print("ready", flush=True)
    began, steps = _now(), 0
    while True:
        while not commands.empty():
            command, _, path = commands.get().strip().partition(" ")
            match command:
                case "publish":
                    sender.send(path)
                    began, steps = _now(), 0
                case "begin":
                    began, steps = _now(), 0
                case "end":
                    print(*((now - then) / max(1, steps) for now, then in zip(_now(), began, strict=True)), flush=True)
                case _:
                    return
        _step(model, optimizer, rows)
        steps += 1


def _now() -> tuple[float, float]:
    return time.perf_counter(), time.process_time()


def _listen(commands: SimpleQueue[str]) -> None:
    for line in sys.stdin:
        commands.put(line)
    commands.put("")


def _step(model: nn.Module, optimizer: torch.optim.Optimizer, rows: torch.Tensor) -> None:
    loss = model(rows).square().mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


if __name__ == "__main__":
    main()
