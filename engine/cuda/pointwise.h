// The CUDA kernels of elementwise formulas as host code sees them: names only, so that no file of ops/ needs nvcc.
//
// A formula (`struct Add : Pointwise<Add, 2>`, in an .inl file) is included in namespace mollify::cuda twice. By a .cc
// file, after this header, where Add::kernel names a function that is defined elsewhere; and by a .cu file, after
// pointwise.cuh, where the function has its definition. That nothing there calls it does no harm: `Emitted` has each
// base class instantiate it, and `used` has it emitted.
#pragma once

#include <mollify/engine/op.h>

namespace mollify::cuda {

template <auto>
struct Name;

// Runs the formula over a.out as the CPU's kernel does: operands broadcast, may be strided, and are read in any dtype.
template <class Formula, int in_count, int out_count = 1>
struct Pointwise {
  __attribute__((used)) static void kernel(const KernelArguments& a);
  using Emitted = Name<&kernel>;
};

// The same, but the formula's last output is summed into the last tensor of a.out, a single number; the shape decides
// the order. Where nothing else is stored, input 0 has the shape to which the others broadcast.
template <class Formula, int in_count, int out_count = 1>
struct PointwiseSum {
  __attribute__((used)) static void kernel(const KernelArguments& a);
  using Emitted = Name<&kernel>;
};

}  // namespace mollify::cuda

// For an Op's `cuda`.
#ifdef MOLLIFY_CUDA
#define MOLLIFY_CUDA_POINTWISE(Formula) ::mollify::cuda::Formula::kernel
#else
#define MOLLIFY_CUDA_POINTWISE(Formula) nullptr
#endif
