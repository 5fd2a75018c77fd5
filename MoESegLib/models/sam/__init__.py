"""Segment Anything (Kirillov et al. 2023): the networks, written anew with the public state-dict keys."""
