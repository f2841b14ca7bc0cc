// Matrix products and convolutions.
#include "rows.h"

namespace mollify::op_table {
namespace {

Array matmul_loops(const Array& a, const Array& b) {
  const int ra = a.shape.rank(), rb = b.shape.rank();
  Shape out = broadcast("reference", Shape(a.shape.begin(), static_cast<size_t>(ra - 2)),
                        Shape(b.shape.begin(), static_cast<size_t>(rb - 2)));
  const int batch = out.rank();
  out.push_back(a.shape[ra - 2]);
  out.push_back(b.shape[rb - 1]);
  const auto place = [batch](const Array& x, const Index& index, int64_t row, int64_t column) {
    Index at;
    const int own = x.shape.rank() - 2;
    for (int axis = 0; axis < own; ++axis)
      at.push_back(x.shape[axis] == 1 ? 0 : index[static_cast<size_t>(batch - own + axis)]);
    at.push_back(row);
    at.push_back(column);
    return at;
  };
  return build(out, [&](const Index& index) {
    const int64_t row = index[index.size() - 2], column = index.back();
    double total = 0;
    for (int64_t k = 0; k < a.shape[ra - 1]; ++k)
      total += a.at(place(a, index, row, k)) * b.at(place(b, index, k, column));
    return total;
  });
}

Tensor run_matmul(const Tensors& in) { return matmul(in[0], in[1]); }

Case matmul_case(const Shape& a, const Shape& b, bool rows = false) {
  return of_many(
      {a, b}, run_matmul, [](const Arrays& in) { return matmul_loops(in[0], in[1]); }, rows);
}

Tensor run_dense(const Tensors& in) { return dense(in[0], in[1], in.size() > 2 ? in[2] : Tensor()); }

Case dense_case(const Shape& x, const Shape& w, bool bias) {
  std::vector<Shape> shapes{x, w};
  if (bias) shapes.push_back({w[0]});
  return of_many(
      shapes, run_dense,
      [](const Arrays& in) {
        Shape out = in[0].shape;
        out[out.rank() - 1] = in[1].shape[0];
        return build(out, [&](Index index) {
          const int64_t o = index.back();
          double total = in.size() > 2 ? in[2].at({o}) : 0;
          for (int64_t i = 0; i < in[1].shape[1]; ++i) {
            index.back() = i;
            total += in[0].at(index) * in[1].at({o, i});
          }
          return total;
        });
      },
      x.rank() > 1 && x[0] > 0);
}

// Calls f(place in y, place in x, place in w) for every product of the convolution that is not with padding.
void for_products(const Shape& x, const Shape& w, const Shape& y, const Conv2d& how,
                  const std::function<void(const Index&, const Index&, const Index&)>& f) {
  const int64_t filters_per_group = w[0] / how.groups, channels_per_group = w[3];
  for_each(y, [&](const Index& at) {
    for_each({w[1], w[2], w[3]}, [&](const Index& k) {
      const int64_t row = at[1] * how.stride_height - how.pad_top + k[0] * how.dilation_height;
      const int64_t column = at[2] * how.stride_width - how.pad_left + k[1] * how.dilation_width;
      if (row < 0 || row >= x[1] || column < 0 || column >= x[2]) return;
      f(at, {at[0], row, column, at[3] / filters_per_group * channels_per_group + k[2]}, {at[3], k[0], k[1], k[2]});
    });
  });
}

Shape convolved(const Shape& x, const Shape& w, const Conv2d& how) {
  return {x[0], (x[1] + how.pad_top + how.pad_bottom - how.dilation_height * (w[1] - 1) - 1) / how.stride_height + 1,
          (x[2] + how.pad_left + how.pad_right - how.dilation_width * (w[2] - 1) - 1) / how.stride_width + 1, w[0]};
}

Array nothing(const Shape& shape) { return {shape, std::vector<double>(static_cast<size_t>(shape.size()), 0.0)}; }

struct Convolution {
  Shape x, w;
  Conv2d how = {};
};

// {stride, padding, dilation, groups}: ordinary, strided, padded on one side, dilated, grouped, depthwise, 1 × 1, batch
// of none, large kernels.
const std::vector<Convolution> kConvolutions = {
    {{1, 1, 1, 1}, {1, 1, 1, 1}},
    {{2, 5, 4, 3}, {4, 3, 3, 3}},
    {{2, 5, 6, 2}, {3, 3, 3, 2}, Conv2d::square(1, 1)},
    {{1, 7, 6, 2}, {2, 3, 2, 2}, {.stride_height = 2, .stride_width = 3, .pad_top = 1, .pad_left = 0, .pad_right = 2}},
    {{1, 7, 8, 2}, {2, 3, 3, 2}, {.pad_top = 2, .pad_bottom = 1, .dilation_height = 2, .dilation_width = 3}},
    {{2, 4, 4, 4}, {6, 3, 3, 2}, {.pad_top = 1, .pad_bottom = 1, .groups = 2}},
    {{2, 5, 5, 5},
     {5, 3, 3, 1},
     {.stride_height = 2,
      .stride_width = 2,
      .pad_top = 1,
      .pad_bottom = 1,
      .pad_left = 1,
      .pad_right = 1,
      .groups = 5}},
    {{1, 4, 4, 3}, {6, 2, 2, 1}, {.groups = 3}},
    {{2, 3, 5, 17}, {16, 1, 1, 17}},
    {{1, 5, 5, 2}, {15, 1, 1, 2}, Conv2d::square(2, 0)},
    {{0, 4, 4, 2}, {3, 3, 3, 2}},
    {{1, 2, 3, 1}, {2, 5, 5, 1}, Conv2d::square(1, 3)},
    {{1, 9, 3, 2}, {2, 2, 1, 2}, {.stride_height = 4, .dilation_height = 3}}};

Tensor run_conv2d(const Tensors& in, const Conv2d& how) {
  return conv2d(in[0], in[1], in.size() > 2 ? in[2] : Tensor(), how);
}

Tensor run_plain(const Tensors& in) { return conv2d(in[0], in[1]); }

Case conv2d_case(const Convolution& c, bool bias) {
  std::vector<Shape> shapes{c.x, c.w};
  if (bias) shapes.push_back({c.w[0]});
  return of_many(
      shapes, [how = c.how](const Tensors& in) { return run_conv2d(in, how); },
      [how = c.how](const Arrays& in) {
        Array y = nothing(convolved(in[0].shape, in[1].shape, how));
        for_products(in[0].shape, in[1].shape, y.shape, how,
                     [&](const Index& o, const Index& i, const Index& k) { y.at(o) += in[0].at(i) * in[1].at(k); });
        if (in.size() > 2) for_each(y.shape, [&](const Index& o) { y.at(o) += in[2].at({o[3]}); });
        return y;
      },
      c.x[0] > 0);
}

Case input_gradient_case(const Convolution& c) {
  return of_many(
      {convolved(c.x, c.w, c.how), c.w},
      [c](const Tensors& in) { return conv2d_input_gradient(in[0], in[1], c.x[1], c.x[2], c.how); },
      [c](const Arrays& in) {
        Array x = nothing(c.x);
        for_products(c.x, c.w, in[0].shape, c.how,
                     [&](const Index& o, const Index& i, const Index& k) { x.at(i) += in[0].at(o) * in[1].at(k); });
        return x;
      },
      c.x[0] > 0);
}

Case weight_gradient_case(const Convolution& c) {
  return of_many(
      {convolved(c.x, c.w, c.how), c.x},
      [c](const Tensors& in) { return conv2d_weight_gradient(in[0], in[1], c.w[1], c.w[2], c.how); },
      [c](const Arrays& in) {
        Array w = nothing(c.w);
        for_products(c.x, c.w, in[0].shape, c.how,
                     [&](const Index& o, const Index& i, const Index& k) { w.at(k) += in[0].at(o) * in[1].at(i); });
        return w;
      });
}

Row convolution_row(const char* name, Case (*make)(const Convolution&), std::vector<Case> large,
                    std::vector<Misfit> misfits) {
  std::vector<Case> cases;
  for (const Convolution& c : kConvolutions) cases.push_back(make(c));
  Row row = general(name, std::move(cases), {{-1, 1}});
  row.zero_times_nan = true;
  return row.within(64).with_large(std::move(large)).refusing(std::move(misfits));
}

}  // namespace

Rows product_rows() {
  Rows rows;
  rows.push_back(
      general("matmul",
              {matmul_case({1, 1}, {1, 1}), matmul_case({3, 4}, {4, 5}, true), matmul_case({16, 17}, {17, 15}),
               matmul_case({7, 0}, {0, 3}), matmul_case({0, 4}, {4, 3}), matmul_case({33, 70}, {70, 19}),
               matmul_case({2, 3, 4}, {2, 4, 5}), matmul_case({2, 3, 4}, {4, 5}, true), matmul_case({3, 4}, {2, 4, 1}),
               matmul_case({2, 1, 2, 3}, {3, 3, 2}), matmul_case({1, 9}, {9, 1}), matmul_case({0, 2, 3}, {3, 2})},
              {{-1, 1}})
          .within(64)
          .with_large(
              {large_many({{150, 170}, {170, 190}}, run_matmul), large_many({{40, 30, 20}, {20, 30}}, run_matmul)})
          .refusing({misfit_many({{2, 3}, {4, 5}}, run_matmul), misfit_many({{3}, {3, 2}}, run_matmul)}));
  rows.push_back(
      general("dense",
              {dense_case({3, 4}, {5, 4}, true), dense_case({4}, {3, 4}, true), dense_case({2, 3, 17}, {16, 17}, false),
               dense_case({0, 4}, {5, 4}, true), dense_case({2, 0}, {3, 0}, true), dense_case({33, 40}, {15, 40}, true),
               dense_case({1, 1}, {1, 1}, false)},
              {{-1, 1}})
          .within(64)
          .with_large({large_many({{200, 130}, {150, 130}, {150}}, run_dense)})
          .refusing({misfit_many({{2, 3}, {4, 5}}, run_dense)}));
  const std::vector<Shape> large = {{3, 30, 30, 16}, {24, 3, 3, 16}};
  const Conv2d same = Conv2d::square(1, 1);
  rows.push_back(convolution_row(
      "conv2d", [](const Convolution& c) { return conv2d_case(c, true); },
      {large_many({large[0], large[1], {24}}, [same](const Tensors& in) { return run_conv2d(in, same); }),
       large_many({{4, 30, 30, 16}, {16, 3, 3, 1}},
                  [](const Tensors& in) { return conv2d(in[0], in[1], {}, {.pad_top = 1, .groups = 16}); })},
      {misfit_many({{1, 8, 8, 1}, {16, 3, 3, 3}}, run_plain), misfit_many({{1, 2, 2, 1}, {1, 3, 3, 1}}, run_plain),
       misfit_many({{8, 8, 1}, {1, 3, 3, 1}}, run_plain)}));
  rows.push_back(convolution_row("conv2d", [](const Convolution& c) { return conv2d_case(c, false); }, {}, {})
                     .labelled("without_bias"));
  rows.push_back(convolution_row(
      "conv2d_input_gradient", input_gradient_case,
      {large_many({{3, 30, 30, 24}, large[1]},
                  [same](const Tensors& in) { return conv2d_input_gradient(in[0], in[1], 30, 30, same); })},
      {misfit_many({{1, 5, 5, 2}, {2, 3, 3, 1}},
                   [](const Tensors& in) { return conv2d_input_gradient(in[0], in[1], 8, 8); })}));
  rows.push_back(convolution_row(
      "conv2d_weight_gradient", weight_gradient_case,
      {large_many({{3, 30, 30, 24}, large[0]},
                  [same](const Tensors& in) { return conv2d_weight_gradient(in[0], in[1], 3, 3, same); })},
      {misfit_many({{1, 5, 5, 2}, {1, 8, 8, 1}},
                   [](const Tensors& in) { return conv2d_weight_gradient(in[0], in[1], 3, 3); })}));
  return rows;
}

}  // namespace mollify::op_table
