"""Types of arguments, for signatures."""

import collections.abc
import typing

if typing.TYPE_CHECKING:
    import mollify._core

DType = typing.Literal["f32", "f64", "i32", "u8", "float32", "float64", "int32", "uint8"]
Device = typing.Literal["cpu", "cuda"]


@typing.runtime_checkable
class SupportsDLPack(typing.Protocol):
    """An array of any library."""

    def __dlpack__(self) -> typing.Any: ...


# A tensor, an array of another library, which is seen in place, or a number.
TensorLike = typing.Union["mollify._core.Tensor", SupportsDLPack, float]

# A number, or a function of the step.
Schedule = typing.Union[float, collections.abc.Callable[[int], float]]

# A standard deviation: a number, a tensor, a function of the step, or a mollify.smoothing.Sigma.
Sigma = typing.Union[TensorLike, collections.abc.Callable[[int], float], "mollify._core.smoothing.Sigma"]

# x[key]: ints, slices, None and ..., one list or mask, and tuples of them.
Key = typing.Any
