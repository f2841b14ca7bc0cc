#include <mollify/nn/bounds/ops.h>

#include <mollify/engine/cpu/threads.h>
#include <mollify/nn/bounds/cuda/rows.h>
#include <mollify/nn/bounds/row_kernels.h>
#include <mollify/nn/bounds/row_operands.h>

namespace mollify::nn::bounds {
namespace {

constexpr int64_t kGrain = 16384;  // coefficients of a range of parallel work

template <bool slopes>
Layouts rows_shape(const Op& op, Inputs in, const Attributes& attributes) {
  const bool windows = attributes.as<Given>().windows;
  const Operands o(in, attributes.as<Given>());
  const Tensor& lines = o.intercept[1];
  require_floating(op.name, o.rows);
  for (const Tensor* list : {&o.pairs.sample, &o.pairs.source, &o.pairs.place})
    if (list->defined()) require_indices(op.name, *list);
  for (const Tensor* line : {&o.slope[0], &o.slope[1], &o.intercept[0], &o.intercept[1]}) {
    if (!line->defined()) continue;
    require_same_dtype(op.name, o.rows, *line);
    const bool fits = windows ? line->rank() == 5 && line->shape().back() == o.rows.shape().back()
                              : same_numbers(line->shape(), o.rows.shape());
    require(line->rank() == o.rows.rank() && line->rank() >= 3 && fits && line->shape()[0] == lines.shape()[0] &&
                (line->shape()[1] == 1 || (o.pairs.all() && line->shape()[1] == o.rows.shape()[1])),
            "{}: rows are {}, lines {}; needs [samples, rows, d…] and [samples, rows or 1, d…]", op.name,
            o.rows.shape(), line->shape());
  }
  Shape shape = o.rows.shape();
  if (o.pairs.all()) {
    require(shape[0] == 1 || lines.shape()[0] == 1 || shape[0] == lines.shape()[0],
            "{}: rows are {}, lines {}; needs as many samples, or one", op.name, shape, lines.shape());
    if (shape[0] == 1) shape[0] = lines.shape()[0];
  } else {
    const int64_t count = o.pairs.sample.size();
    require(shape[0] == 1 && (o.pairs.source.defined() ? o.pairs.source.size() == count : shape[1] == count),
            "{}: rows are {} for {} pairs; needs shared ones with a source for each pair, or one row a pair", op.name,
            shape, count);
    shape[1] = count;
  }
  const Layout constant = Layout::packed({shape[0], shape[1]}, o.rows.dtype(), o.rows.device());
  if (slopes) return {Layout::packed(shape, o.rows.dtype(), o.rows.device()), constant};
  return constant;
}

template <class T>
T* shifted(T* base, int64_t first) { return base ? base + first : nullptr; }

template <bool slopes>
void forward_kernel(const KernelArguments& a) {
  const Tensor& sums = a.out[slopes ? 1 : 0];
  const Operands o(a.in, a.attributes.as<Given>());
  const Runs runs = runs_of(o, a.attributes.as<Given>());
  check(slopes ? "relax" : "choose_sum", o);
  for_floating(sums.dtype(), [&](auto zero) {
    using T = decltype(zero);
    const View<T> rows(o.rows), slope[2] = {View<T>(o.slope[0]), View<T>(o.slope[1])},
                                intercept[2] = {View<T>(o.intercept[0]), View<T>(o.intercept[1])};
    const Places places(o.pairs, sums.shape()[1], o.samples());
    const int64_t n = rows.numbers;
    T *out = slopes ? a.out[0].template data<T>() : nullptr, *sum = sums.template data<T>();
    cpu::parallel_for(sums.size(), std::max<int64_t>(1, kGrain / std::max<int64_t>(1, n)),
                      [&](int64_t begin, int64_t end) {
                        for (int64_t i = begin; i < end; ++i) {
                          const auto [s, k] = places[i];
                          const auto line = [s = s, k = k](const View<T>& view, int64_t first) {
                            return shifted(view.at(s, k), first);
                          };
                          if (slopes && runs.windows()) std::fill_n(out + i * n, n, T(0));
                          T total = 0;
                          runs.each(i, [&, s = s, k = k](int64_t own, int64_t first, int64_t count) {
                            T part;
                            run(slopes, RowForward<T>{rows.at(s, k) + own,
                                                      {line(slope[0], first), line(slope[1], first)},
                                                      {line(intercept[0], first), line(intercept[1], first)},
                                                      slopes ? out + i * n + own : nullptr,
                                                      &part,
                                                      count});
                            total += part;
                          });
                          sum[i] = total;
                        }
                      });
  });
}

#ifdef MOLLIFY_CUDA
template <class T>
cuda::RowOperands<T> on_cuda(const Operands& o, const Given& given, const Tensor& sums) {
  return {View<T>(o.rows),
          {View<T>(o.slope[0]), View<T>(o.slope[1])},
          {View<T>(o.intercept[0]), View<T>(o.intercept[1])},
          Places(o.pairs, sums.shape()[1], o.samples()),
          runs_of(o, given),
          sums.shape()[0] * sums.shape()[1]};
}

// Pairs are not checked: their values would have to be waited for.
template <bool slopes>
void forward_on_cuda(const KernelArguments& a) {
  const Tensor& sums = a.out[slopes ? 1 : 0];
  const Given& given = a.attributes.as<Given>();
  const Operands o(a.in, given);
  for_floating(sums.dtype(), [&](auto zero) {
    using T = decltype(zero);
    cuda::relax_rows<T>(on_cuda<T>(o, given, sums), slopes ? a.out[0].template address<T>() : nullptr,
                        sums.template address<T>());
  });
}
#endif

// ---- gradients, one kernel for both. in: the op's inputs, then the gradients that arrived. out: those wanted of rows
// (one for each row of the result) and of lines (for every sample)

struct Wanted {
  Given given;
  bool rows, slope[2], intercept[2], from_rows, from_sums;
  bool any() const { return rows || slope[0] || slope[1] || intercept[0] || intercept[1]; }
};

Layouts gradient_shape(const Op&, Inputs in, const Attributes& attributes) {
  const Wanted& w = attributes.as<Wanted>();
  const Operands o(in, w.given);
  const Tensor& arrived = in[in.size() - 1];
  Layouts layouts;
  const auto add = [&](bool wanted, const Tensor& x, int64_t samples, int64_t rows) {
    if (!wanted) return;
    Shape shape = x.shape();
    shape[0] = samples;
    shape[1] = rows;
    layouts.push_back(Layout::packed(shape, arrived.dtype(), arrived.device()));
  };
  const int64_t samples = o.pairs.all() ? arrived.shape()[0] : o.samples();
  add(w.rows, o.rows, arrived.shape()[0], arrived.shape()[1]);
  for (int i = 0; i < 2; ++i) add(w.slope[i], o.slope[i], samples, w.slope[i] ? o.slope[i].shape()[1] : 0);
  for (int i = 0; i < 2; ++i)
    add(w.intercept[i], o.intercept[i], samples, w.intercept[i] ? o.intercept[i].shape()[1] : 0);
  return layouts;
}

template <class T>
struct GradientViews {
  GradientViews(const KernelArguments& a, const Wanted& w, const Operands& o)
      : rows(o.rows),
        slope{View<T>(o.slope[0]), View<T>(o.slope[1])},
        intercept{View<T>(o.intercept[0]), View<T>(o.intercept[1])} {
    const size_t count = a.in.size();
    if (w.from_rows) from_rows = View<T>(a.in[count - (w.from_sums ? 2u : 1u)]);
    if (w.from_sums) from_sums = a.in[count - 1];
    size_t next = 0;
    if (w.rows) to_rows = View<T>(a.out[next++]);
    for (int i = 0; i < 2; ++i)
      if (w.slope[i]) to_slope[i] = View<T>(a.out[next++]);
    for (int i = 0; i < 2; ++i)
      if (w.intercept[i]) to_intercept[i] = View<T>(a.out[next++]);
  }

  // Result row i, `k`-th of those of sample s, on n numbers from `own` on, of lines from `first` on.
  RowBackward<T> row(int64_t i, Place place, int64_t s, int64_t k, int64_t own, int64_t first, int64_t n) const {
    const auto line = [&](const View<T>& view) { return shifted(view.at(s, k), first); };
    const int64_t at = i * rows.numbers + own;
    return {shifted(rows.at(place.sample, place.row), own),
            {line(slope[0]), line(slope[1])},
            {line(intercept[0]), line(intercept[1])},
            shifted(from_rows.data, at),
            from_sums.defined() ? from_sums.template address<T>()[i] : T(0),
            shifted(to_rows.data, at),
            {line(to_slope[0]), line(to_slope[1])},
            {line(to_intercept[0]), line(to_intercept[1])},
            n};
  }

  View<T> rows, slope[2], intercept[2], from_rows, to_rows, to_slope[2], to_intercept[2];
  Tensor from_sums;
};

template <class T>
void gradient(const KernelArguments& a) {
  const Wanted& w = a.attributes.as<Wanted>();
  const Operands o(a.in, w.given);
  const GradientViews<T> views(a, w, o);
  for (const Tensor& out : a.out) std::fill_n(out.data<T>(), out.size(), T(0));
  const Tensor& arrived = a.in[a.in.size() - 1];
  const Runs runs = runs_of(o, w.given);
  const int64_t count = arrived.shape()[0] * arrived.shape()[1], n = views.rows.numbers,
                block = runs.windows() ? n : std::min<int64_t>(n, 1024);
  const int64_t samples = o.pairs.all() ? arrived.shape()[0] : o.samples(),
                blocks = n == 0 ? 0 : (n + block - 1) / block;
  const Places places(o.pairs, arrived.shape()[1], o.samples());
  // All rows of a sample on one block: what the lines get is summed in the rows' order.
  const int64_t task_size = std::max<int64_t>(1, block * count / std::max<int64_t>(1, samples));
  cpu::parallel_for(samples * blocks, std::max<int64_t>(1, kGrain / task_size), [&](int64_t begin, int64_t end) {
    for (int64_t task = begin; task < end; ++task) {
      const int64_t s = task / blocks, first = task % blocks * block;
      const int64_t begin_row = places.first_of(s), end_row = places.first_of(s + 1);
      for (int64_t i = begin_row; i < end_row; ++i)
        runs.each(i, [&](int64_t own, int64_t line, int64_t numbers) {
          run(views.row(i, places[i], s, i - begin_row, own + first, line + first, std::min(block, numbers - first)));
        });
    }
  });
}

#ifdef MOLLIFY_CUDA
void gradient_on_cuda(const KernelArguments& a) {
  const Wanted& w = a.attributes.as<Wanted>();
  const Operands o(a.in, w.given);
  const Tensor& arrived = a.in[a.in.size() - 1];
  for_floating(arrived.dtype(), [&](auto zero) {
    using T = decltype(zero);
    const GradientViews<T> views(a, w, o);
    cuda::relax_rows_gradient<T>(on_cuda<T>(o, w.given, arrived), {views.from_rows.data,
                                                                   w.from_sums ? arrived.address<T>() : nullptr,
                                                                   views.to_rows.data,
                                                                   {views.to_slope[0], views.to_slope[1]},
                                                                   {views.to_intercept[0], views.to_intercept[1]},
                                                                   o.pairs.all() ? arrived.shape()[0] : o.samples()});
  });
}
#endif

const Op gradient_op{.name = "relax_gradient", .shape = gradient_shape, .cpu = [](const KernelArguments& a) {
                       a.in[0].dtype() == DType::f32 ? gradient<float>(a) : gradient<double>(a);
                     }, .cuda = MOLLIFY_CUDA_KERNEL(gradient_on_cuda), .operands = packed_operands};

// Rows [1, R, d…] summed into [1, K, d…] by the rows' indices, or into [N, 1, d…].
Tensor collected(const Tensor& x, const Tensor& indices, const Shape& shape) {
  const int64_t count = x.shape()[1], numbers = numbers_of(x), extent = shape[0] * shape[1];
  return reshape(scatter_add({extent, numbers}, expand(reshape(indices, {count, 1}), {count, numbers}),
                             reshape(x, {count, numbers}), 0),
                 shape);
}

Tensor collected_rows(const Tensor& x, const Operands& o) {
  return o.pairs.source.defined() ? collected(x, o.pairs.source, o.rows.shape()) : x;
}

// By public operations: pick = a ≥ 0 ? first : second.
template <bool slopes>
Tensors rows_vjp(const VjpArguments& a) {
  const Given& given = a.as<Given>();
  const Operands o(a.in, given);
  const bool all = o.pairs.all();
  const Tensor in_image =
      given.windows ? window_numbers(o.pairs, given.window, o.rows.shape(), o.intercept[1].shape()) : Tensor();
  const auto line = [&](const Tensor& x) {  // [1, R, d…] where there are pairs
    if (all || (x.shape()[0] == 1 && !given.windows)) return x;
    const int64_t count = o.pairs.sample.size(), numbers = numbers_of(x);
    const Tensor own = x.shape()[0] == 1 ? expand(reshape(x, {1, numbers}), {count, numbers})
                                         : reshape(take(x, o.pairs.sample, 0), {count, numbers});
    Shape shape = given.windows ? o.rows.shape() : x.shape();
    shape[0] = 1;
    shape[1] = count;
    return reshape(given.windows ? gather(pad(own, 1, 0, 1), in_image, 1) : own, shape);
  };
  const Tensor rows = o.pairs.source.defined() ? take(o.rows, o.pairs.source, 1) : o.rows;
  const Tensor from_rows = slopes ? a.gradients[0] : Tensor(), arrived = slopes ? a.gradients[1] : a.g;
  Tensor from_sums;
  if (arrived.defined()) {
    Shape shape = arrived.shape();
    while (shape.rank() < rows.rank()) shape.push_back(1);
    from_sums = reshape(arrived, shape);
  }
  const Tensor zero = Tensor::scalar(0, rows.dtype()), nonnegative = greater_equal(rows, zero);
  const Tensor part[2] = {where(nonnegative, rows, zero), where(nonnegative, zero, rows)};
  Tensors result(a.in.size());
  if (a.needs(0)) {
    Tensor by_rows, by_sums;
    if (from_rows.defined()) by_rows = from_rows * where(nonnegative, line(o.slope[0]), line(o.slope[1]));
    if (from_sums.defined())
      by_sums = from_sums *
                where(nonnegative, given.nonnegative_intercept ? line(o.intercept[0]) : zero, line(o.intercept[1]));
    result[0] = collected_rows(!by_rows.defined() ? by_sums : !by_sums.defined() ? by_rows : by_rows + by_sums, o);
  }
  const auto to_line = [&](size_t place, const Tensor& from, int i, const Tensor& of) {
    if (!of.defined() || !from.defined() || !a.needs(place)) return;
    Tensor to_rows = from * part[i];
    if (given.windows) {
      const int64_t count = o.pairs.sample.size(), numbers = numbers_of(of);
      const Tensor whole =
          scatter_add({count, numbers + 1}, in_image, reshape(to_rows, {count, numbers_of(to_rows)}), 1);
      Shape shape = of.shape();
      shape[0] = 1;
      shape[1] = count;
      to_rows = reshape(slice(whole, 1, 0, numbers), shape);
    }
    result[place] =
        all || of.shape()[0] == 1 ? sum_to(to_rows, of.shape()) : collected(to_rows, o.pairs.sample, of.shape());
  };
  for (int i = 0; i < 2; ++i) {
    if (slopes) to_line(1 + static_cast<size_t>(i), from_rows, i, o.slope[i]);
    to_line(Operands::place_of_intercept(given, i), from_sums, i, o.intercept[i]);
  }
  return result;
}

template <bool slopes>
Tensors rows_vjp_fast(const VjpArguments& a) {
  const Given& given = a.as<Given>();
  const Operands o(a.in, given);
  const Tensor from_rows = slopes ? a.gradients[0] : Tensor(), from_sums = slopes ? a.gradients[1] : a.g;
  Wanted w{given, a.needs(0), {}, {}, from_rows.defined(), from_sums.defined()};
  for (int i = 0; i < 2; ++i) {
    w.slope[i] = slopes && w.from_rows && a.needs(1 + static_cast<size_t>(i));
    w.intercept[i] = w.from_sums && o.intercept[i].defined() && a.needs(Operands::place_of_intercept(given, i));
  }
  Tensors result(a.in.size());
  if (!w.any()) return result;
  Tensors in(a.in.size() + (w.from_rows ? 1u : 0u) + (w.from_sums ? 1u : 0u));
  for (size_t i = 0; i < a.in.size(); ++i) in[i] = a.in[i];
  if (w.from_rows) in[a.in.size()] = from_rows;
  if (w.from_sums) in[in.size() - 1] = from_sums;
  const Tensors gradients = apply_all(gradient_op, in, w);
  size_t next = 0;
  if (w.rows) result[0] = collected_rows(gradients[next++], o);
  for (size_t i = 0; i < 2; ++i)
    if (w.slope[i]) result[1 + i] = gradients[next++];
  for (int i = 0; i < 2; ++i)
    if (w.intercept[i]) result[Operands::place_of_intercept(given, i)] = gradients[next++];
  return result;
}

const Op relax_op{.name = "relax",
                  .shape = rows_shape<true>,
                  .cpu = forward_kernel<true>,
                  .cuda = MOLLIFY_CUDA_KERNEL(forward_on_cuda<true>),
                  .operands = packed_operands,
                  .vjp = rows_vjp<true>,
                  .vjp_fast = rows_vjp_fast<true>};
const Op choose_sum_op{.name = "choose_sum",
                       .shape = rows_shape<false>,
                       .cpu = forward_kernel<false>,
                       .cuda = MOLLIFY_CUDA_KERNEL(forward_on_cuda<false>),
                       .operands = packed_operands,
                       .vjp = rows_vjp<false>,
                       .vjp_fast = rows_vjp_fast<false>};

Tensors applied(const Op& op, const Tensor& rows, const Tensor* slopes, const Tensor& nonnegative,
                const Tensor& negative, const Pairs& pairs, const Window* window) {
  std::vector<Tensor> in{rows};
  if (slopes) in.insert(in.end(), slopes, slopes + 2);
  for (const Tensor* t : {&negative, &nonnegative, &pairs.sample, &pairs.source})
    if (t->defined()) in.push_back(*t);
  if (window) in.push_back(pairs.place);
  return apply_all(op, std::span<const Tensor>(in),
                   Given{slopes != nullptr, nonnegative.defined(), pairs.sample.defined(), pairs.source.defined(),
                         window != nullptr, window ? *window : Window{}, pairs.columns});
}

}  // namespace

Relaxed relax(const Tensor& rows, const Tensor& nonnegative_slope, const Tensor& negative_slope,
              const Tensor& nonnegative_intercept, const Tensor& negative_intercept, const Pairs& pairs,
              const Window* window) {
  const Tensor slopes[] = {nonnegative_slope, negative_slope};
  const Tensors out = applied(relax_op, rows, slopes, nonnegative_intercept, negative_intercept, pairs, window);
  return {out[0], out[1]};
}

Tensor choose_sum(const Tensor& rows, const Tensor& nonnegative, const Tensor& negative, const Pairs& pairs,
                  const Window* window) {
  return applied(choose_sum_op, rows, nullptr, nonnegative, negative, pairs, window)[0];
}

}  // namespace mollify::nn::bounds
