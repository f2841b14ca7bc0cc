// Kernels on the emulated device: indices, barriers, warp operations, what is checked, and the runtime's memory and
// errors.
#include <cuda_bf16.h>
#include <cuda_runtime.h>
#include <emulation.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <thread>
#include <vector>

namespace {

constexpr unsigned kAll = 0xffffffffu;

// Managed by the test; read and written through copies.
template <class T>
class Array {
 public:
  explicit Array(size_t count) : count_(count) { EXPECT_EQ(cudaMalloc(&data_, count * sizeof(T)), cudaSuccess); }
  explicit Array(const std::vector<T>& values) : Array(values.size()) {
    EXPECT_EQ(cudaMemcpy(data_, values.data(), count_ * sizeof(T), cudaMemcpyHostToDevice), cudaSuccess);
  }
  ~Array() { EXPECT_EQ(cudaFree(data_), cudaSuccess); }
  Array(const Array&) = delete;
  Array& operator=(const Array&) = delete;
  T* data() const { return data_; }
  std::vector<T> values() const {
    std::vector<T> copy(count_);
    EXPECT_EQ(cudaMemcpy(copy.data(), data_, count_ * sizeof(T), cudaMemcpyDeviceToHost), cudaSuccess);
    return copy;
  }

 private:
  T* data_ = nullptr;
  size_t count_;
};

template <class... Parameters, class... Arguments>
cudaError_t launch(void (*kernel)(Parameters...), dim3 grid, dim3 block, size_t shared_bytes, Arguments... arguments) {
  cudaLaunchConfig_t config{};
  config.gridDim = grid;
  config.blockDim = block;
  config.dynamicSmemBytes = shared_bytes;
  return cudaLaunchKernelEx(&config, kernel, arguments...);
}

__global__ void double_all(float* x, int count) {
  for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < count; i += gridDim.x * blockDim.x) x[i] *= 2;
}

TEST(Kernels, GridStride) {
  std::vector<float> values(1000);
  for (int i = 0; i < 1000; ++i) values[i] = static_cast<float>(i);
  const Array<float> x(values);
  const int64_t before = emulation::launch_count();
  ASSERT_EQ(launch(double_all, 3, 128, 0, x.data(), 1000), cudaSuccess);
  EXPECT_EQ(emulation::launch_count(), before + 1);
  const std::vector<float> doubled = x.values();
  for (int i = 0; i < 1000; ++i) EXPECT_EQ(doubled[i], 2 * values[i]);
}

__global__ void write_indices(uint3* threads, uint3* blocks) {
  const unsigned thread = threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z);
  const unsigned block = blockIdx.x + gridDim.x * (blockIdx.y + gridDim.y * blockIdx.z);
  const unsigned i = block * blockDim.x * blockDim.y * blockDim.z + thread;
  __syncthreads();  // indices are right after a wait, too
  threads[i] = threadIdx;
  blocks[i] = blockIdx;
}

TEST(Kernels, IndicesInThreeDimensions) {
  const dim3 grid(3, 2, 4), block(5, 3, 2);
  const Array<uint3> threads(720), blocks(720);
  ASSERT_EQ(launch(write_indices, grid, block, 0, threads.data(), blocks.data()), cudaSuccess);
  const std::vector<uint3> got_threads = threads.values(), got_blocks = blocks.values();
  for (unsigned i = 0; i < 720; ++i) {
    const unsigned thread = i % 30, number = i / 30;
    EXPECT_TRUE(got_threads[i].x == thread % 5 && got_threads[i].y == thread / 5 % 3 && got_threads[i].z == thread / 15)
        << i;
    EXPECT_TRUE(got_blocks[i].x == number % 3 && got_blocks[i].y == number / 3 % 2 && got_blocks[i].z == number / 6)
        << i;
  }
}

__global__ void block_sums(const int* x, int* sums) {
  __shared__ int partial[1024];
  partial[threadIdx.x] = x[blockIdx.x * blockDim.x + threadIdx.x];
  __syncthreads();
  for (unsigned half = blockDim.x / 2; half > 0; half /= 2) {
    if (threadIdx.x < half) partial[threadIdx.x] += partial[threadIdx.x + half];
    __syncthreads();
  }
  if (threadIdx.x == 0) sums[blockIdx.x] = partial[0];
}

TEST(Kernels, BlockSum) {
  for (const int block : {32, 256, 1024}) {
    std::vector<int> values(5 * block);
    for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<int>(i * i % 97);
    const Array<int> x(values), sums(5);
    ASSERT_EQ(launch(block_sums, 5, block, 0, x.data(), sums.data()), cudaSuccess);
    for (int b = 0; b < 5; ++b) {
      int expected = 0;
      for (int i = 0; i < block; ++i) expected += values[b * block + i];
      EXPECT_EQ(sums.values()[b], expected);
    }
  }
}

template <class T>
__global__ void shuffles(T* out) {
  const int lane = threadIdx.x % 32;
  const T own = static_cast<T>(threadIdx.x);
  T* mine = out + threadIdx.x * 6;
  mine[0] = __shfl_sync(kAll, own, 5);
  mine[1] = __shfl_xor_sync(kAll, own, 16);
  mine[2] = __shfl_up_sync(kAll, own, 3);
  mine[3] = __shfl_down_sync(kAll, own, 3);
  mine[4] = __shfl_xor_sync(kAll, own, 1, 8);
  mine[5] = __shfl_sync(kAll, own, lane + 9, 16);
}

template <class T>
void test_shuffles() {
  const Array<T> out(96 * 6);
  ASSERT_EQ(launch(shuffles<T>, 1, 96, 0, out.data()), cudaSuccess);
  const std::vector<T> got = out.values();
  for (int i = 0; i < 96; ++i) {
    const int lane = i % 32, warp = i - lane;
    const int expected[] = {warp + 5,
                            warp + (lane ^ 16),
                            warp + (lane < 3 ? lane : lane - 3),
                            warp + (lane > 28 ? lane : lane + 3),
                            warp + (lane ^ 1),
                            warp + (lane & 16) + (lane + 9) % 16};
    for (int k = 0; k < 6; ++k) EXPECT_EQ(got[i * 6 + k], static_cast<T>(expected[k])) << i << " " << k;
  }
}

TEST(Kernels, Shuffles) {
  test_shuffles<int>();
  test_shuffles<float>();
  test_shuffles<double>();
  test_shuffles<unsigned long long>();
}

__global__ void votes(unsigned* out) {
  const int i = threadIdx.x, lane = i % 32;
  unsigned* mine = out + i * 8;
  mine[0] = __ballot_sync(kAll, lane % 3 == 0);
  mine[1] = __any_sync(kAll, i == 40);
  mine[2] = __all_sync(kAll, i >= 32);
  mine[3] = __syncthreads_count(i % 2 == 0);
  mine[4] = __syncthreads_or(i == 63);
  mine[5] = __syncthreads_or(0);
  mine[6] = __syncthreads_and(i != 17);
  mine[7] = __syncthreads_and(i >= 0);
}

TEST(Kernels, Votes) {
  const Array<unsigned> out(64 * 8);
  ASSERT_EQ(launch(votes, 1, 64, 0, out.data()), cudaSuccess);
  const std::vector<unsigned> got = out.values();
  for (unsigned i = 0; i < 64; ++i) {
    const unsigned expected[] = {0x49249249u, i >= 32, i >= 32, 32, 1, 0, 0, 1};
    for (int k = 0; k < 8; ++k) EXPECT_EQ(got[i * 8 + k], expected[k]) << i << " " << k;
  }
}

// Half of the warps leave before a barrier, odd lanes of the others before a shuffle.
__global__ void early_exits(int* out) {
  const int i = threadIdx.x;
  if (i / 32 % 2 == 1) return;
  __syncthreads();
  out[i] = 1;
  if (i % 2 == 1) return;
  out[i] = __shfl_xor_sync(kAll, i, 2);
  const float none = __shfl_sync(kAll, 1.0f, 1);  // from a lane that has left
  if (none != none && __activemask() == 0x55555555u) out[i] += 1000;
  __syncthreads();
}

TEST(Kernels, EarlyExits) {
  const Array<int> out(128);
  ASSERT_EQ(launch(early_exits, 2, 128, 0, out.data()), cudaSuccess);
  const std::vector<int> got = out.values();
  for (int i = 0; i < 128; ++i) EXPECT_EQ(got[i], i / 32 % 2 == 1 ? -1 : i % 2 == 1 ? 1 : (i ^ 2) + 1000) << i;
}

// Each half of the warp meets by itself, at its own pace.
__global__ void halves(int* out) {
  const int lane = threadIdx.x;
  const unsigned mask = lane < 16 ? 0xffffu : 0xffff0000u;
  int sum = lane;
  for (int round = 0; round < (lane < 16 ? 1 : 3); ++round) sum += __shfl_xor_sync(mask, sum, 1);
  __syncwarp();
  out[lane] = sum;
}

TEST(Kernels, PartialMasks) {
  const Array<int> out(32);
  ASSERT_EQ(launch(halves, 1, 32, 0, out.data()), cudaSuccess);
  for (int lane = 0; lane < 32; ++lane) EXPECT_EQ(out.values()[lane], (2 * (lane & ~1) + 1) * (lane < 16 ? 1 : 4));
}

__global__ void reverse(float* x, float* fresh) {
  float* shared = reinterpret_cast<float*>(emulated_dynamic_shared());
  if (threadIdx.x == 0) fresh[blockIdx.x] = shared[0];
  __syncthreads();
  shared[threadIdx.x] = x[blockIdx.x * blockDim.x + threadIdx.x];
  __syncthreads();
  x[blockIdx.x * blockDim.x + threadIdx.x] = shared[blockDim.x - 1 - threadIdx.x];
}

TEST(Kernels, DynamicSharedMemory) {
  std::vector<float> values(128);
  for (int i = 0; i < 128; ++i) values[i] = static_cast<float>(i);
  const Array<float> x(values), fresh(2);
  ASSERT_EQ(launch(reverse, 2, 64, 64 * sizeof(float), x.data(), fresh.data()), cudaSuccess);
  const std::vector<float> got = x.values();
  for (int i = 0; i < 128; ++i) EXPECT_EQ(got[i], static_cast<float>(i / 64 * 64 + 63 - i % 64));
  for (const float value : fresh.values()) EXPECT_TRUE(std::isnan(value));
  EXPECT_EQ(launch(reverse, 2, 64, 64 << 10, x.data(), fresh.data()), cudaErrorInvalidValue);
  EXPECT_EQ(cudaFuncSetAttribute(reverse, cudaFuncAttributeMaxDynamicSharedMemorySize, 228 << 10),
            cudaErrorInvalidValue);
  EXPECT_EQ(cudaFuncSetAttribute(reverse, cudaFuncAttributeMaxDynamicSharedMemorySize, 64 << 10), cudaSuccess);
  EXPECT_EQ(launch(reverse, 2, 64, 64 << 10, x.data(), fresh.data()), cudaSuccess);
  cudaFuncAttributes attributes;
  ASSERT_EQ(cudaFuncGetAttributes(&attributes, reverse), cudaSuccess);
  EXPECT_EQ(attributes.maxDynamicSharedSizeBytes, 64 << 10);
}

__global__ void atomics(int* ints, float* sum, unsigned long long* wide) {
  atomicAdd(sum, 0.5f);
  atomicAdd(&ints[0], 1);
  atomicMax(&ints[1], static_cast<int>(threadIdx.x));
  atomicMin(&ints[2], -static_cast<int>(threadIdx.x));
  if (atomicCAS(&ints[3], 0, 7) == 0) atomicAdd(&ints[4], 1);
  atomicOr(&ints[5], 1 << threadIdx.x % 4);
  atomicAdd(wide, 1ull << 40);
}

TEST(Kernels, Atomics) {
  const Array<int> ints(std::vector<int>(6, 0));
  const Array<float> sum(std::vector<float>{0});
  const Array<unsigned long long> wide(std::vector<unsigned long long>{0});
  ASSERT_EQ(launch(atomics, 2, 50, 0, ints.data(), sum.data(), wide.data()), cudaSuccess);
  EXPECT_EQ(ints.values(), (std::vector<int>{100, 49, -49, 7, 1, 15}));
  EXPECT_EQ(sum.values()[0], 50.0f);
  EXPECT_EQ(wide.values()[0], 100ull << 40);
}

TEST(Kernels, SeveralHostThreads) {
  const Array<float> x(std::vector<float>(512, 1.0f));
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([&] { EXPECT_EQ(launch(double_all, 2, 64, 0, x.data(), 512), cudaSuccess); });
  for (std::thread& thread : threads) thread.join();
  for (const float value : x.values()) EXPECT_EQ(value, 16.0f);
}

TEST(Kernels, LaunchErrors) {
  float* none = nullptr;
  EXPECT_EQ(launch(double_all, 0, 32, 0, none, 0), cudaErrorInvalidConfiguration);
  EXPECT_EQ(launch(double_all, 1, 0, 0, none, 0), cudaErrorInvalidConfiguration);
  EXPECT_EQ(launch(double_all, 1, 1025, 0, none, 0), cudaErrorInvalidConfiguration);
  EXPECT_EQ(launch(double_all, 1, dim3(1, 1, 65), 0, none, 0), cudaErrorInvalidConfiguration);
  EXPECT_EQ(launch(double_all, dim3(1, 65536), 1, 0, none, 0), cudaErrorInvalidConfiguration);
  EXPECT_EQ(launch(static_cast<void (*)(float*, int)>(nullptr), 1, 1, 0, none, 0), cudaErrorInvalidDeviceFunction);
  EXPECT_EQ(cudaPeekAtLastError(), cudaErrorInvalidDeviceFunction);
  EXPECT_EQ(cudaGetLastError(), cudaErrorInvalidDeviceFunction);
  EXPECT_EQ(cudaGetLastError(), cudaSuccess);
  EXPECT_STREQ(cudaGetErrorName(cudaErrorInvalidConfiguration), "cudaErrorInvalidConfiguration");
  int blocks = 0;
  EXPECT_EQ(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, double_all, 256, 0), cudaSuccess);
  EXPECT_EQ(blocks, 8);
}

__global__ void barrier_or_shuffle() {
  if (threadIdx.x < 16) __syncthreads();
  else __syncwarp();
}
__global__ void two_barriers() {
  if (threadIdx.x >= 32) __syncthreads();
  if (threadIdx.x < 32) __syncthreads();
}
__global__ void two_shuffles(int* out) {
  if (threadIdx.x < 16) out[threadIdx.x] = __shfl_sync(kAll, 1, 0);
  if (threadIdx.x >= 16) out[threadIdx.x] = __shfl_sync(kAll, 2, 0);
}
__global__ void foreign_mask() { __syncwarp(1u); }
__global__ void part_of_a_product() {
  float d[4] = {};
  const unsigned a[4] = {}, b[2] = {};
  if (threadIdx.x < 31) emulated_mma_m16n8k8_tf32(d, a, b);
}

TEST(KernelsDeathTest, PlacesThatNotAllThreadsReach) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  const Array<int> out(64);
  EXPECT_DEATH((void)launch(barrier_or_shuffle, 1, 32, 0),
               "wait for each other(.|\n)*16 threads, first \\(0,0,0\\), wait in __syncthreads(.|\n)*__syncwarp");
  EXPECT_DEATH(
      (void)launch(two_barriers, 1, 64, 0),
      "thread \\(32,0,0\\): __syncthreads at .*emulation_test.cc:.*\\(0,0,0\\) of the block waits in __syncthreads");
  EXPECT_DEATH((void)launch(two_shuffles, 1, 32, 0, out.data()), "__shfl_sync.*meet at one place with one mask only");
  EXPECT_DEATH((void)launch(foreign_mask, 1, 2, 0), "lacks the calling lane 1");
  EXPECT_DEATH((void)launch(part_of_a_product, 1, 32, 0), "only the lanes 7fffffff");
  EXPECT_DEATH(__syncthreads(), "__syncthreads outside a kernel");
}

TEST(Memory, FreshMemoryIsNan) {
  const Array<double> x(3);
  for (const double value : x.values()) EXPECT_TRUE(std::isnan(value));
}

TEST(Memory, Limit) {
  const size_t before = emulation::allocated_bytes();
  const int64_t count = emulation::allocation_count();
  emulation::set_memory_limit(before + 1000);
  void *first = nullptr, *second = nullptr;
  EXPECT_EQ(cudaMalloc(&first, 600), cudaSuccess);
  EXPECT_EQ(cudaMalloc(&second, 600), cudaErrorMemoryAllocation);
  EXPECT_EQ(cudaGetLastError(), cudaErrorMemoryAllocation);
  size_t free = 0, total = 0;
  EXPECT_EQ(cudaMemGetInfo(&free, &total), cudaSuccess);
  EXPECT_EQ(free, 400u);
  EXPECT_EQ(total, before + 1000);
  EXPECT_EQ(emulation::allocation_count(), count + 1);
  EXPECT_EQ(emulation::allocated_bytes(), before + 600);
  EXPECT_EQ(cudaFree(first), cudaSuccess);
  EXPECT_EQ(cudaMalloc(&second, 1000), cudaSuccess);
  EXPECT_EQ(cudaFree(second), cudaSuccess);
  EXPECT_EQ(emulation::allocated_bytes(), before);
  emulation::set_memory_limit(size_t{16} << 30);
}

TEST(Memory, Copies) {
  const Array<int> x(std::vector<int>{1, 2, 3, 4, 5, 6}), y(6);
  int host[6] = {};
  EXPECT_EQ(cudaMemcpyAsync(y.data(), x.data(), 24, cudaMemcpyDeviceToDevice), cudaSuccess);
  EXPECT_EQ(cudaMemcpyAsync(host, y.data(), 24, cudaMemcpyDefault), cudaSuccess);
  EXPECT_EQ(host[5], 6);
  EXPECT_EQ(cudaMemcpy2DAsync(y.data(), 8, x.data(), 12, 8, 2, cudaMemcpyDeviceToDevice), cudaSuccess);
  EXPECT_EQ(y.values(), (std::vector<int>{1, 2, 4, 5, 5, 6}));
  EXPECT_EQ(cudaMemsetAsync(y.data(), 0, 8), cudaSuccess);
  EXPECT_EQ(y.values(), (std::vector<int>{0, 0, 4, 5, 5, 6}));
  EXPECT_EQ(cudaMemcpy(host, x.data(), 28, cudaMemcpyDeviceToHost), cudaErrorInvalidValue);
  EXPECT_EQ(cudaMemcpy(host, x.data(), 24, cudaMemcpyHostToDevice), cudaErrorInvalidValue);
  EXPECT_EQ(cudaMemcpy(nullptr, x.data(), 24, cudaMemcpyDeviceToHost), cudaErrorInvalidValue);
  EXPECT_EQ(cudaMemset(host, 0, 24), cudaErrorInvalidValue);
  EXPECT_EQ(cudaMemcpy2DAsync(y.data(), 4, x.data(), 12, 8, 2, cudaMemcpyDeviceToDevice), cudaErrorInvalidPitchValue);
  EXPECT_EQ(cudaFree(host), cudaErrorInvalidValue);
  EXPECT_EQ(cudaGetLastError(), cudaErrorInvalidValue);
}

TEST(Memory, NoDevice) {
  ASSERT_EQ(setenv("MOLLIFY_EMULATED_DEVICES", "0", 1), 0);
  int count = 5;
  EXPECT_EQ(cudaGetDeviceCount(&count), cudaErrorNoDevice);
  EXPECT_EQ(count, 0);
  void* pointer = nullptr;
  EXPECT_EQ(cudaMalloc(&pointer, 4), cudaErrorNoDevice);
  EXPECT_EQ(launch(foreign_mask, 1, 1, 0), cudaErrorNoDevice);
  ASSERT_EQ(unsetenv("MOLLIFY_EMULATED_DEVICES"), 0);
  EXPECT_EQ(cudaGetLastError(), cudaErrorNoDevice);
  EXPECT_EQ(cudaGetDeviceCount(&count), cudaSuccess);
  EXPECT_EQ(count, 1);
}

TEST(Mathematics, BitsAndRounding) {
  EXPECT_EQ(__brev(1u), 0x80000000u);
  EXPECT_EQ(__clz(0), 32);
  EXPECT_EQ(__ffs(8), 4);
  EXPECT_EQ(__umulhi(0x80000000u, 6), 3u);
  EXPECT_EQ(__umul64hi(1ull << 63, 6), 3u);
  EXPECT_EQ(__float2int_rn(2.5f), 2);
  EXPECT_EQ(__float2int_rn(1e20f), 2147483647);
  EXPECT_EQ(__float2int_rz(std::nanf("")), 0);
  EXPECT_EQ(sinpif(1e6f + 0.5f), 1.0f);
  EXPECT_EQ(cospi(0.5), 0.0);
  EXPECT_EQ(cospi(1.0), -1.0);
  EXPECT_EQ(sinpi(2.0), 0.0);
  EXPECT_NEAR(sinpi(-1.0 / 6), -0.5, 1e-16);
  EXPECT_EQ(rsqrtf(4.0f), 0.5f);
  EXPECT_EQ(min(3, 2u), 2u);
  EXPECT_EQ(max(1.5f, std::nanf("")), 1.5f);
}

TEST(Mathematics, Bf16) {
  EXPECT_EQ(__bfloat162float(__float2bfloat16(1.0f)), 1.0f);
  EXPECT_EQ(__bfloat162float(__float2bfloat16(1.00390625f)), 1.0f);       // a tie, to even
  EXPECT_EQ(__bfloat162float(__float2bfloat16(1.01171875f)), 1.015625f);  // a tie, to even
  EXPECT_EQ(__bfloat162float(__float2bfloat16(3.4e38f)), INFINITY);
  EXPECT_TRUE(std::isnan(__bfloat162float(__float2bfloat16(__uint_as_float(0x7f800001u)))));
  const __nv_bfloat162 pair = __floats2bfloat162_rn(2.0f, -3.0f);
  EXPECT_EQ(__bfloat162float(pair.x), 2.0f);
  EXPECT_EQ(__high2float(pair), -3.0f);
}

}  // namespace
