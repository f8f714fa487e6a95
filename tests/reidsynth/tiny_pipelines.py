"""Randomly initialised diffusion pipelines, a megabyte each, saved as diffusers saves them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

_WIDTHS = (8, 8, 8, 8)


def _parts(channels: int) -> dict[str, Any]:
    import torch
    from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

    torch.manual_seed(0)
    start, end = "<|startoftext|>", "<|endoftext|>"
    words = {start: 0, end: 1, **{f"{letter}</w>": n + 2 for n, letter in enumerate("abcdefghijklmnopqrstuvwxyz")}}
    tokenizer = CLIPTokenizer(vocab=words, merges=[], model_max_length=77)
    text = CLIPTextConfig(
        vocab_size=len(words),
        hidden_size=32,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=1,
    )
    unet = UNet2DConditionModel(
        sample_size=8,
        in_channels=channels,
        out_channels=4,
        block_out_channels=(8, 8),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=32,
        attention_head_dim=4,
        norm_num_groups=4,
    )
    vae = AutoencoderKL(
        block_out_channels=_WIDTHS,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        latent_channels=4,
        norm_num_groups=4,
    )
    return {
        "vae": vae,
        "text_encoder": CLIPTextModel(text),
        "tokenizer": tokenizer,
        "unet": unet,
        "scheduler": DDIMScheduler(),
        "safety_checker": None,
        "feature_extractor": None,
        "requires_safety_checker": False,
    }


def controlnet_pipeline(folder: Path, *, with_controlnet: bool = True) -> Path:
    """A ControlNet img2img pipeline; or one without, and its ControlNet beside it in `<folder>-controlnet`."""
    from diffusers import ControlNetModel, StableDiffusionControlNetImg2ImgPipeline, StableDiffusionPipeline

    parts = _parts(4)
    controlnet = ControlNetModel.from_unet(parts["unet"], conditioning_embedding_out_channels=(8, 8, 8, 8))
    if with_controlnet:
        StableDiffusionControlNetImg2ImgPipeline(controlnet=controlnet, **parts).save_pretrained(folder)
    else:
        StableDiffusionPipeline(**parts).save_pretrained(folder)
        controlnet.save_pretrained(f"{folder}-controlnet")
    return folder


def instruct_pipeline(folder: Path) -> Path:
    """An InstructPix2Pix pipeline."""
    from diffusers import StableDiffusionInstructPix2PixPipeline

    StableDiffusionInstructPix2PixPipeline(**_parts(8)).save_pretrained(folder)
    return folder
