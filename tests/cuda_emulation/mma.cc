#include <cuda_runtime.h>

namespace emulation {
namespace {

constexpr int kRows = 16, kColumns = 8, kDepth = 16;

struct Operands {
  float* d;
  const unsigned *a, *b;
};

float tf32(unsigned bits) { return __uint_as_float(bits & 0xffffe000u); }
float bf16(unsigned pair, int half) { return __uint_as_float(half == 0 ? pair << 16 : pair & 0xffff0000u); }

// One lane's registers are put into them by the functions below.
struct Matrices {
  float a[kRows][kDepth], b[kDepth][kColumns];
};

void put_tf32_k8(Matrices& to, const Operands& from, int group, int member) {
  for (int i = 0; i < 4; ++i) to.a[group + 8 * (i % 2)][member + 4 * (i / 2)] = tf32(from.a[i]);
  for (int i = 0; i < 2; ++i) to.b[member + 4 * i][group] = tf32(from.b[i]);
}

void put_tf32_k4(Matrices& to, const Operands& from, int group, int member) {
  for (int i = 0; i < 2; ++i) to.a[group + 8 * i][member] = tf32(from.a[i]);
  to.b[member][group] = tf32(from.b[0]);
}

void put_bf16_k16(Matrices& to, const Operands& from, int group, int member) {
  for (int half = 0; half < 2; ++half) {
    for (int i = 0; i < 4; ++i) to.a[group + 8 * (i % 2)][2 * member + 8 * (i / 2) + half] = bf16(from.a[i], half);
    for (int i = 0; i < 2; ++i) to.b[2 * member + 8 * i + half][group] = bf16(from.b[i], half);
  }
}

template <int depth, void (*put)(Matrices&, const Operands&, int, int)>
void combine(void* const (&arguments)[32], unsigned lanes) {
  if (lanes != 0xffffffffu) fail("mma: only the lanes %08x of the warp take part; all 32 are needed", lanes);
  Matrices matrices;
  for (int lane = 0; lane < 32; ++lane)
    put(matrices, *static_cast<const Operands*>(arguments[lane]), lane / 4, lane % 4);
  for (int lane = 0; lane < 32; ++lane) {
    for (int i = 0; i < 4; ++i) {
      const int row = lane / 4 + 8 * (i / 2), column = 2 * (lane % 4) + i % 2;
      float& d = static_cast<const Operands*>(arguments[lane])->d[i];
      double sum = d;
      for (int k = 0; k < depth; ++k) sum += static_cast<double>(matrices.a[row][k]) * matrices.b[k][column];
      d = static_cast<float>(sum);
    }
  }
}

template <int depth, void (*put)(Matrices&, const Operands&, int, int)>
void multiply(Operands operands, Place place) {
  meet_warp(combine<depth, put>, &operands, 0xffffffffu, place);
}

}  // namespace
}  // namespace emulation

using namespace emulation;

void emulated_mma_m16n8k8_tf32(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2], const char* file,
                               int line) {
  multiply<8, put_tf32_k8>({d, a, b}, {"emulated_mma_m16n8k8_tf32", file, line});
}

void emulated_mma_m16n8k4_tf32(float (&d)[4], const unsigned (&a)[2], unsigned b, const char* file, int line) {
  multiply<4, put_tf32_k4>({d, a, &b}, {"emulated_mma_m16n8k4_tf32", file, line});
}

void emulated_mma_m16n8k16_bf16(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2], const char* file,
                                int line) {
  multiply<16, put_bf16_k16>({d, a, b}, {"emulated_mma_m16n8k16_bf16", file, line});
}
