"""CLIP (Radford et al. 2021): empty networks, and the tokens by which Versatile Diffusion is guided.

Versatile Diffusion (Xu et al. 2023) takes all tokens of CLIP ViT-L/14, projected into the space that pictures
and texts share, and divided by the length of the one vector that CLIP itself would use of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from transformers import CLIPTextModelWithProjection, CLIPVisionModelWithProjection

LEGACY_END = 2
"""End-of-text id of configurations that do not say the true one; the highest id of a text is pooled then."""

# What a file was saved in says nothing about what is computed in.
_PRECISION = ("dtype", "torch_dtype")


def make_clip_text(config: Mapping[str, Any]) -> CLIPTextModelWithProjection:
    """The text encoder of CLIP without weights.

    Parameters
    ----------
    config : mapping
        What `config.json` of the encoder holds, in any release of transformers.

    Returns
    -------
    CLIPTextModelWithProjection
        In eval mode and float32, its parameters on the device meta. What no checkpoint holds is real.

    Raises
    ------
    ValueError
        When the configuration is that of another network.
    """
    from transformers import CLIPTextConfig, CLIPTextModelWithProjection

    return _empty(CLIPTextModelWithProjection, CLIPTextConfig, config)


def make_clip_vision(config: Mapping[str, Any]) -> CLIPVisionModelWithProjection:
    """The picture encoder of CLIP without weights; see `make_clip_text`."""
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    return _empty(CLIPVisionModelWithProjection, CLIPVisionConfig, config)


def normalised_text_tokens(
    model: CLIPTextModelWithProjection, input_ids: Tensor, attention_mask: Tensor | None = None
) -> Tensor:
    """Projected tokens of texts, divided by the length of the projected end-of-text token.

    Parameters
    ----------
    model : CLIPTextModelWithProjection
    input_ids : Tensor (n, tokens) int64
        Each text begins with the start and ends with the end of text, and is filled up with the latter.
    attention_mask : Tensor (n, tokens), optional
        As published, what fills up is not masked: tokens see only those before them, but are all used.

    Returns
    -------
    Tensor (n, tokens, d)
        The row of the first end of text has length 1, the others have not.
    """
    output = model(input_ids=input_ids, attention_mask=attention_mask, return_dict=True)
    tokens = model.text_projection(output.last_hidden_state)
    return tokens / output.text_embeds.norm(dim=-1)[:, None, None]


def normalised_image_tokens(model: CLIPVisionModelWithProjection, pixels: Tensor) -> Tensor:
    """Projected tokens of pictures, divided by the length of the first, which stands for the whole.

    CLIP itself puts the last layer norm on the first token only; here, all have it.

    Parameters
    ----------
    model : CLIPVisionModelWithProjection
    pixels : Tensor (n, 3, size, size) float32
        Centred and scaled.

    Returns
    -------
    Tensor (n, 1 + patches, d)
        Row 0 has length 1.
    """
    hidden = model.vision_model(pixel_values=pixels, return_dict=True).last_hidden_state
    tokens = model.visual_projection(model.vision_model.post_layernorm(hidden))
    return tokens / tokens[:, :1].norm(dim=-1, keepdim=True)


def _empty(network: type[Any], configuration: type[Any], config: Mapping[str, Any]) -> Any:
    if (kind := config.get("model_type")) != configuration.model_type:
        raise ValueError(f"it is that of a '{kind}', not of a '{configuration.model_type}'")
    wanted = {key: value for key, value in config.items() if key not in _PRECISION}
    with torch.device("meta"):
        model = network(configuration(**wanted))
    for module in model.modules():
        # No checkpoint needs to hold the numbers of the places: they would stay on meta.
        if isinstance(places := getattr(module, "position_embedding", None), nn.Embedding):
            numbers = torch.arange(places.num_embeddings)[None]
            module.register_buffer("position_ids", numbers, persistent=False)
    return model.eval()
