"""transformers and diffusers load checkpoints by name through the gateway, from a daemon that had none of them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel
from safetensors.torch import load_file
from transformers import BertConfig, BertModel

from ...support.homes import Home
from ...support.hub_clients import INSTALLED
from .conftest import join

pytestmark = pytest.mark.asyncio(loop_scope="package")

LOAD_BERT = """
import sys
from safetensors.torch import save_file
from transformers import AutoConfig, AutoModel
assert AutoConfig.from_pretrained("nlp/tiny-bert", revision="v1").num_hidden_layers == 2
model = AutoModel.from_pretrained("nlp/tiny-bert")
save_file({name: each.clone() for name, each in model.state_dict().items()}, sys.argv[1])
try:
    AutoModel.from_pretrained("nlp/nothing")
except OSError as exc:
    assert "not a valid model identifier" in str(exc), exc
else:
    raise AssertionError("there is no such share")
"""


async def test_auto_model_from_pretrained_loads_a_sharded_model(
    alice: Home, bob: Home, endpoint: str, tmp_path: Path
) -> None:
    torch.manual_seed(1)
    config = BertConfig(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64, vocab_size=100
    )
    model = BertModel(config)
    model.save_pretrained(tmp_path / "bert", max_shard_size="30KB")
    assert len(list((tmp_path / "bert").glob("*.safetensors"))) > 1
    await join(bob, (await alice.share(tmp_path / "bert", name="nlp/tiny-bert")).link)
    await INSTALLED.run(LOAD_BERT, tmp_path / "loaded", endpoint=endpoint, home=tmp_path / "hf")
    _same(load_file(tmp_path / "loaded"), model.state_dict())


LOAD_PIPELINE = """
import sys
from diffusers import DDPMPipeline, UNet2DModel
from safetensors.torch import save_file
pipeline = DDPMPipeline.from_pretrained("art/tiny-ddpm")
alone = UNet2DModel.from_pretrained("art/tiny-ddpm", subfolder="unet", revision="v1")
for number, model in enumerate((pipeline.unet, alone)):
    save_file({name: each.clone() for name, each in model.state_dict().items()}, sys.argv[1 + number])
"""


async def test_a_diffusers_pipeline_loads_whole_and_in_parts(
    alice: Home, bob: Home, endpoint: str, tmp_path: Path
) -> None:
    torch.manual_seed(2)
    unet = UNet2DModel(
        sample_size=8,
        block_out_channels=(8, 8),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "UpBlock2D"),
        norm_num_groups=4,
    )
    DDPMPipeline(unet, DDPMScheduler(num_train_timesteps=10)).save_pretrained(tmp_path / "ddpm")
    await join(bob, (await alice.share(tmp_path / "ddpm", name="art/tiny-ddpm")).link)
    targets = tmp_path / "pipeline", tmp_path / "alone"
    await INSTALLED.run(LOAD_PIPELINE, *targets, endpoint=endpoint, home=tmp_path / "hf")
    for target in targets:
        _same(load_file(target), unet.state_dict())


def _same(loaded: dict[str, torch.Tensor], original: dict[str, torch.Tensor]) -> None:
    assert loaded.keys() == original.keys()
    assert all(torch.equal(loaded[name], original[name]) for name in original)
