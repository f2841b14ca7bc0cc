// Rows through lines: kernels that read the rows once, and their gradients.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "mollify/nn/bounds/ops.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#ifndef MOLLIFY_NN_BOUNDS_OPS_ARGUMENTS
#define MOLLIFY_NN_BOUNDS_OPS_ARGUMENTS
#include <cstdint>
namespace mollify::nn::bounds {

// One row of n coefficients and its lines; null where there is none. out = row·slope, sum = Σ row·intercept.
template <class T>
struct RowForward {
  const T *row, *slope[2], *intercept[2];
  T *out, *sum;
  int64_t n;
};

// Its gradients: to_row is set; what belongs to the lines is added to.
template <class T>
struct RowBackward {
  const T *row, *slope[2], *intercept[2];
  const T* to_out;
  T to_sum;
  T *to_row, *to_slope[2], *to_intercept[2];
  int64_t n;
};

}  // namespace mollify::nn::bounds
#endif

HWY_BEFORE_NAMESPACE();
namespace mollify::nn::bounds::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

template <class D, class T, class V = hn::Vec<D>>
HWY_INLINE V chosen(D d, hn::Mask<D> nonnegative, const T* const* pair, int64_t i) {
  const V negative = hn::LoadU(d, pair[1] + i);
  if (!pair[0]) return hn::IfThenZeroElse(nonnegative, negative);
  return hn::IfThenElse(nonnegative, hn::LoadU(d, pair[0] + i), negative);
}

template <bool slopes, class D, class T, class V = hn::Vec<D>>
HWY_INLINE V forward_step(D d, const RowForward<T>& r, int64_t i, V sum) {
  const V a = hn::LoadU(d, r.row + i);
  const auto nonnegative = hn::Ge(a, hn::Zero(d));
  if constexpr (slopes) hn::StoreU(a * chosen(d, nonnegative, r.slope, i), d, r.out + i);
  return hn::MulAdd(a, chosen(d, nonnegative, r.intercept, i), sum);
}

template <bool slopes, class T>
void forward_row(const RowForward<T>& r) {
  const hn::ScalableTag<T> d;
  const hn::CappedTag<T, 1> d1;
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  auto s0 = hn::Zero(d), s1 = s0, s2 = s0, s3 = s0;
  int64_t i = 0;
  for (; i + 4 * lanes <= r.n; i += 4 * lanes) {
    s0 = forward_step<slopes>(d, r, i, s0);
    s1 = forward_step<slopes>(d, r, i + lanes, s1);
    s2 = forward_step<slopes>(d, r, i + 2 * lanes, s2);
    s3 = forward_step<slopes>(d, r, i + 3 * lanes, s3);
  }
  for (; i + lanes <= r.n; i += lanes) s0 = forward_step<slopes>(d, r, i, s0);
  HWY_ALIGN T partial[HWY_MAX_BYTES / sizeof(T)];
  hn::Store((s0 + s1) + (s2 + s3), d, partial);
  T rest[4] = {};  // what is left takes turns, so that no term passes through many roundings
  for (int64_t j = 0; i < r.n; ++i, j = (j + 1) % 4)
    rest[j] = hn::GetLane(forward_step<slopes>(d1, r, i, hn::Set(d1, rest[j])));
  for (int64_t width = lanes; width > 1; width /= 2)
    for (int64_t j = 0; j < width / 2; ++j) partial[j] += partial[j + width / 2];
  *r.sum = partial[0] + ((rest[0] + rest[1]) + (rest[2] + rest[3]));
}

template <class D, class T, class V>
HWY_INLINE void add_to(D d, T* target, int64_t i, V a, V gradient) {
  if (target) hn::StoreU(hn::MulAdd(a, gradient, hn::LoadU(d, target + i)), d, target + i);
}

template <class D, class T>
HWY_INLINE void backward_step(D d, const RowBackward<T>& r, int64_t i) {
  const auto zero = hn::Zero(d), a = hn::LoadU(d, r.row + i), to_sum = hn::Set(d, r.to_sum);
  const auto nonnegative = hn::Ge(a, zero);
  const auto above = hn::IfThenElseZero(nonnegative, a), below = hn::IfThenZeroElse(nonnegative, a);
  auto to_row = zero;
  if (r.to_out) {
    const auto g = hn::LoadU(d, r.to_out + i);
    if (r.to_row) to_row = g * chosen(d, nonnegative, r.slope, i);
    add_to(d, r.to_slope[0], i, above, g);
    add_to(d, r.to_slope[1], i, below, g);
  }
  if (r.to_row) hn::StoreU(hn::MulAdd(to_sum, chosen(d, nonnegative, r.intercept, i), to_row), d, r.to_row + i);
  add_to(d, r.to_intercept[0], i, above, to_sum);
  add_to(d, r.to_intercept[1], i, below, to_sum);
}

template <class T>
void backward_row(const RowBackward<T>& r) {
  const hn::ScalableTag<T> d;
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  int64_t i = 0;
  for (; i + lanes <= r.n; i += lanes) backward_step(d, r, i);
  for (; i < r.n; ++i) backward_step(hn::CappedTag<T, 1>(), r, i);
}

void relax_f32(const RowForward<float>& r) { forward_row<true>(r); }
void relax_f64(const RowForward<double>& r) { forward_row<true>(r); }
void sum_f32(const RowForward<float>& r) { forward_row<false>(r); }
void sum_f64(const RowForward<double>& r) { forward_row<false>(r); }
void gradient_f32(const RowBackward<float>& r) { backward_row(r); }
void gradient_f64(const RowBackward<double>& r) { backward_row(r); }

}  // namespace mollify::nn::bounds::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE

#include <mollify/engine/cpu/threads.h>
#include <mollify/engine/ops.h>
#include <mollify/engine/ops/rules.h>
#include <mollify/nn/bounds/ops.h>

#include <algorithm>

namespace mollify::nn::bounds {

HWY_EXPORT(relax_f32);
HWY_EXPORT(relax_f64);
HWY_EXPORT(sum_f32);
HWY_EXPORT(sum_f64);
HWY_EXPORT(gradient_f32);
HWY_EXPORT(gradient_f64);

namespace {

constexpr int64_t kGrain = 16384;  // coefficients of a range of parallel work

void run(bool slopes, const RowForward<float>& r) { slopes ? HWY_DYNAMIC_DISPATCH(relax_f32)(r) : HWY_DYNAMIC_DISPATCH(sum_f32)(r); }
void run(bool slopes, const RowForward<double>& r) { slopes ? HWY_DYNAMIC_DISPATCH(relax_f64)(r) : HWY_DYNAMIC_DISPATCH(sum_f64)(r); }
void run(const RowBackward<float>& r) { HWY_DYNAMIC_DISPATCH(gradient_f32)(r); }
void run(const RowBackward<double>& r) { HWY_DYNAMIC_DISPATCH(gradient_f64)(r); }

// A tensor [1 | N, 1 | K, d…] as rows in memory.
template <class T>
struct View {
  View() = default;
  explicit View(const Tensor& x)
      : values(packed_values(x)), data(values.data<T>()), numbers(extent_product(x.shape(), 2, x.rank())),
        sample(x.shape()[0] == 1 ? 0 : x.shape()[1] * numbers), row(x.shape()[1] == 1 ? 0 : numbers) {}
  T* at(int64_t n, int64_t k) const { return data ? data + n * sample + k * row : nullptr; }
  Tensor values;
  T* data = nullptr;
  int64_t numbers = 0, sample = 0, row = 0;
};

// ---- in: rows, slopes (relax only), intercepts: the negative ones first, as the others may be missing

struct Lines { Tensor slope[2], intercept[2]; };

Lines lines_of(Inputs in, bool slopes, size_t count) {
  size_t next = 1;
  Lines lines;
  if (slopes) {
    lines.slope[0] = in[next++];
    lines.slope[1] = in[next++];
  }
  lines.intercept[1] = in[next++];
  if (next < count) lines.intercept[0] = in[next];
  return lines;
}

template <bool slopes>
Layouts rows_shape(const Op& op, Inputs in, const Attributes& attributes) {
  const Layout rows = broadcast_shape(op, in, attributes)[0];
  for (const Tensor& line : in)
    require(line.rank() == rows.shape.rank() && line.rank() >= 3 &&
                extent_product(line.shape(), 2, line.rank()) == extent_product(rows.shape, 2, line.rank()),
            "{}: rows are {}, lines {}; needs [samples, rows, d…] and [samples, rows or 1, d…]", op.name, in[0].shape(), line.shape());
  const Layout constant = Layout::packed({rows.shape[0], rows.shape[1]}, rows.dtype, rows.device);
  if (slopes) return {rows, constant};
  return constant;
}

template <bool slopes>
void forward_kernel(const KernelArguments& a) {
  const Tensor& sums = a.out[slopes ? 1 : 0];
  const Lines lines = lines_of(a.in, slopes, a.in.size());
  for_floating(sums.dtype(), [&](auto zero) {
    using T = decltype(zero);
    const View<T> rows(a.in[0]);
    View<T> slope[2], intercept[2];
    for (int i = 0; i < 2; ++i) {
      if (slopes) slope[i] = View<T>(lines.slope[i]);
      if (lines.intercept[i].defined()) intercept[i] = View<T>(lines.intercept[i]);
    }
    const int64_t count = sums.shape()[1], n = rows.numbers;
    T *out = slopes ? a.out[0].template data<T>() : nullptr, *sum = sums.template data<T>();
    cpu::parallel_for(sums.size(), std::max<int64_t>(1, kGrain / std::max<int64_t>(1, n)), [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const int64_t s = i / count, k = i % count;
        run(slopes, RowForward<T>{rows.at(s, k), {slope[0].at(s, k), slope[1].at(s, k)}, {intercept[0].at(s, k), intercept[1].at(s, k)},
                                  slopes ? out + i * n : nullptr, sum + i, n});
      }
    });
  });
}

// ---- gradients, one kernel for both. in: the op's inputs, then the gradients that arrived. out: rows', lines' as wanted

struct Wanted {
  bool slopes, rows, slope[2], intercept[2], to_rows, to_sums;
  size_t arrived() const { return static_cast<size_t>(to_rows) + static_cast<size_t>(to_sums); }
};

Layouts gradient_shape(const Op&, Inputs in, const Attributes& attributes) {
  const Wanted& w = attributes.as<Wanted>();
  const Lines lines = lines_of(in, w.slopes, in.size() - w.arrived());
  const Tensor& arrived = in[in.size() - 1];
  Layouts layouts;
  const auto add = [&](bool wanted, const Tensor& x) {
    if (!wanted) return;
    Shape shape = x.shape();
    shape[0] = arrived.shape()[0];  // of what all samples share grad sums the parts
    layouts.push_back(Layout::packed(shape, arrived.dtype(), arrived.device()));
  };
  add(w.rows, in[0]);
  for (int i = 0; i < 2; ++i) add(w.slope[i], lines.slope[i]);
  for (int i = 0; i < 2; ++i) add(w.intercept[i], lines.intercept[i]);
  return layouts;
}

template <class T>
T* shifted(T* base, int64_t first) { return base ? base + first : nullptr; }

template <class T>
void gradient(const KernelArguments& a) {
  const Wanted& w = a.attributes.as<Wanted>();
  const size_t inputs = a.in.size() - w.arrived();
  const Lines lines = lines_of(a.in, w.slopes, inputs);
  const View<T> rows(a.in[0]);
  const Tensor to_sums = w.to_sums ? packed_values(a.in[a.in.size() - 1]) : Tensor();
  View<T> slope[2], intercept[2], to_out, to_row, to_slope[2], to_intercept[2];
  if (w.to_rows) to_out = View<T>(a.in[inputs]);
  size_t next = 0;
  if (w.rows) to_row = View<T>(a.out[next++]);
  for (int i = 0; i < 2; ++i) {
    if (w.slopes) slope[i] = View<T>(lines.slope[i]);
    if (w.slope[i]) to_slope[i] = View<T>(a.out[next++]);
  }
  for (int i = 0; i < 2; ++i) {
    if (lines.intercept[i].defined()) intercept[i] = View<T>(lines.intercept[i]);
    if (w.intercept[i]) to_intercept[i] = View<T>(a.out[next++]);
  }
  for (const Tensor& out : a.out) std::fill_n(out.data<T>(), out.size(), T(0));
  const Tensor& arrived = a.in[a.in.size() - 1];
  const int64_t samples = arrived.shape()[0], count = arrived.shape()[1], n = rows.numbers, block = std::min<int64_t>(n, 1024);
  const int64_t blocks = n == 0 ? 0 : (n + block - 1) / block;
  // All rows of a sample on one block: what the lines get is summed in the rows' order.
  cpu::parallel_for(samples * blocks, std::max<int64_t>(1, kGrain / std::max<int64_t>(1, block * count)), [&](int64_t begin, int64_t end) {
    for (int64_t task = begin; task < end; ++task) {
      const int64_t s = task / blocks, first = task % blocks * block;
      for (int64_t k = 0; k < count; ++k)
        run(RowBackward<T>{rows.at(s, k) + first, {shifted(slope[0].at(s, k), first), shifted(slope[1].at(s, k), first)},
                           {shifted(intercept[0].at(s, k), first), shifted(intercept[1].at(s, k), first)}, shifted(to_out.at(s, k), first),
                           to_sums.defined() ? to_sums.template data<T>()[s * count + k] : T(0), shifted(to_row.at(s, k), first),
                           {shifted(to_slope[0].at(s, k), first), shifted(to_slope[1].at(s, k), first)},
                           {shifted(to_intercept[0].at(s, k), first), shifted(to_intercept[1].at(s, k), first)}, std::min(block, n - first)});
    }
  });
}

const Op gradient_op{.name = "relax_gradient", .shape = gradient_shape, .cpu = [](const KernelArguments& a) {
                       a.in[0].dtype() == DType::f32 ? gradient<float>(a) : gradient<double>(a);
                     }};

Tensor each_row(const Tensor& sums, int rank) {
  Shape shape = sums.shape();
  while (shape.rank() < rank) shape.push_back(1);
  return reshape(sums, shape);
}

// By public operations: pick = a ≥ 0 ? first : second.
template <bool slopes>
Tensors rows_vjp(const VjpArguments& a) {
  const Tensor& rows = a.in[0];
  const Lines lines = lines_of(a.in, slopes, a.in.size());
  const Tensor &to_rows = slopes ? a.gradients[0] : Tensor(), &arrived = slopes ? a.gradients[1] : a.g;
  const Tensor to_sums = arrived.defined() ? each_row(arrived, rows.rank()) : Tensor();
  const Tensor zero = Tensor::scalar(0, rows.dtype()), nonnegative = greater_equal(rows, zero);
  const Tensor above = where(nonnegative, rows, zero), below = where(nonnegative, zero, rows);
  Tensors result(a.in.size());
  if (a.needs(0)) {
    Tensor by_rows, by_sums;
    if (to_rows.defined()) by_rows = to_rows * where(nonnegative, lines.slope[0], lines.slope[1]);
    if (to_sums.defined()) by_sums = to_sums * where(nonnegative, lines.intercept[0].defined() ? lines.intercept[0] : zero, lines.intercept[1]);
    result[0] = !by_rows.defined() ? by_sums : !by_sums.defined() ? by_rows : by_rows + by_sums;
  }
  size_t next = 1;
  if (slopes) {
    if (to_rows.defined() && a.needs(next)) result[next] = to_rows * above;
    if (to_rows.defined() && a.needs(next + 1)) result[next + 1] = to_rows * below;
    next += 2;
  }
  if (to_sums.defined() && a.needs(next)) result[next] = to_sums * below;
  if (to_sums.defined() && next + 1 < a.in.size() && a.needs(next + 1)) result[next + 1] = to_sums * above;
  return result;
}

template <bool slopes>
Tensors rows_vjp_fast(const VjpArguments& a) {
  const Tensor &to_rows = slopes ? a.gradients[0] : Tensor(), &to_sums = slopes ? a.gradients[1] : a.g;
  const size_t first_line = slopes ? 3 : 1;
  const Wanted wanted{.slopes = slopes, .rows = a.needs(0), .slope = {slopes && to_rows.defined() && a.needs(1), slopes && to_rows.defined() && a.needs(2)},
                      .intercept = {to_sums.defined() && first_line + 1 < a.in.size() && a.needs(first_line + 1), to_sums.defined() && a.needs(first_line)},
                      .to_rows = to_rows.defined(), .to_sums = to_sums.defined()};
  Tensors in(a.in.size() + wanted.arrived());
  for (size_t i = 0; i < a.in.size(); ++i) in[i] = a.in[i];
  if (to_rows.defined()) in[a.in.size()] = to_rows;
  if (to_sums.defined()) in[in.size() - 1] = to_sums;
  Tensors result(a.in.size());
  if (!wanted.rows && !wanted.slope[0] && !wanted.slope[1] && !wanted.intercept[0] && !wanted.intercept[1]) return result;
  const Tensors gradients = apply_all(gradient_op, in, wanted);
  size_t next = 0;
  if (wanted.rows) result[0] = gradients[next++];
  for (size_t i = 0; i < 2; ++i)
    if (wanted.slope[i]) result[1 + i] = gradients[next++];
  for (size_t i = 0; i < 2; ++i)
    if (wanted.intercept[i]) result[first_line + 1 - i] = gradients[next++];
  return result;
}

const Op relax_op{.name = "relax", .shape = rows_shape<true>, .cpu = forward_kernel<true>, .vjp = rows_vjp<true>, .vjp_fast = rows_vjp_fast<true>};
const Op choose_sum_op{.name = "choose_sum", .shape = rows_shape<false>, .cpu = forward_kernel<false>, .vjp = rows_vjp<false>, .vjp_fast = rows_vjp_fast<false>};

}  // namespace

Relaxed relax(const Tensor& rows, const Tensor& nonnegative_slope, const Tensor& negative_slope, const Tensor& nonnegative_intercept,
              const Tensor& negative_intercept) {
  const Tensors out = nonnegative_intercept.defined()
                          ? apply_all(relax_op, {rows, nonnegative_slope, negative_slope, negative_intercept, nonnegative_intercept})
                          : apply_all(relax_op, {rows, nonnegative_slope, negative_slope, negative_intercept});
  return {out[0], out[1]};
}

Tensor choose_sum(const Tensor& rows, const Tensor& nonnegative, const Tensor& negative) {
  return apply(choose_sum_op, {rows, negative, nonnegative});
}

}  // namespace mollify::nn::bounds

#endif  // HWY_ONCE
