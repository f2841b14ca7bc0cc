"""Files of other programs: NumPy's arrays, ONNX networks, VNN-LIB properties."""

import os

import mollify._core as _core
from mollify._core.nn import read_npy, read_npz, write_npy, write_npz
from mollify._core.nn.bounds import Property, parse_vnnlib, read_vnnlib


def read_onnx(path: "str | os.PathLike[str]") -> "tuple[_core.nn.Network, _core.Tensor]":
    """(network, weights) of an ONNX file; inputs and outputs are in the file's order of axes, rows first."""
    from mollify import _onnx  # loads protobuf

    return _onnx.read_onnx(path)
