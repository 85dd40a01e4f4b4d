"""Learning the shape of an activation: copies of a model share one curve, which helps them on data they do not see."""

from actsearch.training.shape.curve import LearnedCurve, SharedCurve
from actsearch.training.shape.learn import LearnedShape, check_shape, learn_shape
from actsearch.training.shape.recipe import ShapeRecipe

__all__ = [
    "LearnedCurve",
    "LearnedShape",
    "ShapeRecipe",
    "SharedCurve",
    "check_shape",
    "learn_shape",
]
