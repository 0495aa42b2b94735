"""Saves of real trainers, tiny ones on the CPU; run as a program, so that no test's process has to import them.

``python -m tests.support.trainers DIRECTORY`` fills the directory with one run for each writer.
"""

from __future__ import annotations

import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

RANKS = 2


def make(directory: Path) -> None:
    """Fill ``directory``, in a process of its own."""
    subprocess.run([sys.executable, "-m", __name__, str(directory)], check=True, capture_output=True, timeout=100)


def transformers(run: Path) -> None:
    """``checkpoint-2`` to ``checkpoint-6`` of transformers' Trainer, of which rotation leaves the last two."""
    import torch
    from transformers import BertConfig, BertForSequenceClassification, Trainer, TrainingArguments
    from transformers.trainer_utils import get_last_checkpoint

    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    model = BertForSequenceClassification(BertConfig(vocab_size=40, max_position_embeddings=16, **sizes))
    data = [{"input_ids": torch.randint(0, 40, (8,)), "labels": number % 2} for number in range(16)]
    arguments = TrainingArguments(
        output_dir=str(run),
        max_steps=6,
        save_steps=2,
        save_total_limit=2,
        logging_steps=1,
        eval_strategy="steps",
        eval_steps=4,
        per_device_train_batch_size=4,
        report_to=[],
        use_cpu=True,
        disable_tqdm=True,
    )
    (run / ".p2pckpt" / "checkpoint-9").mkdir(parents=True)
    Trainer(model, arguments, train_dataset=data, eval_dataset=data).train()
    assert get_last_checkpoint(run) == str(run / "checkpoint-6")
    model.save_pretrained(run.parent / "sharded" / "model", max_shard_size="4KB")


def accelerate(run: Path) -> None:
    """``checkpoint-3``, as diffusers' scripts write it: by accelerate, under transformers' name."""
    import torch
    from accelerate import Accelerator

    accelerator = Accelerator(cpu=True)
    model = torch.nn.Linear(8, 4)
    optimizer = torch.optim.AdamW(model.parameters())
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1)
    model, optimizer, scheduler = accelerator.prepare(model, optimizer, scheduler)
    accelerator.backward(model(torch.randn(2, 8)).sum())
    optimizer.step()
    accelerator.save_state(str(run / "checkpoint-3"))


def lightning(run: Path) -> None:
    """Files of Lightning's ``ModelCheckpoint`` in ``version_0/checkpoints``, with all that callbacks put into them."""
    import lightning
    import torch
    from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint

    class Model(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(8, 4)

        def training_step(self, batch: Any, _number: int) -> Any:
            return self.layer(batch).pow(2).mean()

        def validation_step(self, batch: Any, _number: int) -> None:
            self.log("val_loss", self.layer(batch).pow(2).mean())

        def configure_optimizers(self) -> Any:
            optimizer = torch.optim.AdamW(self.parameters())
            return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, 1)]

    lightning.seed_everything(0)
    to = run / "version_0" / "checkpoints"
    callbacks = [
        ModelCheckpoint(to, "{epoch}-{step}-{val_loss:.2f}", monitor="val_loss", save_top_k=2, save_last=True),
        ModelCheckpoint(to, "every-{step}", every_n_train_steps=1, save_top_k=-1),
        EarlyStopping("val_loss", patience=9),
    ]
    data = [torch.utils.data.DataLoader(torch.randn(8, 8), batch_size=4) for _ in range(2)]
    trainer = lightning.Trainer(
        max_epochs=2,
        callbacks=callbacks,
        logger=False,
        accelerator="cpu",
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(Model(), *data)


def _state() -> dict[str, Any]:
    import torch

    torch.manual_seed(0)
    model = torch.nn.Linear(8, 4)
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.randn(2, 8)).sum().backward()
    optimizer.step()
    return {"model": model.state_dict(), "optim": optimizer.state_dict(), "global_step": 7, "val_loss": 0.5}


def distributed(run: Path) -> None:
    """``step_7`` of one process, ``step_8`` of two together, ``step_9`` of two that each write their own metadata."""
    import torch
    import torch.distributed.checkpoint as dcp

    run.mkdir()
    # forked before there are any threads: it saves importing torch twice more
    torch.multiprocessing.start_processes(_rank, (run,), nprocs=RANKS, start_method="fork")
    dcp.save(_state(), checkpoint_id=run / "step_7")


def _rank(rank: int, run: Path) -> None:
    import torch
    import torch.distributed.checkpoint as dcp
    from torch.distributed.tensor import Shard, distribute_tensor, init_device_mesh

    torch.set_num_threads(1)
    store = torch.distributed.FileStore(str(run / ".store"), RANKS)
    torch.distributed.init_process_group("gloo", rank=rank, world_size=RANKS, store=store)
    mesh = init_device_mesh("cpu", (RANKS,))
    weight = distribute_tensor(torch.arange(64.0).reshape(8, 8), mesh, [Shard(0)])
    dcp.save({"model": {"weight": weight}, "step": 8}, checkpoint_id=run / "step_8")
    own = {"model": {f"weight{rank}": torch.ones(8)}, "step": 9}
    dcp.save(own, checkpoint_id=run / "step_9", use_collectives=False)
    torch.distributed.destroy_process_group()


def files(run: Path) -> None:
    """What a script of one's own saves: ``torch.save`` of now and of old, one of half precision, one by parts."""
    import torch
    from safetensors.torch import save_file

    run.mkdir()
    state = _state()
    torch.save(state, run / "step_3.pt")
    torch.save(state, run / "old_4.pt", _use_new_zipfile_serialization=False)
    kinds = [torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2]
    tensors = {str(kind).partition(".")[2]: torch.linspace(-2, 2, 33).to(kind) for kind in kinds}
    torch.save({"model": tensors, "step": 5}, run / "model-00005.pt")
    parts = run / "step-6"
    parts.mkdir()
    save_file(tensors, parts / "model.safetensors")
    torch.save(state["optim"], parts / "optimizer.pt")
    (parts / "training_state.json").write_text('{"step": 6, "epoch": 0.5, "metrics": {"val_loss": 0.25}}')


WRITERS = (distributed, transformers, accelerate, lightning, files)


def main() -> None:
    warnings.filterwarnings("ignore")
    for write in WRITERS:
        write(Path(sys.argv[1]) / write.__name__)


if __name__ == "__main__":
    main()
