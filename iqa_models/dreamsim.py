"""DreamSim: cosine distance of concatenated embeddings.

Fu, Tamir, Sundaram, Chai, Zhang, Dekel, Isola: "DreamSim: Learning New Dimensions of Human Visual
Similarity using Synthetic Data", NeurIPS 2023.  The published edition wraps the ``dreamsim``
package's own network (ViT branches with LoRA); the compact one concatenates small trunks.

This module must not know noise or defences, nor where its weights' files lie.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from iqa_models.assembly import Built, PublishedRecipe, Sources, read_state
from iqa_models.base import Edition, IQAModel, ModelCard
from iqa_models.dreamsim_files import LoRA, Variant, adapter_settings, joined_state
from iqa_models.plugin import ModelPlugin
from iqa_models.trunks import COARSE, Pyramid, Standardize, conv_stages, frozen

CARD = ModelCard(
    name="dreamsim",
    title="DreamSim",
    mode="FR",
    score_range=(0.0, 2.0),  # that of any cosine distance
    higher_is_better=False,
    min_size=64,
    citation="Fu et al., NeurIPS 2023",
    licence="method and weights MIT (ssundaram21/dreamsim); compact weights: this project",
)


class DreamSim(IQAModel):
    """Squared differences of unit embeddings; half their sum is one minus the cosine.

    Args:
        embedder: Images ``(B, 3, H, W)`` to embeddings ``(B, D)``.
        edition: Which edition the embedder belongs to.
    """

    card = CARD

    def __init__(self, *, embedder: nn.Module, edition: Edition) -> None:
        """Keep the embedder; the head has no parameters."""
        super().__init__()
        self.edition = edition
        self.embedder = embedder

    def encode_reference(self, reference: Tensor) -> tuple[Tensor, ...]:
        """Unit embedding of the reference."""
        return (unit_embedding(self.embedder(reference)),)

    def extract(self, images: Tensor, reference: tuple[Tensor, ...] | None) -> Tensor:
        """Squared embedding differences ``(B, D)``."""
        return self.compare(self.encode_reference(images), reference or ())

    def compare(self, encoded: tuple[Tensor, ...], reference: tuple[Tensor, ...]) -> Tensor:
        """Features ``(B, D)`` of two encoded sides."""
        (ours,), (theirs,) = encoded, reference
        return (ours - theirs).square()

    def head(self, features: Tensor) -> Tensor:
        """Cosine distance ``(B,)``; 0 means equal to the reference."""
        return features.sum(dim=1) / 2


def unit_embedding(embedding: Tensor) -> Tensor:
    """Subtract each row's mean and scale the row to unit length."""
    centred = embedding - embedding.mean(dim=1, keepdim=True)
    return centred * torch.rsqrt(centred.square().sum(dim=1, keepdim=True) + 1e-12)


class Branches(nn.Module):
    """Concatenated globally pooled maps, all scales of several small trunks.

    Args:
        trunks: Standardised images to lists of maps ``(B, C_k, h_k, w_k)``.
    """

    def __init__(self, trunks: Sequence[nn.Module]) -> None:
        """Register the trunks."""
        super().__init__()
        self.standardize = Standardize()
        self.trunks = nn.ModuleList(trunks)

    def forward(self, images: Tensor) -> Tensor:
        """Embeddings ``(B, sum of C_k)`` of images ``(B, 3, H, W)``."""
        inputs = self.standardize(images)
        return torch.cat(
            [maps.mean((2, 3)) for trunk in self.trunks for maps in trunk(inputs)], dim=1
        )


def compact() -> DreamSim:
    """An ensemble of two small trunks, untrained (about 273k parameters, D = 544)."""
    trunks = [Pyramid(conv_stages(plan)) for plan in (COARSE, ((32, 4), (48, 2), (64, 2), (96, 1)))]
    return frozen(DreamSim(embedder=Branches(trunks), edition="compact"))


class ViTEmbedder(nn.Module):
    """The dreamsim package's network on images of any size.

    Attributes:
        network: ``PerceptualModel`` inside peft's wrapper, as the package builds it.
    """

    size = 224

    def __init__(self, network: nn.Module) -> None:
        """Keep the network."""
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        """Embeddings ``(B, D)``; other sizes are resized to 224x224 (bicubic, antialiased)."""
        if tuple(images.shape[-2:]) != (self.size, self.size):
            shape = (self.size, self.size)
            images = F.interpolate(images, shape, mode="bicubic", antialias=True)
        base: Any = self.network.base_model
        embedding: Tensor = base.model.embed(images)
        return embedding


def published(*, variant: Variant = "ensemble", lora: LoRA | None = None) -> DreamSim:
    """The package's own architecture, untrained and without its downloads (ensemble: D = 1,792)."""
    from dreamsim.config import dreamsim_args
    from dreamsim.model import PerceptualModel
    from peft import LoraConfig, get_peft_model

    settings = lora or LoRA()
    with _offline_branches():
        options = dreamsim_args["model_config"][variant]
        network = PerceptualModel(**options, device="cpu", normalize_embeds=True)
    config = LoraConfig(
        r=settings.r,
        lora_alpha=settings.lora_alpha,  # type: ignore[arg-type]  # the package ships a fraction
        lora_dropout=settings.lora_dropout,
        target_modules=list(settings.target_modules),
        bias="none",
    )
    adapted = get_peft_model(network, config)
    return frozen(DreamSim(embedder=ViTEmbedder(adapted), edition="published"))


@contextmanager
def _offline_branches() -> Iterator[None]:
    """Let the package build its ViT branches without fetching their pretrained weights."""
    from dreamsim.feature_extraction.extractor import ViTExtractor

    original = ViTExtractor.create_model
    ViTExtractor.create_model = staticmethod(_vit_branch)
    try:
        yield
    finally:
        ViTExtractor.create_model = staticmethod(original)


def _vit_branch(model_type: str, load_dir: str = "") -> Any:
    """A ViT-B as the package assembles it: plain for DINO, with CLIP's changes for the others."""
    from dreamsim.feature_extraction.load_clip_as_dino import QuickGELU
    from dreamsim.feature_extraction.vision_transformer import vit_base

    vit = vit_base(patch_size=int(model_type[-2:]))
    if model_type.startswith("dino"):
        return vit
    vit.pos_drop = nn.LayerNorm(vit.embed_dim)
    for module in vit.modules():
        if isinstance(module, nn.LayerNorm):
            module.eps = 1e-5
    if model_type.startswith("clip"):
        for block in vit.blocks:
            block.mlp.act = QuickGELU()
    return vit, nn.Parameter(torch.randn(vit.embed_dim, 512) / vit.embed_dim**0.5)


def _joined(variant: Variant, sources: Sources) -> Built:
    """The unpacked release and, for its DINO branch, the weights of ``torch.hub``."""
    folder = sources[f"dreamsim_{variant}"].path
    model = published(variant=variant, lora=adapter_settings(folder, variant))
    dino = read_state(sources["dino_vitb16"]) if "dino_vitb16" in sources else None
    return model, joined_state(model, folder, variant, dino=dino)


def _recipe(variant: Variant, *others: str, note: str = "") -> PublishedRecipe:
    needs = (f"dreamsim_{variant}", *others)
    return PublishedRecipe(variant, needs, partial(_joined, variant), note=note)


MODEL = ModelPlugin(
    card=CARD,
    compact=compact,
    published=published,
    recipes=(
        _recipe("ensemble", "dino_vitb16"),
        _recipe("dino_vitb16", "dino_vitb16", note="DINO ViT-B/16 only"),
        _recipe("clip_vitb32", note="CLIP ViT-B/32 only"),
        _recipe("open_clip_vitb32", note="OpenCLIP ViT-B/32 only"),
    ),
)
