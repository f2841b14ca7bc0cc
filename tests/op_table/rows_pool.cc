// Pooling.
#include "rows.h"

#include <cmath>
#include <limits>

namespace mollify::op_table {
namespace {

using In = const Tensor&;

struct Pooling {
  Shape x;
  Pool2d how = {};
};

const std::vector<Pooling> kPoolings = {
    {{1, 2, 2, 1}},
    {{2, 4, 6, 3}},
    {{2, 5, 5, 2}, Pool2d::square(3, 2, 1)},
    {{1, 5, 7, 2},
     {.kernel_height = 3, .kernel_width = 2, .stride_height = 1, .stride_width = 3, .pad_bottom = 2, .pad_left = 1}},
    {{2, 3, 3, 17}, Pool2d::square(3, 3)},
    {{1, 7, 7, 1}, Pool2d::square(2, 3)},
    {{0, 4, 4, 2}},
    {{2, 1, 5, 16}, {.kernel_height = 1, .kernel_width = 3, .stride_height = 1, .stride_width = 1}}};

Shape pooled(const Pooling& p) {
  return {p.x[0], (p.x[1] + p.how.pad_top + p.how.pad_bottom - p.how.kernel_height) / p.how.stride_height + 1,
          (p.x[2] + p.how.pad_left + p.how.pad_right - p.how.kernel_width) / p.how.stride_width + 1, p.x[3]};
}

// Calls f(place in x) for the part of output place o's window that is not padding, in row-major order.
void for_window(const Pooling& p, const Index& o, const std::function<void(const Index&)>& f) {
  for_each({p.how.kernel_height, p.how.kernel_width}, [&](const Index& k) {
    const int64_t row = o[1] * p.how.stride_height - p.how.pad_top + k[0],
                  column = o[2] * p.how.stride_width - p.how.pad_left + k[1];
    if (row >= 0 && row < p.x[1] && column >= 0 && column < p.x[2]) f({o[0], row, column, o[3]});
  });
}

double window_size(const Pooling& p) { return static_cast<double>(p.how.kernel_height * p.how.kernel_width); }

Case average_case(const Pooling& p) {
  return of_one(
      p.x, [p](In x) { return average_pool2d(x, p.how); },
      [p](const Array& x) {
        return build(pooled(p), [&](const Index& o) {
          double total = 0;
          for_window(p, o, [&](const Index& i) { total += x.at(i); });
          return total / window_size(p);
        });
      },
      p.x[0] > 0);
}

Case average_gradient_case(const Pooling& p) {
  return of_one(
      pooled(p), [p](In g) { return average_pool2d_gradient(g, p.x[1], p.x[2], p.how); },
      [p](const Array& g) {
        Array x{p.x, std::vector<double>(static_cast<size_t>(p.x.size()), 0.0)};
        for_each(g.shape, [&](const Index& o) {
          for_window(p, o, [&](const Index& i) { x.at(i) += g.at(o) / window_size(p); });
        });
        return x;
      },
      p.x[0] > 0);
}

// The value, or its index within the image: the first of equals; the first NaN where there is one.
Array max_loops(const Pooling& p, const Array& x, bool indices) {
  return build(pooled(p), [&](const Index& o) {
    double best = -std::numeric_limits<double>::infinity(), place = -1;
    for_window(p, o, [&](const Index& i) {
      const double value = x.at(i);
      if (place >= 0 && !(value > best || (std::isnan(value) && !std::isnan(best)))) return;
      best = value;
      place = static_cast<double>((i[1] * p.x[2] + i[2]) * p.x[3] + i[3]);
    });
    return indices ? place : best;
  });
}

Case max_case(const Pooling& p) {
  return of_one(
      p.x, [p](In x) { return max_pool2d(x, p.how); }, [p](const Array& x) { return max_loops(p, x, false); });
}

Case max_indices_case(const Pooling& p) {
  return {{p.x},
          [p](const Tensors& in) {
            const ValuesAndIndices both = max_pool2d_with_indices(in[0], p.how);
            return Tensors{both.values, both.indices};
          },
          [p](const Arrays& in) {
            return Arrays{max_loops(p, in[0], false), max_loops(p, in[0], true)};
          }};
}

Row pooling_row(const char* name, Case (*make)(const Pooling&), std::function<Tensor(In)> large,
                const Shape& large_shape) {
  std::vector<Case> cases;
  for (const Pooling& p : kPoolings) cases.push_back(make(p));
  Row row = general(name, std::move(cases));
  return row.with_large({large_one(large_shape, std::move(large))});
}

}  // namespace

Rows pooling_rows() {
  const Shape image{9, 40, 40, 17}, halved{9, 20, 20, 17};
  const Shape small{1, 1, 1, 1}, flat{4, 4};
  Rows rows;
  rows.push_back(pooling_row(
                     "average_pool2d", average_case, [](In x) { return average_pool2d(x); }, image)
                     .refusing({misfit_one(small, [](In x) { return average_pool2d(x); }),
                                misfit_one(flat, [](In x) { return average_pool2d(x); })}));
  rows.push_back(pooling_row(
                     "average_pool2d_gradient", average_gradient_case,
                     [](In g) { return average_pool2d_gradient(g, 40, 40); }, halved)
                     .refusing({misfit_one(small, [](In x) { return average_pool2d_gradient(x, 6, 6); })}));
  rows.push_back(pooling_row(
                     "max_pool2d", max_case, [](In x) { return max_pool2d(x); }, image)
                     .refusing({misfit_one(small, [](In x) { return max_pool2d(x); }),
                                misfit_one(flat, [](In x) { return max_pool2d(x); })}));
  rows.push_back(
      pooling_row(
          "max_pool2d_with_indices", max_indices_case, [](In x) { return max_pool2d_with_indices(x).values; }, image)
          .reported("max_pool2d"));
  return rows;
}

}  // namespace mollify::op_table
