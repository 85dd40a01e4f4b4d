"""What a verdict says of weights that were there before the candidates came."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["KeptWeights"]


@dataclass(frozen=True)
class KeptWeights:
    """Weights that a model brings along, as in fine-tuning.

    Attributes:
        kept: share of the model's parameters that have the same start value under every seed, above 0 to 1.
        frozen: share of its parameters that training does not change, 0 to 1.
    """

    kept: float
    frozen: float = 0.0

    def sentence(self, baseline: str) -> str:
        """One plain sentence on what that does to a comparison.

        Args:
            baseline: what the model's own activation is called.
        """
        came = f"{_share(self.kept)} of the weights came with the model"
        favour = f"if they were trained with {baseline}, they favour it"
        if self.frozen:
            came += f", {_share(self.frozen)} are frozen"
            favour += ", the frozen ones most"
        return f"{came}: {favour}, and a candidate that loses here may win after a longer recovery, or from scratch."

    @classmethod
    def read(cls, data: Mapping[str, Any] | None) -> KeptWeights | None:
        """From JSON data; None for None."""
        return None if data is None else cls(float(data["kept"]), float(data["frozen"]))


def _share(share: float) -> str:
    return f"{share:.0%}" if share in (0, 1) or 0.01 <= share <= 0.99 else f"{share:.1%}"
