// Networks in ONNX files, as far as feed-forward, convolutional and residual ones need it.
#pragma once

#include <mollify/nn/network.h>

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>

#pragma GCC visibility push(default)
namespace mollify::nn::formats {

// The network is a pure function of (weights, x) in f32 or f64 for any number of rows, and each row's output is what
// the file computes for a batch of one. An input of two axes or more whose first one is symbolic or of extent 1, such
// as (1, 784, 1), has a batch axis: it becomes the row axis. Any other input, such as (1) or (3, 32, 32), gets the row
// axis in front, and so does every value of the graph (W·x with a constant left operand is then a product of rows). x
// and the output are in the file's order of axes ([N, C, H, W] for images) with the row axis first; a first extent of 1
// is left out of an output of two axes or more.
struct OnnxModel {
  Network network;
  Tensor weights;       // flat, f32; f64 where the file has numbers that f32 would round
  Shape input, output;  // with the batch axis, where there is one; symbolic extents as 1
  bool batched;         // whether the input has a batch axis
};

// Reads Abs, Add, AveragePool, BatchNormalization, Cast, Clip, Concat, Constant, ConstantOfShape, Conv, Cos, Div,
// Dropout, Elu, Erf, Exp, Flatten, Gelu, Gemm, GlobalAveragePool, Identity, LeakyRelu, Log, MatMul, MaxPool, Mul, Neg,
// Pad, ReduceMean, ReduceSum, Relu, Reshape, Sigmoid, Sin, Slice, Softmax (as the last operator), Softplus, Split,
// Sqrt, Squeeze, Sub, Tanh, Transpose, Unsqueeze, and Shape and Gather where they compute a constant shape; all in
// inference mode, images in two dimensions. Windows, axes and shapes are constant.
// Floating initializers and constants that reach the output are the network's weights, under their names, in the order
// of their first use. Attributes that are not given are the standard's floats. The kernels of convolutions lie as [O,
// KH, KW, C/groups], all others as in the file. Parts that do not reach the output are left out. Traces of the network
// name operations "node 'NAME' (TYPE)", nameless nodes by their first output, and "output 'NAME'" where an image gets
// the file's order of axes at the end.
//
// Files packed by gzip are read too. Throws FormatError that begins with the file's name and names the node or tensor
// at fault: damaged files, operators, attributes and number types other than these, tensors in other files, shapes that
// do not fit, values of more than 2^26 numbers a row, more than one input or output. All of it is found here, and
// nothing is left to the first evaluation. Throws Error in a build without ONNX.
OnnxModel read_onnx(const std::filesystem::path& path);

// The same of a file's bytes (not packed); `name` stands for the file in errors.
OnnxModel parse_onnx(const std::string& name, std::span<const uint8_t> bytes);

}  // namespace mollify::nn::formats
#pragma GCC visibility pop
