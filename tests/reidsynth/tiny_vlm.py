"""A vision-language model of a few thousand parameters, saved as transformers saves one.

Its vocabulary holds whole answers as single tokens, so that a few training steps teach it to give one for a red and
another for a blue photograph.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
from caption_server import answer_for

from reidsynth.steps.captions.prompts import plain_prompt, prompt_text

PLAIN = {
    "red": "A person in a red shirt and black trousers walks along the street .",
    "blue": "Somebody wears a blue coat with grey trousers and carries a bag today .",
}


def answers(form: str) -> list[str]:
    """What it says of a red and of a blue photograph."""
    if form == "plain":
        return list(PLAIN.values())
    return [json.dumps(answer_for(name.encode())) for name in PLAIN]


def save(folder: Path, form: str = "json", steps: int = 150, chat: bool = True) -> Path:
    """Build, train and save the model with its processor.

    Args:
        folder: to save it in.
        form: of its answers, `json` or `plain`.
        steps: of training; with 0 it says anything.
        chat: whether it has a chat template.
    """
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import (
        CLIPImageProcessor,
        CLIPVisionConfig,
        LlamaConfig,
        LlavaConfig,
        LlavaForConditionalGeneration,
        LlavaProcessor,
        PreTrainedTokenizerFast,
    )

    torch.manual_seed(0)
    words = ["<pad>", "<s>", "</s>", "<unk>", "<image>", "USER", "ASSISTANT", ":", *answers(form)]
    tokenizer = Tokenizer(models.WordLevel({word: n for n, word in enumerate(words)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        extra_special_tokens={"image_token": "<image>"},
    )
    template = (
        "{% for message in messages %}USER : {% for part in message['content'] %}{% if part['type'] == 'image' %}"
        "<image> {% else %}{{ part['text'] }} {% endif %}{% endfor %}{% endfor %}ASSISTANT :"
    )
    side = {"shortest_edge": 16}
    images = CLIPImageProcessor(size=side, crop_size={"height": 16, "width": 16})
    processor = LlavaProcessor(
        images,
        fast,
        patch_size=8,
        vision_feature_select_strategy="default",
        chat_template=template if chat else None,
        num_additional_image_tokens=1,
    )
    vision = CLIPVisionConfig(
        hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2, image_size=16, patch_size=8
    )
    text = LlamaConfig(
        vocab_size=len(words),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        max_position_embeddings=2048,
    )
    config = LlavaConfig(vision_config=vision, text_config=text, image_token_index=4, image_seq_length=4)
    model = LlavaForConditionalGeneration(config)
    model.generation_config.eos_token_id, model.generation_config.pad_token_id = 2, 0
    question = prompt_text(("descriptive", "concise")) if form == "json" else plain_prompt("concise")
    content = [{"type": "image"}, {"type": "text", "text": question}]
    asked = processor.apply_chat_template([{"role": "user", "content": content}]) if chat else f"<image>\n{question}"
    _train(model, processor, asked, first_answer=len(words) - 2, steps=steps)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def _train(model, processor, asked: str, first_answer: int, steps: int) -> None:
    from PIL import Image

    photos = [Image.new("RGB", (32, 64), colour) for colour in ((200, 30, 30), (30, 30, 200))]
    given = processor(images=photos, text=[asked] * 2, return_tensors="pt")
    ends = torch.tensor([[first_answer + n, 2] for n in range(2)])
    ids = torch.cat([given["input_ids"], ends], 1)
    labels = torch.cat([torch.full_like(given["input_ids"], -100), ends], 1)
    optimizer = torch.optim.AdamW(model.parameters(), 2e-2)
    for _ in range(steps):
        loss = model(
            input_ids=ids, attention_mask=torch.ones_like(ids), pixel_values=given["pixel_values"], labels=labels
        ).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
