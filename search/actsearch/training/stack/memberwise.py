"""Which functions of a model may be computed for the whole stack at once, and which for one member after the other.

``vmap`` puts the members' numbers side by side. What only moves numbers, or rounds each one by itself as IEEE 754 says,
gives the same then. What sums does not, nor what approximates: torch computes vectors of numbers, and those that are
left at the end in another way, so that a number's place decides its last bits. Such functions are called member by
member, which is what single training does. What is in no table is mapped as ``vmap`` does it, and its name is noted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor
from torch.overrides import TorchFunctionMode

from actsearch.training.stack.stack_access import StackAccess, is_stacked, member_rows

__all__ = ["MemberwiseMode"]


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


# names of torch functions and of methods, as TorchFunctionMode gives them; torch 2.13
_MOVES = _names("""
    __get__ __len__ size dim ndimension numel nelement stride is_contiguous is_floating_point is_complex
    element_size get_device data_ptr requires_grad_ detach clone contiguous to float double long int bool type
    type_as view view_as reshape reshape_as flatten unflatten ravel squeeze unsqueeze transpose t swapaxes
    swapdims permute movedim moveaxis adjoint chunk split tensor_split unbind narrow select __getitem__ cat
    concat concatenate stack hstack vstack flip roll diagonal pad zeros_like ones_like empty_like full_like
    new_zeros new_ones new_empty new_full new_tensor arange numpy_T masked_fill eq ne lt le gt ge __eq__
    __ne__ __lt__ __le__ __gt__ __ge__ logical_not logical_and logical_or __and__ __or__ __invert__ isnan
    isinf isfinite argmax argmin argsort triu tril one_hot is_same_size has_torch_function
""")
"""They move numbers, or compare them."""

_EXACT = _names("""
    neg __neg__ abs sign relu relu_ threshold clamp clamp_ clamp_min clamp_max minimum maximum sqrt square
    reciprocal floor ceil round trunc
""")
"""Each number by itself, rounded as IEEE 754 says."""

_ARITHMETIC = _names("""
    where add add_ __add__ __radd__ __iadd__ sub sub_ __sub__ __rsub__ __isub__ rsub subtract mul mul_ __mul__
    __rmul__ __imul__ multiply div div_ __truediv__ __rtruediv__ __itruediv__ true_divide divide
""")
"""Likewise, for operands of one shape; the gradient of one that is broadcast to another is a sum."""

_ELEMENTWISE = _names("""
    sigmoid tanh exp expm1 log log1p log2 log10 sin cos tan erf rsqrt softplus logsigmoid gelu silu mish elu
    selu celu hardswish hardsigmoid hardtanh relu6 leaky_relu softsign tanhshrink atan asinh
""")
"""Each number by itself, approximated."""

_PRODUCTS = _names("""
    linear matmul __matmul__ __rmatmul__ mm bmm mv dot addmm addbmm baddbmm einsum bilinear
    scaled_dot_product_attention multi_head_attention_forward cdist tensordot outer inner conv1d conv2d conv3d
    conv_transpose1d conv_transpose2d conv_transpose3d
""")
"""Whose kernels depend on where in memory their operands begin."""

_SUMS = _names("""
    expand expand_as broadcast_to repeat tile unfold __getitem__ layer_norm group_norm instance_norm
    batch_norm rms_norm local_response_norm normalize embedding sum mean nansum var std var_mean std_mean norm
    vector_norm logsumexp softmax log_softmax softmin cumsum cumprod prod amax amin max min median topk sort
    gather index_select take_along_dim max_pool1d max_pool2d max_pool3d avg_pool1d avg_pool2d avg_pool3d
    adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d adaptive_max_pool1d adaptive_max_pool2d
    adaptive_max_pool3d lp_pool1d lp_pool2d interpolate upsample pixel_shuffle pixel_unshuffle fold
    cosine_similarity pairwise_distance pow __pow__ __rpow__ lerp addcmul addcdiv prelu glu cross_entropy
    nll_loss mse_loss l1_loss smooth_l1_loss huber_loss kl_div binary_cross_entropy
    binary_cross_entropy_with_logits gaussian_nll_loss poisson_nll_loss hinge_embedding_loss
    margin_ranking_loss cosine_embedding_loss triplet_margin_loss soft_margin_loss
""")
"""They sum, choose, or mix numbers of different places."""


class MemberwiseMode(TorchFunctionMode):
    """Active while a model is mapped over its members: calls what may round otherwise for one member after the other.

    Attributes:
        unproven: names of the functions met that are in no table: they may round otherwise than in single training.
    """

    def __init__(self, access: StackAccess) -> None:
        super().__init__()
        self._access = access
        self.unproven: set[str] = set()

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        name = getattr(func, "__name__", str(func))
        kwargs = kwargs or {}
        if not _meets_stack(args, kwargs) or (name in _MOVES and not _picks_by_tensor(name, args)):
            return func(*args, **kwargs)
        if name in _ELEMENTWISE and len(args) == 1 and is_stacked(args[0]):
            if not kwargs.get("inplace"):
                result = self._access.at_once(lambda x: func(x, **kwargs), args[0])
                if result is not None:
                    return result
        elif (
            name in _EXACT | _ARITHMETIC
            and _has_one_shape(args)
            and not (kwargs and name in _ARITHMETIC)
        ):
            return func(*args, **kwargs)
        if not self._is_separable(name, args, kwargs):
            self.unproven.add(name)
            return func(*args, **kwargs)
        # a product's last bits depend on where its operands begin in memory
        cut = member_rows if name in _PRODUCTS else Tensor.unbind
        return self._access.member_by_member(func, args, kwargs, cut)

    @staticmethod
    def _is_separable(name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
        is_known = (
            name in _ARITHMETIC or name in _ELEMENTWISE or name in _PRODUCTS or name in _SUMS
        )
        writes = kwargs.get("inplace") or "out" in kwargs or name in _WRITING
        return bool(is_known and not writes and not _holds_stacked([*args, *kwargs.values()]))


_WRITING = frozenset(
    name
    for name in _ARITHMETIC
    if name.startswith("__i") or (name.endswith("_") and not name.endswith("__"))
)


def _meets_stack(args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
    """Whether any argument is stacked; what all members share is computed once, as for one."""
    items = [*args, *kwargs.values()]
    return any(is_stacked(item) for item in items) or _holds_stacked(items)


def _holds_stacked(items: Sequence[Any]) -> bool:
    """Whether a list among the arguments holds what is stacked."""
    return any(
        is_stacked(part) for item in items if isinstance(item, (tuple, list)) for part in item
    )


def _has_one_shape(args: Sequence[Any]) -> bool:
    """Whether operands are of one shape, or numbers."""
    return len({item.shape for item in args if isinstance(item, Tensor)}) < 2


def _picks_by_tensor(name: str, args: Sequence[Any]) -> bool:
    """Whether numbers are picked by a tensor of indices, perhaps several times: the gradients are then summed."""
    indices = args[1] if name == "__getitem__" else ()
    return any(
        isinstance(item, Tensor) for item in (indices if isinstance(indices, tuple) else [indices])
    )
