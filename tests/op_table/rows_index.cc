// Indexing, classification, normalisation.
#include "rows.h"

#include <cmath>
#include <numeric>

namespace mollify::op_table {
namespace {

using In = const Tensor&;
using Line = std::vector<double>;

// Indices of a shape in 0 … count − 1, with repetitions, the same every time.
Array indices_of(const Shape& shape, int64_t count) {
  int64_t i = 0;
  Array out = build(shape, [&](const Index&) { return static_cast<double>((7 * i++ + 3) % 11 % count); });
  out.dtype = DType::i32;
  return out;
}

Index moved(Index index, int axis, double place) {
  index[static_cast<size_t>(axis)] = static_cast<int64_t>(place);
  return index;
}

Case gather_case(const Shape& shape, int axis, int64_t selected) {
  Shape of = shape;
  of[axis] = selected;
  const Array places = indices_of(of, std::max<int64_t>(1, shape[axis]));
  return of_one(
      shape, [=](In x) { return gather(x, beside(x, places), axis); },
      [=](const Array& x) {
        return build(of, [&](const Index& index) { return x.at(moved(index, axis, places.at(index))); });
      });
}

Case scatter_case(const Shape& shape, int axis, int64_t extent) {
  Shape out = shape;
  out[axis] = extent;
  const Array places = indices_of(shape, std::max<int64_t>(1, extent));
  return of_one(
      shape, [=](In x) { return scatter_add(out, beside(x, places), x, axis); },
      [=](const Array& x) {
        Array sums{out, std::vector<double>(static_cast<size_t>(out.size()), 0.0)};
        for_each(shape, [&](const Index& index) { sums.at(moved(index, axis, places.at(index))) += x.at(index); });
        return sums;
      });
}

Case take_case(const Shape& shape, int axis, int64_t count) {
  const Array places = indices_of({count}, shape[axis]);
  return of_one(
      shape, [=](In x) { return take(x, beside(x, places), axis); },
      [=](const Array& x) {
        Shape out = shape;
        out[axis] = count;
        return build(out, [&](const Index& index) {
          return x.at(moved(index, axis, places.at({index[static_cast<size_t>(axis)]})));
        });
      });
}

// The values are dropped: the input only tells the dtype.
Case one_hot_case(const Shape& shape, int64_t classes) {
  const Array labels = indices_of(shape, classes);
  Shape out = shape;
  out.push_back(classes);
  return of_one(
      {}, [=](In x) { return one_hot(beside(x, labels), classes, x.dtype()); },
      [=](const Array&) {
        return build(out, [&](const Index& index) {
          return labels.at(Index(index.begin(), index.end() - 1)) == static_cast<double>(index.back()) ? 1.0 : 0.0;
        });
      });
}

// Every third place or so, the last one among them.
std::vector<int64_t> places_in(int64_t size) {
  std::vector<int64_t> places;
  for (int64_t i = size - 1; i >= 0; i -= 1 + i % 4) places.insert(places.begin(), i);
  return places;
}

Case put_case(int64_t size) {
  const std::vector<int64_t> places = places_in(size);
  return of_many(
      {{size}, {static_cast<int64_t>(places.size())}},
      [=](const Tensors& in) { return put(in[0], Positions(places, size, in[0].device()), in[1]); },
      [=](const Arrays& in) {
        Array out = in[0];
        for (size_t i = 0; i < places.size(); ++i) out.values[static_cast<size_t>(places[i])] = in[1].values[i];
        return out;
      });
}

Case sparse_dense_case(int64_t inputs, int64_t rows, int64_t outputs) {
  const std::vector<int64_t> places = places_in(outputs * inputs);
  return of_many(
      {{inputs, rows}, {static_cast<int64_t>(places.size())}},
      [=](const Tensors& in) {
        return sparse_dense(in[0], Positions(places, outputs * inputs, in[0].device()), in[1]);
      },
      [=](const Arrays& in) {
        Array out{{rows, outputs}, Line(static_cast<size_t>(rows * outputs), 0.0)};
        for (size_t k = 0; k < places.size(); ++k)
          for (int64_t r = 0; r < rows; ++r)
            out.at({r, places[k] / inputs}) += in[1].values[k] * in[0].at({places[k] % inputs, r});
        return out;
      });
}

Tensor large_sparse_dense(In x) {
  const int64_t size = 301 * x.dim(0);
  const std::vector<int64_t> places = places_in(size);
  const Shape shape{static_cast<int64_t>(places.size())};
  return sparse_dense(x, Positions(places, size, x.device()), full(shape, 0.3, x.dtype(), x.device()));
}

Line log_softmax_of(const Line& line) {
  double top = -INFINITY, total = 0;
  for (const double x : line) top = std::isnan(x) ? x : std::max(top, x);
  for (const double x : line) total += std::exp(x - top);
  Line out;
  for (const double x : line) out.push_back(x - top - std::log(total));
  return out;
}

Line softmax_of(const Line& line) {
  Line out = log_softmax_of(line);
  for (double& x : out) x = std::exp(x);
  return out;
}

std::vector<Case> softmax_cases(Tensor (*op)(In), Line (*formula)(const Line&)) {
  std::vector<Case> cases;
  for (const Shape& shape : {Shape{17}, Shape{3, 16}, Shape{2, 3, 4}, Shape{5, 1}, Shape{0, 4}})
    cases.push_back(of_one(shape, op, [formula](const Array& x) { return along(x, -1, formula); }));
  return cases;
}

Case cross_entropy_case(const Shape& shape) {
  Shape rows = shape;
  rows.erase(rows.rank() - 1);
  const Array labels = indices_of(rows, shape.back());
  return of_one(
      shape, [=](In x) { return cross_entropy(x, beside(x, labels)); },
      [=](const Array& x) {
        const Array logs = along(x, -1, log_softmax_of);
        return build(rows, [&](Index index) {
          const double label = labels.at(index);
          index.push_back(static_cast<int64_t>(label));
          return -logs.at(index);
        });
      });
}

Tensors run_batch_norm(const Tensors& in) {
  const Normalized out = batch_norm(in[0], in[1], in[2]);
  return {out.output, out.mean, out.variance};
}

Case batch_norm_case(const Shape& shape) {
  const Shape channels{shape.back()};
  return {{shape, channels, channels}, run_batch_norm, [=](const Arrays& in) {
            const Array& x = in[0];
            const double rows = static_cast<double>(shape.size()) / static_cast<double>(shape.back());
            Array mean{channels, Line(static_cast<size_t>(shape.back()), 0.0)}, variance = mean;
            for_each(shape, [&](const Index& index) { mean.at({index.back()}) += x.at(index) / rows; });
            for_each(shape, [&](const Index& index) {
              variance.at({index.back()}) += std::pow(x.at(index) - mean.at({index.back()}), 2) / rows;
            });
            const Array output = build(shape, [&](const Index& index) {
              const Index c{index.back()};
              return (x.at(index) - mean.at(c)) / std::sqrt(variance.at(c) + 1e-5) * in[1].at(c) + in[2].at(c);
            });
            return Arrays{output, mean, variance};
          }};
}

}  // namespace

Rows index_rows() {
  Rows rows;
  rows.push_back(general("gather", {gather_case({7}, 0, 9), gather_case({3, 17}, 1, 4), gather_case({5, 4}, 0, 6),
                                    gather_case({2, 3, 4}, 1, 2), gather_case({3, 4}, 1, 0)})
                     .of_integers_too()
                     .with_large({large_one({301, 300},
                                            [](In x) {
                                              return gather(x, argmax(stack(Tensors{x, x + 1.0}, -1)), 1);
                                            })})
                     .refusing({misfit_one({2, 3}, [](In x) {
                       return gather(x, beside(x, indices_of({3, 2}, 2)));
                     })}));
  rows.push_back(
      general("scatter_add", {scatter_case({9}, 0, 7), scatter_case({3, 4}, 1, 17), scatter_case({6, 4}, 0, 5),
                              scatter_case({2, 3, 4}, 1, 2), scatter_case({3, 0}, 1, 4)})
          .with_large({large_one({301, 300},
                                 [](In x) {
                                   return scatter_add({301, 4}, argmax(stack(Tensors{x, x + 1.0, x}, -1)), x, 1);
                                 })})
          .refusing({misfit_one({2, 3}, [](In x) {
            return scatter_add({2, 5}, beside(x, indices_of({2, 4}, 5)), x);
          })}));
  rows.push_back(general("take", {take_case({7}, 0, 9), take_case({5, 3}, 0, 2), take_case({3, 4, 2}, 1, 5),
                                  take_case({2, 17}, 1, 3), take_case({2, 3}, 1, 0)})
                     .of_integers_too()
                     .reported("gather"));
  rows.push_back(
      general("one_hot", {one_hot_case({}, 3), one_hot_case({7}, 4), one_hot_case({2, 3}, 17), one_hot_case({0}, 3)})
          .constant()
          .of_integers_too());
  rows.push_back(general("put", {put_case(17), put_case(1), put_case(64), put_case(0)})
                     .with_large({large_one({100003},
                                            [](In x) {
                                              const Positions places(places_in(x.size()), x.size(), x.device());
                                              return put(x, places, take(x, places.indices()) * 2.0);
                                            })})
                     .refusing({misfit_one({5}, [](In x) { return put(x, Positions({1}, 6, x.device()), x); })}));
  rows.push_back(
      general("sparse_dense", {sparse_dense_case(5, 3, 4), sparse_dense_case(17, 16, 2), sparse_dense_case(1, 130, 3),
                               sparse_dense_case(3, 1, 1), sparse_dense_case(2, 0, 3), sparse_dense_case(4, 67, 0)})
          .with_large({large_one({211, 70}, large_sparse_dense)})
          .refusing({misfit_one({5, 2}, [](In x) { return sparse_dense(x, Positions({1}, 6, x.device()), x); })}));
  rows.push_back(general("softmax", softmax_cases(softmax, softmax_of))
                     .reported("logsumexp")
                     .with_large({large_one({500, 211}, softmax)}));
  rows.push_back(general("log_softmax", softmax_cases(log_softmax, log_softmax_of))
                     .reported("logsumexp")
                     .with_large({large_one({500, 211}, log_softmax)}));
  rows.push_back(general("cross_entropy", {cross_entropy_case({5}), cross_entropy_case({4, 3}),
                                           cross_entropy_case({2, 3, 17}), cross_entropy_case({0, 4})})
                     .reported("logsumexp"));
  rows.push_back(general("batch_norm",
                         {batch_norm_case({5, 3}), batch_norm_case({17, 1}), batch_norm_case({2, 3, 4, 16}),
                          batch_norm_case({3, 15}), batch_norm_case({1, 2, 17})},
                         {{-2, 2}, {0.5, 2}, {-1, 1}})
                     .within(64)
                     .derivative_slack(20)
                     .with_large({{.shapes = {{40, 41, 17}, {17}, {17}}, .run = run_batch_norm, .reference = {}}})
                     .refusing({{.shapes = {{4, 3}, {4}, {3}}, .run = run_batch_norm}}));
  return rows;
}

}  // namespace mollify::op_table
