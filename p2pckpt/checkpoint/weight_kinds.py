"""What part of an image model a file of weights is, judged by the names and shapes of its tensors.

The names are those that the trainers and converters of Stable Diffusion and its successors write: the original
(CompVis) layout, the diffusers one, and kohya's and PEFT's of LoRAs. Nothing is loaded.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from enum import StrEnum
from typing import Final


class WeightKind(StrEnum):
    """Kinds that image programs keep apart."""

    CHECKPOINT = "checkpoint"
    """Diffusion model, VAE and text encoder in one file."""
    DIFFUSION_MODEL = "diffusion-model"
    """The UNet or transformer alone."""
    LORA = "lora"
    """LoRA, LyCORIS and their kin."""
    VAE = "vae"
    TEXT_ENCODER = "text-encoder"
    CLIP_VISION = "clip-vision"
    CONTROLNET = "controlnet"
    EMBEDDING = "embedding"
    """Textual inversion."""
    UPSCALER = "upscaler"
    HYPERNETWORK = "hypernetwork"
    """Only by being told: its names are no names."""


_EMBEDDINGS: Final = re.compile(r"emb_params|string_to_param\.\*|<[^<>]{1,64}>|clip_[lg]|t5xxl")
_LORA: Final = re.compile(
    r"(?:^|\.)(?:lora_(?:unet|te\d?|transformer|prior)_)|\.lora_(?:down|up|mid|A|B)(?:\.|$)|\.lora\.(?:down|up)\."
    r"|\.(?:hada_w\d_[ab]|lokr_w\d|oft_(?:blocks|diag)|dora_scale)(?:$|\.)"
)
_TIME: Final = r"^(?:(?:condition_embedder\.)?time_|t_embedder|t_block|timestep|adaln_single|final_layer|norm_out)"
"""What diffusion transformers have besides blocks, and vision transformers have not."""
_LANGUAGE: Final = re.compile(r"(?:^|\.)model\.layers\.\d+\.(?:self_attn|mlp)\.")
"""Language models, which some programs use as text encoders; which, their names don't tell."""
_LAYOUTS: Final[tuple[tuple[WeightKind, tuple[str, ...]], ...]] = (
    # the first whose every pattern is found wins
    (WeightKind.LORA, (_LORA.pattern,)),
    (
        WeightKind.CONTROLNET,
        (r"(?:^|\.)(?:zero_convs\.|controlnet_(?:cond_embedding|down_blocks|blocks|mid_block)|input_hint_block\.)",),
    ),
    (
        WeightKind.CHECKPOINT,
        (
            r"^(?:state_dict\.)?model\.diffusion_model\.",
            r"^(?:state_dict\.)?(?:first_stage_model|vae|cond_stage_model|conditioner|text_encoders)\.",
        ),
    ),
    (WeightKind.DIFFUSION_MODEL, (r"^(?:state_dict\.)?model\.diffusion_model\.",)),
    (WeightKind.DIFFUSION_MODEL, (r"^input_blocks\.\d", r"^output_blocks\.\d")),
    (WeightKind.DIFFUSION_MODEL, (r"^down_blocks\.\d", r"^up_blocks\.\d", r"^(?:time_embedding|add_embedding)\.")),
    (WeightKind.DIFFUSION_MODEL, (r"^(?:double_blocks|joint_blocks|single_blocks)\.\d",)),
    (WeightKind.DIFFUSION_MODEL, (r"^(?:single_)?(?:transformer_)?blocks\.\d+\..*at(?:tn|tention)", _TIME)),
    (
        WeightKind.VAE,
        (
            r"^(?:(?:first_stage_model|vae)\.)?encoder\.(?:down|mid)",
            r"^(?:(?:first_stage_model|vae)\.)?decoder\.(?:up|mid)",
        ),
    ),
    (WeightKind.CLIP_VISION, (r"^(?:vision_model|visual)\.", r"(?:patch_embedding|conv1|class_embedding)")),
    (WeightKind.TEXT_ENCODER, (r"(?:^|\.)text_model\.encoder\.layers\.\d",)),
    (WeightKind.TEXT_ENCODER, (r"^embeddings\.token_embedding\.", r"^encoder\.layers\.\d+\.self_attn\.")),
    (WeightKind.TEXT_ENCODER, (r"(?:^|\.)transformer\.resblocks\.\d", r"(?:^|\.)token_embedding\.")),
    (
        WeightKind.TEXT_ENCODER,
        (r"^encoder\.block\.\d+\.layer\.0\.SelfAttention\.", r"^(?:shared|encoder\.embed_tokens)\."),
    ),
    (WeightKind.UPSCALER, (r"(?:^|\.)(?:RRDB_trunk|body)\.\d+\.(?:RDB|rdb)1\.",)),
    (WeightKind.UPSCALER, (r"(?:^|\.)model\.1\.sub\.\d+\.(?:RDB1|conv)",)),
    (WeightKind.UPSCALER, (r"(?:^|\.)(?:layers\.\d+\.residual_group\.blocks\.\d)", r"(?:^|\.)conv_first\.")),
)
_COMPILED: Final = tuple((kind, tuple(map(re.compile, patterns))) for kind, patterns in _LAYOUTS)
_FEW: Final = 4
"""Tensors that a textual inversion has at most, besides what its trainer notes."""


def kind_of(names: Iterable[str]) -> WeightKind | None:
    """What a file with tensors of these names is; None for what is none of these, a language model for example."""
    found = set(names)
    if found and len(found) <= _FEW and any(_EMBEDDINGS.fullmatch(name) for name in found):
        return WeightKind.EMBEDDING
    if any(map(_LANGUAGE.search, found)):
        return None
    for kind, patterns in _COMPILED:
        if all(any(map(pattern.search, found)) for pattern in patterns):
            return kind
    return None
