// Tensor cores and asynchronous copies to shared memory, by PTX; in the emulation by plain C++.
#pragma once

#include <mollify/engine/cuda/device.cuh>

#ifndef __CUDACC__
#include <cuda_bf16.h>
#include <mma_emulation.h>
#endif

namespace mollify::cuda {

// The float rounded to 10 bits of fraction, half away from zero; NaN stays NaN.
__device__ inline unsigned to_tf32(float value) {
#ifdef __CUDACC__
  unsigned bits;
  asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(bits) : "f"(value));
  return bits;
#else
  return value != value ? 0x7fffffffu : (__float_as_uint(value) + 0x1000u) & 0xffffe000u;
#endif
}

// Two floats rounded to nearest even; `low` in the lower half.
__device__ inline unsigned to_bf16_pair(float low, float high) {
#ifdef __CUDACC__
  unsigned pair;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
  return pair;
#else
  return __bfloat16_as_ushort(__float2bfloat16_rn(low)) |
         static_cast<unsigned>(__bfloat16_as_ushort(__float2bfloat16_rn(high))) << 16;
#endif
}

// d += a · b by a whole warp, fragments as the PTX ISA lays them out for mma.m16n8k8 (tf32) and m16n8k16 (bf16). With
// group = lane / 4 and member = lane % 4, d[i] stands at row group + 8·(i / 2), column 2·member + i % 2.
__device__ inline void mma_tf32(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
#ifdef __CUDACC__
  asm("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, "
      "%3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#else
  emulated_mma_m16n8k8_tf32(d, a, b);
#endif
}

__device__ inline void mma_bf16(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
#ifdef __CUDACC__
  asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, "
      "%3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#else
  emulated_mma_m16n8k16_bf16(d, a, b);
#endif
}

// Four floats from shared memory, as ldmatrix deals them out: lane l names the 16 bytes where row l % 8 of matrix l / 8
// begins (8 rows of four floats each), and gets of each matrix the float at row l / 4, column l % 4.
__device__ inline void load_matrices(const float* row, float (&values)[4]) {
#ifdef __CUDACC__
  const unsigned from = static_cast<unsigned>(__cvta_generic_to_shared(row));
  unsigned bits[4];
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(bits[0]), "=r"(bits[1]), "=r"(bits[2]), "=r"(bits[3])
               : "r"(from)
               : "memory");
#pragma unroll
  for (int i = 0; i < 4; ++i) values[i] = __uint_as_float(bits[i]);
#else
  const int lane = threadIdx.x % 32;
  for (int i = 0; i < 4; ++i) {
    const auto address = __shfl_sync(kAllLanes, reinterpret_cast<unsigned long long>(row), i * 8 + lane / 4);
    values[i] = reinterpret_cast<const float*>(address)[lane % 4];
  }
#endif
}

// Starts to copy 16 bytes, or zeros where `exists` is false, past the registers. Both addresses must be aligned; `from`
// is not read if nothing exists there, but must be a valid address.
__device__ inline void copy_async(float* shared, const float* from, bool exists) {
#ifdef __CUDACC__
  const unsigned to = static_cast<unsigned>(__cvta_generic_to_shared(shared));
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(from), "r"(exists ? 16 : 0) : "memory");
#else
  *reinterpret_cast<float4*>(shared) = exists ? *reinterpret_cast<const float4*>(from) : float4{};
#endif
}

// Closes a group of copies.
__device__ inline void commit_copies() {
#ifdef __CUDACC__
  asm volatile("cp.async.commit_group;" ::: "memory");
#endif
}

// Waits until at most kOpen of this thread's groups are still under way; other threads' copies need a barrier after it.
template <int kOpen>
__device__ inline void wait_copies() {
#ifdef __CUDACC__
  asm volatile("cp.async.wait_group %0;" ::"n"(kOpen) : "memory");
#endif
}

}  // namespace mollify::cuda
