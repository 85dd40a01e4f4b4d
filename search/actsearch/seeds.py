"""Deriving seeds: every random stream has a name, and its seed follows from the study's seed and that name."""

from __future__ import annotations

import hashlib

__all__ = ["derive", "seed_list"]


def derive(*parts: int | str) -> int:
    """A seed in [0, 2**63) that depends on every part and on nothing else (no hash randomisation)."""
    text = "\x1f".join(f"{type(part).__name__}:{part}" for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def seed_list(study_seed: int, purpose: str, count: int) -> list[int]:
    """The first ``count`` seeds of a purpose, each below 2**31 so that every library takes them."""
    return [derive(study_seed, purpose, index) % 2**31 for index in range(count)]
