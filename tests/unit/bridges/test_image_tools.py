"""Which file goes into which directory of ComfyUI and A1111, told by tensors' names as trainers write them."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.generate import Spec
from p2pckpt.bridges.image_tools import A1111, COMFYUI, plan, root_of
from p2pckpt.checkpoint.weight_kinds import WeightKind, kind_of
from p2pckpt.errors import BadUsage
from tests.support.homes import write_files
from tests.unit.bridges.versions import contents
from tests.unit.checkpoint.builders import safetensors_bytes, torch_bytes

NAMES: dict[str, tuple[WeightKind | None, tuple[str, ...]]] = {
    "sd 1.5": (WeightKind.CHECKPOINT, (
        "model.diffusion_model.input_blocks.0.0.weight", "first_stage_model.encoder.conv_in.weight",
        "cond_stage_model.transformer.text_model.encoder.layers.0.mlp.fc1.weight")),
    "sd 1.x .ckpt of a trainer": (WeightKind.CHECKPOINT, (
        "state_dict.model.diffusion_model.out.0.weight", "state_dict.first_stage_model.quant_conv.weight")),
    "sdxl": (WeightKind.CHECKPOINT, (
        "model.diffusion_model.label_emb.0.0.weight", "conditioner.embedders.1.model.ln_final.weight",
        "first_stage_model.decoder.conv_in.weight")),
    "sd3 with encoders": (WeightKind.CHECKPOINT, (
        "model.diffusion_model.joint_blocks.0.context_block.attn.qkv.weight",
        "text_encoders.clip_l.transformer.text_model.encoder.layers.0.mlp.fc1.weight")),
    "unet alone": (WeightKind.DIFFUSION_MODEL, ("model.diffusion_model.input_blocks.0.0.weight",)),
    "unet of diffusers": (WeightKind.DIFFUSION_MODEL, (
        "down_blocks.0.attentions.0.norm.weight", "up_blocks.1.resnets.0.conv1.weight",
        "time_embedding.linear_1.weight", "conv_in.weight")),
    "flux": (WeightKind.DIFFUSION_MODEL, ("double_blocks.0.img_attn.qkv.weight", "single_blocks.0.linear1.weight")),
    "flux of diffusers": (WeightKind.DIFFUSION_MODEL, (
        "transformer_blocks.0.attn.to_q.weight", "single_transformer_blocks.0.attn.to_k.weight",
        "time_text_embed.timestep_embedder.linear_1.weight")),
    "wan of diffusers": (WeightKind.DIFFUSION_MODEL, (
        "condition_embedder.time_embedder.linear_1.weight", "blocks.0.attn1.to_q.weight")),
    "wan": (WeightKind.DIFFUSION_MODEL, ("time_embedding.0.weight", "blocks.0.self_attn.q.weight")),
    "kohya lora": (WeightKind.LORA, (
        "lora_unet_down_blocks_0_attentions_0_proj_in.lora_down.weight",
        "lora_te_text_model_encoder_layers_0_mlp_fc1.lora_up.weight")),
    "peft lora": (WeightKind.LORA, ("transformer.transformer_blocks.0.attn.to_q.lora_A.weight",)),
    "diffusers lora": (WeightKind.LORA, ("unet.down_blocks.0.attentions.0.to_q.lora.down.weight",)),
    "lycoris": (WeightKind.LORA, ("lora_unet_mid_block_attentions_0_proj_in.hada_w1_a",)),
    "lokr": (WeightKind.LORA, ("lycoris_transformer_blocks_0.lokr_w1",)),
    "vae": (WeightKind.VAE, ("encoder.down.0.block.0.conv1.weight", "decoder.up.0.block.0.conv1.weight")),
    "vae of diffusers": (WeightKind.VAE, (
        "encoder.down_blocks.0.resnets.0.conv1.weight", "decoder.up_blocks.0.resnets.0.conv1.weight")),
    "vae with prefix": (WeightKind.VAE, (
        "first_stage_model.encoder.mid.block_1.conv1.weight", "first_stage_model.decoder.mid.block_1.conv1.weight")),
    "clip": (WeightKind.TEXT_ENCODER, ("text_model.encoder.layers.0.mlp.fc1.weight", "text_projection.weight")),
    "clip without its prefix": (WeightKind.TEXT_ENCODER, (
        "embeddings.token_embedding.weight", "encoder.layers.0.self_attn.k_proj.weight")),
    "open clip": (WeightKind.TEXT_ENCODER, (
        "transformer.resblocks.0.attn.in_proj_weight", "token_embedding.weight")),
    "t5": (WeightKind.TEXT_ENCODER, ("encoder.block.0.layer.0.SelfAttention.q.weight", "shared.weight")),
    "clip vision": (WeightKind.CLIP_VISION, (
        "vision_model.embeddings.patch_embedding.weight", "vision_model.encoder.layers.0.mlp.fc1.weight")),
    "controlnet": (WeightKind.CONTROLNET, (
        "control_model.zero_convs.0.0.weight", "control_model.input_hint_block.0.weight")),
    "controlnet of diffusers": (WeightKind.CONTROLNET, (
        "controlnet_cond_embedding.conv_in.weight", "down_blocks.0.attentions.0.norm.weight")),
    "textual inversion": (WeightKind.EMBEDDING, ("emb_params",)),
    "textual inversion .pt": (WeightKind.EMBEDDING, ("string_to_param.*",)),
    "textual inversion of sdxl": (WeightKind.EMBEDDING, ("clip_g", "clip_l")),
    "textual inversion of diffusers": (WeightKind.EMBEDDING, ("<a-cat>",)),
    "esrgan": (WeightKind.UPSCALER, ("model.0.weight", "model.1.sub.0.RDB1.conv1.0.weight")),
    "real-esrgan": (WeightKind.UPSCALER, ("params_ema.body.0.rdb1.conv1.weight", "params_ema.conv_first.weight")),
    "swinir": (WeightKind.UPSCALER, ("layers.0.residual_group.blocks.0.norm1.weight", "conv_first.weight")),
    "language model": (None, ("model.layers.0.self_attn.q_proj.weight", "model.embed_tokens.weight")),
    "lora of a language model": (None, ("base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight",)),
    "bert": (None, ("embeddings.word_embeddings.weight", "encoder.layer.0.output.dense.weight")),
    "vision transformer": (None, ("patch_embed.proj.weight", "blocks.0.attn.qkv.weight", "norm.weight")),
    "nothing": (None, ()),
}  # fmt: skip


@pytest.mark.parametrize("what", NAMES)
def test_weights_are_told_by_the_names_of_their_tensors(what: str) -> None:
    kind, names = NAMES[what]
    assert kind_of(names) is kind


def weights(what: str, *, pickled: bool = False) -> bytes:
    specs = [Spec(name, "F32", (2, 2), (7, number)) for number, name in enumerate(NAMES[what][1])]
    return torch_bytes(specs) if pickled else safetensors_bytes(specs)


def test_comfyui_s_folders(tmp_path: Path) -> None:
    kinds = ("sdxl", "kohya lora", "vae", "t5", "controlnet", "textual inversion", "esrgan", "flux", "clip vision")
    version = contents(write_files(tmp_path / "m", {f"{kind}.safetensors": weights(kind) for kind in kinds}))
    root = tmp_path / "ComfyUI" / "models"
    (root / "checkpoints").mkdir(parents=True)
    assert root_of(COMFYUI, tmp_path / "ComfyUI") == root_of(COMFYUI, root) == root
    targets = plan(COMFYUI, root, version).targets
    assert {path.removesuffix(".safetensors"): target.parent.name for path, target in targets.items()} == {
        "sdxl": "checkpoints", "kohya lora": "loras", "vae": "vae", "t5": "text_encoders", "controlnet": "controlnet",
        "textual inversion": "embeddings", "esrgan": "upscale_models", "flux": "diffusion_models",
        "clip vision": "clip_vision",
    }  # fmt: skip
    assert targets["vae.safetensors"].name == "cars-sd15-v3-vae.safetensors"


def test_an_older_comfyui_has_folders_of_other_names(tmp_path: Path) -> None:
    version = contents(write_files(tmp_path / "m", {"a.safetensors": weights("t5"), "b.safetensors": weights("flux")}))
    for name in ("checkpoints", "clip", "unet"):
        (tmp_path / "models" / name).mkdir(parents=True)
    assert {path.parent.name for path in plan(COMFYUI, tmp_path / "models", version).targets.values()} == {
        "clip",
        "unet",
    }


def test_a1111_s_folders_and_what_it_can_not_use(tmp_path: Path) -> None:
    kinds = ("sd 1.5", "lycoris", "vae", "textual inversion .pt", "t5", "flux")
    files = {f"{kind}{'' if kind.endswith('.pt') else '.safetensors'}": weights(kind) for kind in kinds}
    version = contents(write_files(tmp_path / "m", files))
    root = tmp_path / "webui"
    (root / "models" / "Stable-diffusion").mkdir(parents=True)
    found = plan(A1111, root_of(A1111, root), version)
    assert {str(target.parent.relative_to(root)) for target in found.targets.values()} == {
        "models/Stable-diffusion", "models/Lora", "models/VAE", "embeddings",
    }  # fmt: skip
    assert set(found.left_out) == {"t5.safetensors", "flux.safetensors"}
    assert "does not load a text-encoder by itself" in found.left_out["t5.safetensors"]


def test_a_single_file_is_called_by_share_and_version(tmp_path: Path) -> None:
    files = {"sub/my model.ckpt": weights("sd 1.5", pickled=True), "README.md": b"# x", "config.yaml": b"a: 1"}
    version = contents(write_files(tmp_path / "m", files))
    [target] = plan(COMFYUI, tmp_path, version).targets.values()
    assert target == tmp_path / "checkpoints" / "cars-sd15-v3.ckpt"


def test_what_can_not_be_told_is_asked_for(tmp_path: Path) -> None:
    files = {"x.safetensors": weights("language model"), "y-00001-of-00002.safetensors": weights("flux")}
    version = contents(write_files(tmp_path / "m", files))
    with pytest.raises(BadUsage, match=r"can't be told by its tensors.*one part of several") as asked:
        plan(COMFYUI, tmp_path, version)
    assert "--as KIND" in asked.value.next_step
    found = plan(COMFYUI, tmp_path, version, [("x.*", WeightKind.TEXT_ENCODER)])
    assert list(found.targets.values()) == [tmp_path / "text_encoders" / "cars-sd15-v3-x.safetensors"]


def test_a_directory_of_neither_is_refused(tmp_path: Path) -> None:
    for tool in (COMFYUI, A1111):
        with pytest.raises(BadUsage, match="is no directory of"):
            root_of(tool, tmp_path)


def test_no_two_files_get_one_name(tmp_path: Path) -> None:
    files = {"unet/a.safetensors": weights("flux"), "unet-a.safetensors": weights("wan")}
    version = contents(write_files(tmp_path / "m", files))
    found = plan(COMFYUI, tmp_path, version)
    assert len(set(found.targets.values())) == 2
    assert plan(COMFYUI, tmp_path, version) == found
