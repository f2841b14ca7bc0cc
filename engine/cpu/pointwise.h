// Elementwise kernels: a formula over contiguous blocks (pointwise-inl.h) and the walk over strided, broadcast operands
// (pointwise.cc).
#pragma once

#include <mollify/engine/op.h>

namespace mollify::cpu {

// The dtype that a formula computes in: that of the first floating operand; f64 where there is none, which holds every
// i32 and u8 exactly.
DType pointwise_dtype(Inputs in);

// Runs `block` over all of a.out. Operands of `dtype` are read and written in place where they are contiguous; the
// others (strided, repeated, or of another dtype, such as masks) pass through blocks of converted copies.
void pointwise(const KernelArguments& a, DType dtype, BlockFunction block);

// The same, but the formula's last output is summed into the last tensor of a.out, a single number, in an order that
// the shape decides.
// Where nothing else is stored the walk is over input 0, to which the others broadcast.
void pointwise_sum(const KernelArguments& a, DType dtype, BlockFunction block);

// Writes the value, converted as in C++, to all of out.
void fill(double value, const Tensor& out);

// Copies x to out, which may be strided and of another dtype (numbers convert as in C++); x broadcasts to out's shape.
void copy(const Tensor& x, const Tensor& out);

// Place of the machine's best SIMD target in Highway's dispatch tables.
size_t simd_target();

}  // namespace mollify::cpu
