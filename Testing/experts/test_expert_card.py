"""Cards are read strictly; what is wrong is said with the file and the field."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from expert_tools import card_for, random_pack
from torch import nn

from MoESegLib.core.errors import WeightsError
from MoESegLib.experts.card import RESERVED_NAMES, ExpertClass, parse_card

CARD = card_for(random_pack(), size_bytes=1000, sha256="a" * 64)


def changed(path: str, value: Any) -> str:
    """The card's JSON with one field replaced."""
    data = json.loads(CARD.to_json())
    target = data
    *folders, last = path.split(".")
    for part in folders:
        target = target[int(part) if part.isdigit() else part]
    target[int(last) if last.isdigit() else last] = value
    return json.dumps(data)


def test_a_card_survives_json() -> None:
    assert parse_card(CARD.to_json(), "liver.json") == CARD


def test_known_structures_come_with_their_codes() -> None:
    kidney = ExpertClass.named("left kidney")
    assert kidney.codes == {"category": "123037004", "type": "64033007", "modifier": "7771000"}
    assert ExpertClass.named("flux capacitor").codes == {}


@pytest.mark.parametrize(
    ("path", "value", "named"),
    [
        ("name", "Liver", "name"),
        ("name", "../liver", "name"),
        ("name", "eval", "reserved"),
        ("name", "base", "reserved"),
        ("title", " ", "title"),
        ("title", 3, "title"),
        ("method", "other", "method"),
        ("base", "lite-medsam", "base"),
        ("base.sha256", "abc", "base.sha256"),
        ("sizes.rank", 0, "sizes.rank"),
        ("sizes.rank", 64.0, "sizes.rank"),
        ("sizes.width", 8_000_000, "sizes.width"),
        ("sizes.width", 60, "sizes.width"),
        ("sizes.num_experts", True, "sizes.num_experts"),
        ("sizes.gate", "open", "sizes.gate"),
        ("classes", {}, "classes"),
        ("classes.0.codes", [], "classes[0].codes"),
        ("classes.0.codes", {"type": 5}, "classes[0].codes.type"),
        ("modalities", ["CT", None], "modalities[1]"),
        ("prompts", [], "prompts"),
        ("prompts", ["thought"], "thought"),
        ("training.0.cases", 0, "training[0].cases"),
        ("measured.0.dice", 81.0, "measured[0].dice"),
        ("measured.0.base_dice", -1, "measured[0].base_dice"),
        ("measured.0.command", "", "measured[0].command"),
        ("created", "21 November", "created"),
        ("format_version", 0, "format_version"),
        ("format_version", "1", "format_version"),
        ("size_bytes", 0, "size_bytes"),
        ("sha256", "", "sha256"),
        ("surprise", 1, "surprise"),
    ],
    ids=str,
)
def test_a_wrong_field_is_named_with_its_file(path: str, value: Any, named: str) -> None:
    with pytest.raises(WeightsError, match=f"liver.json.*{re.escape(named)}"):
        parse_card(changed(path, value), "liver.json")


@pytest.mark.parametrize("field", ["license", "sizes", "measured"])
def test_a_missing_field_is_named(field: str) -> None:
    data = json.loads(CARD.to_json())
    del data[field]
    with pytest.raises(WeightsError, match=f"{field} is missing"):
        parse_card(json.dumps(data), "liver.json")


@pytest.mark.parametrize(
    "text", ["", "[]", "{", '{"a": NaN}', '{"name": 1, "name": 2}', "[" * 100_000], ids=lambda text: text[:20]
)
def test_what_is_no_card_is_refused(text: str) -> None:
    with pytest.raises(WeightsError, match=r"liver\.json"):
        parse_card(text, "liver.json")


def test_a_newer_format_asks_for_an_update_although_its_fields_are_unknown() -> None:
    data = json.loads(CARD.to_json()) | {"format_version": 3, "moeseg_version": "9.0", "telepathy": True}
    with pytest.raises(WeightsError, match=r"format 3, made by MoESeg 9\.0.*Update MoESeg"):
        parse_card(json.dumps(data), "liver.json")


def test_no_name_collides_with_what_a_container_of_networks_uses_itself() -> None:
    taken = {name for name in dir(nn.ModuleDict()) if re.fullmatch(r"[a-z0-9][a-z0-9-]*", name)}
    assert taken <= RESERVED_NAMES
