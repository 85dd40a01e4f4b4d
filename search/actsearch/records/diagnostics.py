"""What a training was like inside."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["HISTOGRAM_EDGES", "Diagnostics", "SiteDiagnostics"]

HISTOGRAM_EDGES = tuple(-5 + 0.5 * step for step in range(21))
"""Between the bins of :attr:`SiteDiagnostics.histogram`; the first bin is all below, the last all from the last on."""


@dataclass(frozen=True)
class SiteDiagnostics:
    """What was seen at one site in one pass over a fixed batch. x is what arrives there, y = f(x) what leaves.

    Numbers that are not finite are kept as they are; None could not be measured.

    Attributes:
        site: path of the site.
        shape: of x, samples first.
        mean: of x over all its numbers.
        sd: standard deviation of x.
        histogram: share of x in each bin between :data:`HISTOGRAM_EDGES`, 22 in all.
        dead: share of units that are 0 for every sample. A unit is one number of y for one sample; in a convolution
            each position of each channel.
        zeros: share of y that is exactly 0.
        saturation: share of x at which |f'(x)| is below 0.001; None where y has another shape.
        gain: effective gain, sqrt(E[y^2] / E[x^2]): what a site does to the second moment, which the next layer's
            weights multiply (He et al. 2015, arXiv:1502.01852, eq. 7).
        gradient_norm: norm of the loss's gradient with respect to x (as Glorot and Bengio 2010, fig. 7, look at it);
            None where no gradient arrives, as before frozen layers.
        learned: the activation's learned numbers by name; of more than 256, so many quantiles.
    """

    site: str
    shape: tuple[int, ...]
    mean: float | None
    sd: float | None
    histogram: tuple[float, ...]
    dead: float | None
    zeros: float | None
    saturation: float | None
    gain: float | None
    gradient_norm: float | None
    learned: Mapping[str, tuple[float, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class Diagnostics:
    """What one training was like inside.

    Attributes:
        start: the sites before the first step, in the order in which they first run.
        end: likewise after the last epoch; empty if training did not come to its end.
        parameters_added: numbers that the changed model learns beyond those of the user's own.
        loss_gap: validation loss less training loss in the last epoch; None where one was not measured.
    """

    start: tuple[SiteDiagnostics, ...]
    end: tuple[SiteDiagnostics, ...] = ()
    parameters_added: int | None = None
    loss_gap: float | None = None

    @property
    def gradient_ratio(self) -> float | None:
        """Gradient norm at the first site divided by that at the last, in the newest pass.

        Far below 1, gradients vanish on their way back; far above, they explode. None with fewer than two norms.
        """
        norms = [site.gradient_norm for site in self.newest if site.gradient_norm is not None]
        if len(norms) < 2:
            return None
        if norms[-1] == 0:
            return float("nan") if norms[0] == 0 else float("inf")
        return norms[0] / norms[-1]

    @property
    def sparsity(self) -> float | None:
        """Share of zeros, the mean over the sites, in the newest pass."""
        shares = [site.zeros for site in self.newest if site.zeros is not None]
        return sum(shares) / len(shares) if shares else None

    @property
    def newest(self) -> tuple[SiteDiagnostics, ...]:
        """``end``, or ``start`` where training did not come to its end."""
        return self.end or self.start
