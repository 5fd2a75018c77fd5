"""A small base, packs with random weights, and cards for them."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch

from MoESegLib.experts.card import BaseModel, ExpertCard, ExpertClass, Measurement, TrainingData
from MoESegLib.experts.pack_file import sizes_of
from MoESegLib.models.sam.build import mask_decoder
from MoESegLib.models.segmote.asymmetric import ExpertPack
from MoESegLib.weights import model_card

LITE_SHA256 = str(model_card("lite-medsam").sha256)


def random_pack(seed: int = 0, width: int = 64, early: int = 48, num_experts: int = 2, rank: int = 8) -> ExpertPack:
    """By default for a base of width 64, which takes 70 kB."""
    torch.manual_seed(seed)
    pack = ExpertPack(mask_decoder(width), early, num_experts, rank)
    for parameter in pack.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return pack.eval()


def card_for(pack: ExpertPack, name: str = "liver", **changes: Any) -> ExpertCard:
    card = ExpertCard(
        name=name,
        title="Liver in CT",
        description='Clicks and boxes on the liver; naïve text with "quotes".',
        base=BaseModel("lite-medsam", LITE_SHA256),
        sizes=sizes_of(pack),
        classes=(ExpertClass.named("liver"), ExpertClass("something new")),
        modalities=("CT",),
        prompts=("point", "box"),
        training=(TrainingData("BTCV", "CC BY 4.0", "train", 20),),
        measured=(Measurement("BTCV, test split", "click", 0.8, 0.52, 5, "moeseg evaluate --protocol click"),),
        license="CC BY 4.0",
        created="2026-11-21",
    )
    return dataclasses.replace(card, **changes)
