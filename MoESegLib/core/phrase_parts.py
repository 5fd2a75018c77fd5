"""What a phrase says beside the name of something: requests, general words, negations, lists."""

from __future__ import annotations

import re

_REQUEST = re.compile(
    r"^\s*(?:(?:please|can|could|you|now|just|segment|outline|contour|delineate|mark|mask|find|show|select|me|the|all|my|this"
    r"|patient(?:'s)?)\s+)+",
    re.IGNORECASE,
)
_GENERAL = re.compile(r"\b(?:organ|tissue|parenchyma|region|area|structure)s?\b", re.IGNORECASE)
_NEGATION = re.compile(r"\b(?:not|without|except|excluding|minus|but|non)\b", re.IGNORECASE)
_ENUMERATION = re.compile(r"[,;&+]|\band\b|\bor\b", re.IGNORECASE)
_IN_PARENTHESES = re.compile(r"\([^)]*\)")


def without_request(phrase: str) -> str:
    """ "please segment the left kidney" -> "left kidney"."""
    return _REQUEST.sub("", phrase)


def without_general_words(phrase: str) -> str:
    """A phrase without words such as "organ" and "tissue", which say nothing of what is meant."""
    return _GENERAL.sub(" ", phrase)


def without_parentheses(phrase: str) -> str:
    """A phrase without what stands in parentheses."""
    return _IN_PARENTHESES.sub(" ", phrase)


def is_negated(phrase: str) -> bool:
    """Whether a phrase says what not to segment, which a text model does not tell from its opposite."""
    return _NEGATION.search(phrase) is not None


def parts_of(phrase: str) -> list[str]:
    """The parts of a list: "liver, spleen and kidney" has three."""
    return _ENUMERATION.split(phrase)
