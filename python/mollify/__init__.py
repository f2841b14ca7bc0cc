"""mollify: tensors, gradients and mollified neural networks.

Functions are named as in C++, and so are the submodules nn, nn.bounds, optim, smoothing and datasets. Arrays of NumPy,
PyTorch and of whatever speaks DLPack stand where tensors do, without copies; tensors are arrays to them.
mollify.torch makes the smoothed activations functions of PyTorch.
"""

from mollify._core import *  # noqa: F401,F403

del datasets, nn, optim, smoothing  # the compiled parts of those that follow
from mollify import datasets, errors, nn, optim, smoothing
from mollify.errors import (
    ArgumentError,
    DeviceError,
    DTypeError,
    Error,
    FormatError,
    GraphError,
    MissingDataError,
    OutOfMemoryError,
    ShapeError,
)
