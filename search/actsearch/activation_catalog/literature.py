"""Fixed forms of the literature.

"Listed in Kunc & Klema" means their survey of 400 activation functions (2024, arXiv:2402.09092) where the form has no
paper of its own that is worth reading first. Where the argument of an exponential is bounded (``exp(min(x, 7))``), the
value is that of the published form to the last digit that matters; unbounded, the gradient far out would be 0 * inf.
"""

from __future__ import annotations

from actsearch.activation_catalog.rows import Hyperparameter, Row

__all__ = ["LITERATURE"]

# one row an activation: the formatter would give every argument a line of its own
# fmt: off
LITERATURE: tuple[Row, ...] = (
    Row("brelu", "min(max(x, 0), upper)", "Liew et al. 2016, bounded ReLU", 2016,
        (Hyperparameter("upper", 1.0, 0.1, 10.0, log=True),), aliases=("bounded_relu",)),
    Row("bounded_leaky_relu", "min(max(x, 0.01 * x), upper) + 0.01 * max(x - upper, 0)",
        "Liew et al. 2016, bounded leaky ReLU", 2016, (Hyperparameter("upper", 1.0, 0.1, 10.0, log=True),)),
    Row("drelu", "max(x, -delta)",
        "Macedo et al. 2017, arXiv:1709.06247 (DReLU): ReLU displaced along the diagonal", 2017,
        (Hyperparameter("delta", 0.05, 0.0, 2.0),), aliases=("displaced_relu",)),
    Row("snake", "x + square(sin(a * x)) / a", "Ziyin et al. 2020, arXiv:2006.08195", 2020,
        (Hyperparameter("a", 1.0, 0.1, 30.0, log=True),)),
    Row("gaussian", "gauss(x)", "radial basis function; Broomhead & Lowe 1988", 1988),
    Row("isru", "x / sqrt(1 + alpha * square(x))", "Carlile et al. 2017, arXiv:1710.09967", 2017,
        (Hyperparameter("alpha", 1.0, 0.01, 10.0, log=True),)),
    Row("isrlu", "piecewise(x / sqrt(1 + alpha * square(x)), x)", "Carlile et al. 2017, arXiv:1710.09967", 2017,
        (Hyperparameter("alpha", 1.0, 0.01, 10.0, log=True),)),
    Row("nlrelu", "log(1 + beta * relu(x))", "Liu et al. 2019, arXiv:1908.03682, natural-logarithm ReLU", 2019,
        (Hyperparameter("beta", 1.0, 0.1, 10.0, log=True),)),
    Row("squareplus", "(x + sqrt(square(x) + b)) / 2", "Barron 2021, arXiv:2112.11687", 2021,
        (Hyperparameter("b", 4.0, 0.01, 10.0, log=True),)),
    Row("bent_identity", "(sqrt(square(x) + 1) - 1) / 2 + x",
        "in Wikipedia's table of activations by 2018; listed in Kunc & Klema 2024, arXiv:2402.09092", 2018),
    Row("atan", "atan(x)", "listed in Kunc & Klema 2024, arXiv:2402.09092", 2024, aliases=("arctan",)),
    Row("asinh", "asinh(x)", "listed in Kunc & Klema 2024, arXiv:2402.09092", 2024, aliases=("arsinh",)),
    Row("cos", "cos(omega * x)", "random Fourier features: Rahimi & Recht 2007", 2007,
        (Hyperparameter("omega", 1.0, 0.1, 30.0, log=True),)),
    Row("sinc", "sinc(x / 3.141592653589793)", "sin(x) / x; listed in Kunc & Klema 2024, arXiv:2402.09092",
        2024),
    Row("abs", "abs(x)",
        "Berngardt 2023, arXiv:2304.11758, and earlier; listed in Kunc & Klema 2024, arXiv:2402.09092", 2023),
    Row("exp", "exp(x)", "exponential; listed in Kunc & Klema 2024, arXiv:2402.09092", 2024),
    Row("square", "square(x)", "polynomial networks: Livni et al. 2014, arXiv:1410.1141", 2014),
    Row("cube", "cube(x)", "Chen & Manning 2014, dependency parser", 2014),
    Row("symlog", "log1p(max(x, 0)) - log1p(-min(x, 0))",
        "Hafner et al. 2023, arXiv:2301.04104; also logarithmic activation", 2023),
    Row("penalized_tanh", "piecewise(a * tanh(x), tanh(x))", "Xu et al. 2016, arXiv:1602.05980", 2016,
        (Hyperparameter("a", 0.25, 0.01, 1.0, log=True),)),
    Row("lecun_tanh", "1.7159 * tanh(0.6666666666666666 * x)", "LeCun et al. 1998, Efficient BackProp", 1998),
    Row("cosrelu", "relu(x) + cos(x)", "Ardehkhani & Ardehkhani 2022, ActTensor 1.0.0", 2022),
    Row("sinrelu", "relu(x) + sin(x)", "Ardehkhani & Ardehkhani 2022, ActTensor 1.0.0", 2022),
    Row("cloglog", "1 - exp(-exp(min(x, 7)))", "Gomes & Ludermir 2008, complementary log-log", 2008),
    Row("loglog", "exp(-exp(-max(x, -7)))", "Gomes et al. 2011, log-log (Gompertz)", 2011),
    Row("probit", "0.5 * erfc(-x * 0.7071067811865476)", "normal distribution function: Gomes & Ludermir 2008",
        2008),
    Row("erf", "erf(x)", "Gauss error function; used in teacher-student analyses: Saad & Solla 1995", 1995),
    Row("elliott", "0.5 * x / (1 + abs(x)) + 0.5", "Elliott 1993", 1993),
    Row("sqnl", "min(max(x, -2), 2) - sign(x) * square(min(max(x, -2), 2)) / 4",
        "Wuraola & Patel 2018, square non-linearity", 2018),
    Row("shifted_softplus", "softplus(x) - 0.6931471805599453",
        "Schuett et al. 2017, arXiv:1706.08566 (SchNet)", 2017, aliases=("ssp",)),
    Row("elu_plus_one", "elu(x) + 1",
        "Katharopoulos et al. 2020, arXiv:2006.16236, feature map of linear attention", 2020),
    Row("repu", "relu(x) ** power", "Li et al. 2019, rectified power unit", 2019,
        (Hyperparameter("power", 2, choices=(2, 3, 4)),)),
    Row("rootsig", "x / (1 + sqrt(1 + square(x)))", "listed in Kunc & Klema 2024, arXiv:2402.09092", 2024),
    Row("mexican_hat", "(1 - square(x)) * exp(-square(x) / 2)", "wavelet networks: Zhang & Benveniste 1992",
        1992, aliases=("ricker",)),
    Row("morlet", "cos(5 * x) * exp(-square(x) / 2)",
        "wavelet networks: Zhang & Benveniste 1992, Morlet wavelet", 1992),
    Row("sqrelu_shifted", "square(relu(x)) - bias",
        "ReLU^2 with its mean removed: So et al. 2021, arXiv:2109.08668 and Yu et al. 2022, arXiv:2210.13452",
        2022, (Hyperparameter("bias", 0.5, 0.0, 1.0),)),
    Row("shifted_relu", "max(x, threshold)", "Clevert et al. 2015, arXiv:1511.07289, there compared as SReLU",
        2015, (Hyperparameter("threshold", -1.0, -3.0, 1.0),)),
    Row("very_leaky_relu", "max(x, 0) + 0.3333333333333333 * min(x, 0)", "Graham 2014, arXiv:1409.6070", 2014),
    Row("sigmoid_shifted", "2 * sigmoid(x) - 1", "bipolar sigmoid; tanh of half the argument", 1990,
        aliases=("bipolar_sigmoid",)),
)
# fmt: on
