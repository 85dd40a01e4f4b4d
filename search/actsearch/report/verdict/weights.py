"""What a verdict says of weights that were there before the candidates came."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from actsearch.report.verdict.stored import read_share

__all__ = ["KeptWeights"]


@dataclass(frozen=True)
class KeptWeights:
    """Weights that a model brings along, as in fine-tuning.

    Attributes:
        kept: share of the model's parameters that have the same start value under every seed, above 0 to 1.
        frozen: share of the model's parameters that are among these and that training does not change, 0 to ``kept``.
    """

    kept: float
    frozen: float = 0.0

    @property
    def sentence(self) -> str:
        """What that does to a comparison, in plain words."""
        frozen = f" ({_share(self.frozen)} are frozen)" if self.frozen else ""
        return (
            f"{_share(self.kept)} of the weights came with the model{frozen} and favour the activation they were "
            "trained with: a candidate that loses here may win after a longer recovery, or from scratch."
        )

    @classmethod
    def read(cls, data: Mapping[str, Any] | None) -> KeptWeights | None:
        """From JSON data; None for None."""
        return None if data is None else cls(read_share(data["kept"]), read_share(data["frozen"]))


def _share(part: float) -> str:
    return f"{part:.0%}" if part in (0, 1) or 0.01 <= part <= 0.99 else f"{part:.1%}"
