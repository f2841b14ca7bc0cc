#include <mollify/engine/cuda/pointwise.cuh>

#include <mollify/engine/cpu/pointwise.h>
#include <mollify/engine/cuda/reduce.h>

namespace mollify::cuda {
namespace {

constexpr int64_t kMostSums = 1024;

bool is_multiple(const void* data, int64_t bytes) {
  return reinterpret_cast<uintptr_t>(data) % static_cast<uintptr_t>(bytes) == 0;
}

// Describes operand j as numbers that repeat all along the walk: each of them `repeat` times, and these `period`
// numbers over and over.
// False where it is not so.
bool find_pattern(const cpu::Iteration& it, int j, int64_t& repeat, int64_t& period) {
  const int64_t* strides = it.operands[static_cast<size_t>(j)].strides;
  int axis = it.rank - 1;
  for (repeat = 1; axis >= 0 && strides[axis] == 0; --axis) repeat *= it.extents[axis];
  for (period = 1; axis >= 0 && strides[axis] == period; --axis) period *= it.extents[axis];
  for (; axis >= 0; --axis)
    if (strides[axis] != 0) return false;
  return true;
}

// Parts of one walk in launches of one kernel each.
class Launcher {
 public:
  Launcher(const KernelArguments& a, DType dtype, const PointwiseKernels& kernels, bool sums_last)
      : a_(a),
        dtype_(dtype),
        kernels_(kernels),
        sums_last_(sums_last),
        stored_(a.out.size() - sums_last),
        lanes_(16 / size_of(dtype)) {}

  // Blocks of a launch that sums: a function of the size alone, not of the device.
  int64_t sums_of(const cpu::Iteration& part) const {
    return std::min(kMostSums, (part.size + kPointwiseBlock * lanes_ - 1) / (kPointwiseBlock * lanes_));
  }

  void run(const cpu::Iteration& part, int64_t before, double* sums) const {
    VectorArguments vectors{};
    if (describe(part, before, vectors)) {
      vectors.sums = sums;
      launch("elementwise", kernels_.vector, grid(part), dim3(kPointwiseBlock), 0, vectors);
      return;
    }
    StridedArguments strided{};
    strided.axes = Axes(part);
    for (int j = 0; j < part.count; ++j) {
      const cpu::Operand& operand = part.operands[static_cast<size_t>(j)];
      strided.in[j] = {operand.data(), operand.dtype, {}};
      std::copy_n(operand.strides, kMaxRank, strided.in[j].strides);
    }
    for (size_t k = 0; k < stored_; ++k) strided.out[k] = {target(k, before), a_.out[k].dtype()};
    strided.size = static_cast<uint32_t>(part.size);
    strided.sums = sums;
    launch("elementwise", kernels_.strided, grid(part), dim3(kPointwiseBlock), 0, strided);
  }

 private:
  dim3 grid(const cpu::Iteration& part) const {
    return dim3(sums_last_ ? static_cast<unsigned>(sums_of(part))
                           : grid_for((part.size + lanes_ - 1) / lanes_, kPointwiseBlock));
  }

  void* target(size_t k, int64_t before) const { return a_.out[k].first_byte() + before * size_of(a_.out[k].dtype()); }

  // False where some operand is no matter for the vector kernel.
  bool describe(const cpu::Iteration& part, int64_t before, VectorArguments& to) const {
    to.size = static_cast<uint32_t>(part.size);
    for (size_t k = 0; k < stored_; ++k) {
      const DType dtype = a_.out[k].dtype();
      if (dtype != dtype_ && dtype != DType::u8) return false;
      void* data = target(k, before);
      to.out[k] = {data, dtype == DType::u8, is_multiple(data, lanes_ * size_of(dtype))};
    }
    for (int j = 0; j < part.count; ++j) {
      const cpu::Operand& operand = part.operands[static_cast<size_t>(j)];
      int64_t repeat, period;
      if ((operand.dtype != dtype_ && operand.dtype != DType::u8) || !find_pattern(part, j, repeat, period))
        return false;
      const Source::How how = period == 1                          ? Source::single
                              : repeat == 1 && period == part.size ? Source::linear
                                                                   : Source::repeated;
      const bool whole = operand.dtype == dtype_ && repeat == 1 && (how == Source::linear || period % lanes_ == 0) &&
                         is_multiple(operand.data(), 16);
      to.in[j] = {operand.data(), how, operand.dtype == DType::u8, whole, Divider(repeat), Divider(period)};
    }
    return true;
  }

  const KernelArguments& a_;
  DType dtype_;
  const PointwiseKernels& kernels_;
  bool sums_last_;
  size_t stored_;
  int64_t lanes_;  // numbers a thread takes at once
};

template <class T>
void run(const KernelArguments& a, const PointwiseKernels& kernels, bool sums_last) {
  const bool stores = a.out.size() > static_cast<size_t>(sums_last);
  const cpu::Iteration it(stores ? a.out[0].shape() : a.in[0].shape(), a.in);
  const Launcher launcher(a, dtype_of<T>, kernels, sums_last);
  if (!sums_last)
    return for_parts(it, [&](const cpu::Iteration& part, int64_t before) { launcher.run(part, before, nullptr); });
  int64_t count = 0;
  for_parts(it, [&](const cpu::Iteration& part, int64_t) { count += launcher.sums_of(part); });
  const Scratch<double> sums(count);
  int64_t done = 0;
  for_parts(it, [&](const cpu::Iteration& part, int64_t before) {
    launcher.run(part, before, sums.data() + done);
    done += launcher.sums_of(part);
  });
  finish_sum(sums.data(), count, a.out.back().template address<T>());
}

}  // namespace

void run_pointwise(const KernelArguments& a, const PointwiseKernels& f32, const PointwiseKernels& f64, bool sums_last) {
  if (cpu::pointwise_dtype(a.in) == DType::f32) run<float>(a, f32, sums_last);
  else run<double>(a, f64, sums_last);
}

}  // namespace mollify::cuda
