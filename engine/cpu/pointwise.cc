#include <mollify/engine/cpu/pointwise.h>

#include <mollify/engine/cpu/block_pass.h>
#include <mollify/engine/cpu/threads.h>

#include <hwy/highway.h>

#include <algorithm>

namespace mollify::cpu {
namespace {

constexpr int64_t kGrain = 16384;  // numbers a range of parallel work

// Long ranges where there are many blocks, since each range fills the repeated operands anew.
int64_t grain(int64_t blocks, int64_t block_size) {
  const int64_t least = std::max<int64_t>(1, kGrain / block_size);
  return std::clamp(blocks / (4 * num_threads()), least, 16 * least);
}

void run(const BlockPass& pass, const Tensor* sum) {
  const int64_t block_size = kPassBlock / pass.period() * pass.period(),
                blocks = (pass.size() + block_size - 1) / block_size;
  Scratch<double> sums(sum ? blocks : 0);
  parallel_for(blocks, grain(blocks, block_size), [&](int64_t begin, int64_t end) {
    alignas(64) char copies[kMaxOperands + 4][kPassBlock * 8];  // touched only as far as used
    BlockPass::Range range;
    const int64_t last = std::min(end * block_size, pass.size());
    pass.start(range, copies[0], std::min(pass.size() - begin * block_size, block_size));
    const int64_t step = pass.is_whole() ? (end - begin) * block_size : block_size;
    for (int64_t first = begin * block_size; first < last; first += step) {
      const double part = pass.run_block(range, first, std::min(step, last - first), nullptr);
      if (sum) sums[first / block_size] = part;
    }
  });
  if (!sum) return;
  double total = 0;
  for (int64_t i = 0; i < blocks; ++i) total += sums[i];
  if (sum->dtype() == DType::f32) *sum->data<float>() = static_cast<float>(total);
  else *sum->data<double>() = total;
}

// Small tensors, all packed and of the output's shape or single numbers: no walk at all. False where that is not so.
template <class T>
bool run_small(const KernelArguments& a, BlockFunction block) {
  constexpr int64_t kSmall = 512;
  const Shape& shape = a.out[0].shape();
  const int64_t n = shape.size();
  if (n > kSmall || a.in.size() > 4 || a.out.size() > 1 || a.out[0].dtype() != dtype_of<T>) return false;
  alignas(64) T repeated[4][kSmall];
  const void* from[4];
  for (size_t j = 0; j < a.in.size(); ++j) {
    const Tensor& t = a.in[j];
    if (t.dtype() != dtype_of<T>) return false;
    if (t.shape() == shape && t.is_packed()) from[j] = t.data<T>();
    else if (t.size() == 1) from[j] = std::fill_n(repeated[j], n, *t.data<T>()) - n;
    else return false;
  }
  void* to = a.out[0].data<T>();
  block(from, &to, n);
  return true;
}

}  // namespace

size_t simd_target() {
  hwy::ChosenTarget& chosen = hwy::GetChosenTarget();
  if (!chosen.IsInitialized()) chosen.Update(hwy::SupportedTargets());
  return chosen.GetIndex();
}

DType pointwise_dtype(Inputs in) {
  for (const Tensor& t : in)
    if (is_floating(t.dtype())) return t.dtype();
  return DType::f64;
}

void pointwise(const KernelArguments& a, DType dtype, BlockFunction block) {
  if (dtype == DType::f32 ? run_small<float>(a, block) : run_small<double>(a, block)) return;
  run(BlockPass(block, dtype, a.in, a.out), nullptr);
}

void pointwise_sum(const KernelArguments& a, DType dtype, BlockFunction block) {
  run(BlockPass(block, dtype, a.in, a.out, /*sums_last=*/true), &a.out.back());
}

void fill(double value, const Tensor& out) { copy(Tensor::scalar(value, out.dtype()), out); }

void copy(const Tensor& x, const Tensor& out) {
  const Iteration it(out.shape(), {x, out});
  parallel_for(it.size, kGrain, [&](int64_t begin, int64_t end) { copy_elements(it, begin, end - begin); });
}

}  // namespace mollify::cpu
