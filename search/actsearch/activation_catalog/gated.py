"""Fixed forms of the literature that gate their own input: x, or nearly x, times something that opens."""

from __future__ import annotations

from actsearch.activation_catalog.rows import Hyperparameter, Row

__all__ = ["GATED"]

# one row an activation: the formatter would give every argument a line of its own
# fmt: off
GATED: tuple[Row, ...] = (
    Row("elish", "piecewise(expm1(min(x, 0)), x) * sigmoid(x)", "Basirat & Roth 2018, arXiv:1808.00783", 2018),
    Row("hard_elish", "piecewise(expm1(min(x, 0)), x) * min(max((x + 1) / 2, 0), 1)",
        "Basirat & Roth 2018, arXiv:1808.00783", 2018),
    Row("serf", "x * erf(softplus(x))", "Nag & Bhattacharyya 2021, arXiv:2108.09598", 2021),
    Row("tanhexp", "x * tanh(exp(min(x, 4)))", "Liu & Di 2020, arXiv:2003.09855; also TeLU", 2020,
        aliases=("telu",)),
    Row("lisht", "x * tanh(x)", "Roy et al. 2019, arXiv:1901.05894", 2019),
    Row("eelu", "-x * erf(exp(-max(x, -4)))",
        "Rahman et al. 2024, arXiv:2409.04915, exponential error linear unit", 2024),
    Row("gelu_sinc", "gelu(x) * (1 + 0.5 * sinc(x))",
        "Vitvitskyi et al. 2026, arXiv:2602.05688, with the normalised sinc", 2026),
    Row("gelu_sine", "gelu(x) + 0.1 * sin(x)", "Vitvitskyi et al. 2026, arXiv:2602.05688", 2026,
        aliases=("gelusine",)),
    Row("logish", "x * log(1 + sigmoid(x))", "Zhu et al. 2021, Logish", 2021),
    Row("smish", "x * tanh(log(1 + sigmoid(x)))", "Wang et al. 2022, Smish", 2022),
    Row("phish", "x * tanh(gelu(x))", "Naveen 2022, Phish", 2022),
    Row("e_swish", "beta * x * sigmoid(x)", "Alcaide 2018, arXiv:1801.07145", 2018,
        (Hyperparameter("beta", 1.5, 1.0, 2.0),), aliases=("eswish",)),
    Row("aptx", "(1 + tanh(x)) * x / 2", "Kumar 2022, arXiv:2209.06119", 2022),
    Row("mila", "x * tanh(softplus(x + beta))", "Misra 2019, Mila: Mish with a shift", 2019,
        (Hyperparameter("beta", -0.25, -2.0, 2.0),)),
    Row("suish", "max(x, x * exp(-abs(x)))", "listed in Kunc & Klema 2024, arXiv:2402.09092", 2024),
    Row("gcu", "x * cos(x)", "Noel et al. 2021, arXiv:2108.12943, growing cosine unit", 2021),
    Row("flatten_t_swish", "relu(x) * sigmoid(x) + t", "Chieng et al. 2018, arXiv:1812.06247", 2018,
        (Hyperparameter("t", -0.2, -1.0, 1.0),), aliases=("fts",)),
    Row("colu", "x / (1 - x * exp(-max(x, -80) - exp(min(x, 7))))",
        "Vagerwal 2021, arXiv:2112.12078, collapsing linear unit", 2021),
    Row("smu", "((1 + alpha) * x + (1 - alpha) * x * erf(mu * (1 - alpha) * x)) / 2",
        "Biswas et al. 2021, arXiv:2111.04682, smooth maximum unit", 2021,
        (Hyperparameter("alpha", 0.25, 0.0, 0.9), Hyperparameter("mu", 1.0, 0.1, 100.0, log=True))),
    Row("smu_1", "((1 + alpha) * x + sqrt(square((1 - alpha) * x) + square(mu))) / 2",
        "Biswas et al. 2021, arXiv:2111.04682, with a smooth square root", 2021,
        (Hyperparameter("alpha", 0.25, 0.0, 0.9), Hyperparameter("mu", 0.5, 0.001, 2.0, log=True))),
    Row("dsilu", "sigmoid(x) * (1 + x * (1 - sigmoid(x)))",
        "Elfwing et al. 2017, arXiv:1702.03118, derivative of SiLU", 2017),
    Row("tanhsoft1", "tanh(alpha * x) * softplus(x)", "Biswas et al. 2020, arXiv:2009.03863, TanhSoft-1", 2020,
        (Hyperparameter("alpha", 0.87, 0.1, 3.0, log=True),)),
    Row("tanhsoft2", "x * tanh(beta * exp(min(gamma * x, 7)))",
        "Biswas et al. 2020, arXiv:2009.03863, TanhSoft-2", 2020,
        (Hyperparameter("beta", 0.6, 0.1, 3.0, log=True), Hyperparameter("gamma", 1.0, 0.1, 3.0, log=True))),
    Row("gish", "x * log(2 - exp(-exp(min(x, 7))))", "Kaytan et al. 2023, Gish", 2023),
    Row("pflu", "x * (1 + x / sqrt(1 + square(x))) / 2", "Zhu et al. 2021, power function linear unit", 2021),
    Row("laplace_gated", "x * piecewise(0.5 * exp(min(x, 0)), 1 - 0.5 * exp(-max(x, 0)))",
        "Laplace linear unit, x times the Laplace distribution function; listed in Kunc & Klema 2024, arXiv:2402.09092",
        2024, aliases=("lalu",)),
    Row("cauchy_gated", "x * (atan(x) / 3.141592653589793 + 0.5)",
        "Cauchy linear unit, x times the Cauchy distribution function; listed in Kunc & Klema 2024, arXiv:2402.09092",
        2024, aliases=("calu",)),
    Row("swim", "0.5 * x * (1 + k * x / sqrt(1 + square(x)))",
        "Abdool & Dear 2023, arXiv:2303.02640, as listed in Kunc & Klema 2024, arXiv:2402.09092", 2023,
        (Hyperparameter("k", 0.5, 0.1, 2.0, log=True),)),
)
# fmt: on
