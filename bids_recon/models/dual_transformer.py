"""The attention of Versatile Diffusion under two guides: a transformer for pictures beside one for text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

IMAGE, TEXT = 0, 1


class DualTransformer(nn.Module):
    """Two transformers that read the same maps under different guides, and whose changes are blended.

    With maps x, it gives x + s (text branch - x) + (1 - s) (image branch - x), where s is the strength of the
    text (Xu et al. 2023, "Versatile Diffusion: text, images and variations all in one diffusion model";
    Ozcelik & VanRullen 2023 use s = 0.4). A branch without strength is not computed.

    It stands in the place of a `Transformer2DModel` of diffusers' U-Net, and is called as that is.

    Parameters
    ----------
    image, text : nn.Module
        `Transformer2DModel` of the image U-Net and that of the same place in the text U-Net.
    """

    def __init__(self, image: nn.Module, text: nn.Module) -> None:
        super().__init__()
        self.transformers = nn.ModuleList([image, text])

    def forward(
        self,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor,
        timestep: Tensor | None = None,
        *,
        cross_attention_kwargs: Mapping[str, Any],
        **_ignored: object,
    ) -> tuple[Tensor]:
        """Blend the two branches.

        Parameters
        ----------
        hidden_states : Tensor (n, channels, height, width)
        encoder_hidden_states : Tensor (n, text_tokens + vision_tokens, width)
            Tokens of the text, then those of the picture; those of a branch without strength may be absent.
        timestep : Tensor, optional
            Handed on.
        cross_attention_kwargs : mapping
            `text_strength`, from 0 (picture only) to 1 (text only), and `text_tokens`, their number. The
            U-Net hands it to each of its attentions as it is.
        **_ignored
            What diffusers' blocks pass besides: masks, which these guides have not.

        Returns
        -------
        tuple of one Tensor (n, channels, height, width)
        """
        strength, n_text = cross_attention_kwargs["text_strength"], cross_attention_kwargs["text_tokens"]
        blended = hidden_states
        for branch, share, tokens in (
            (TEXT, strength, encoder_hidden_states[:, :n_text]),
            (IMAGE, 1 - strength, encoder_hidden_states[:, n_text:]),
        ):
            if share > 0:
                (found,) = self.transformers[branch](
                    hidden_states, encoder_hidden_states=tokens, timestep=timestep, return_dict=False
                )
                blended = blended + share * (found - hidden_states)
        return (blended,)
