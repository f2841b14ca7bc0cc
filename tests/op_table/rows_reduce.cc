// Reductions, and what is defined along one axis.
#include "rows.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

namespace mollify::op_table {
namespace {

using In = const Tensor&;
using Line = std::vector<double>;

double sum_of(const Line& line) { return std::accumulate(line.begin(), line.end(), 0.0); }
double mean_of(const Line& line) { return sum_of(line) / static_cast<double>(line.size()); }
double max_of(const Line& line) {
  double best = -std::numeric_limits<double>::infinity();
  for (const double x : line) best = x > best || std::isnan(x) || std::isnan(best) ? std::isnan(best) ? best : x : best;
  return best;
}
double min_of(const Line& line) {
  Line negative = line;
  for (double& x : negative) x = -x;
  return -max_of(negative);
}

Array reduced(const Array& x, std::vector<int> axes, bool keep, double (*fold)(const Line&)) {
  std::vector<bool> gone(static_cast<size_t>(x.shape.rank()), axes.empty());
  for (int axis : axes) gone[static_cast<size_t>(resolve_axis("reference", axis, x.shape.rank()))] = true;
  Shape kept;
  for (int axis = 0; axis < x.shape.rank(); ++axis) kept.push_back(gone[static_cast<size_t>(axis)] ? 1 : x.shape[axis]);
  std::vector<Line> lines(static_cast<size_t>(kept.size()));
  Array out{kept, {}};
  for_each(x.shape, [&](Index index) {
    const double value = x.at(index);
    for (size_t axis = 0; axis < index.size(); ++axis)
      if (gone[axis]) index[axis] = 0;
    lines[out.position(index)].push_back(value);
  });
  for (const Line& line : lines) out.values.push_back(fold(line));
  if (!keep) {
    Shape shape;
    for (int axis = 0; axis < x.shape.rank(); ++axis)
      if (!gone[static_cast<size_t>(axis)]) shape.push_back(x.shape[axis]);
    out.shape = shape;
  }
  return out;
}

using Reduction = Tensor (*)(In, Axes, bool);

template <int... axes>
Case over(Reduction op, double (*fold)(const Line&), const Shape& shape, bool keep = false, bool rows = false) {
  return of_one(
      shape, [op, keep](In x) { return op(x, {axes...}, keep); },
      [fold, keep](const Array& x) { return reduced(x, {axes...}, keep, fold); }, rows);
}

Row reduction(const char* name, Reduction op, double (*fold)(const Line&), bool of_nothing) {
  const bool linear = of_nothing;
  std::vector<Case> cases = {over<>(op, fold, {}),
                             over<>(op, fold, {17}),
                             over<>(op, fold, {3, 4, 5}, true),
                             over<0>(op, fold, {16, 3}),
                             over<0>(op, fold, {33, 17}, true),
                             over<-1>(op, fold, {5, 15}, false, linear),
                             over<-1>(op, fold, {4, 35}, true, linear),
                             over<1>(op, fold, {3, 6, 17}, false, linear),
                             over<1>(op, fold, {3, 1, 2}),
                             over<0, 2>(op, fold, {4, 5, 6}),
                             over<2, 0>(op, fold, {2, 3, 4, 2}, true),
                             over<1, 2>(op, fold, {2, 3, 4, 2}, false, linear),
                             over<0, -1>(op, fold, {1, 5, 1}),
                             over<1>(op, fold, {0, 4})};
  if (of_nothing) {
    cases.push_back(over<>(op, fold, {0}));
    cases.push_back(over<1>(op, fold, {3, 0}));
    cases.push_back(over<0, 1, 2, 3, 4>(op, fold, {2, 1, 2, 3, 2, 2}));
  }
  Row row = general(name, cases);
  return row.with_large({large_one({300, 301}, [op](In x) { return op(x, {}, false); }),
                         large_one({300, 301}, [op](In x) { return op(x, {0}, false); }),
                         large_one({300, 301}, [op](In x) { return op(x, {1}, true); })});
}

Line cumulated(Line line, bool reverse) {
  if (reverse) std::reverse(line.begin(), line.end());
  std::partial_sum(line.begin(), line.end(), line.begin());
  if (reverse) std::reverse(line.begin(), line.end());
  return line;
}

double logsumexp_of(const Line& line) {
  const double top = max_of(line);
  if (!std::isfinite(top)) return top;
  double total = 0;
  for (const double x : line) total += std::exp(x - top);
  return top + std::log(total);
}

// Positions in order of value, NaN as the largest.
std::vector<size_t> order_of(const Line& line, bool descending) {
  std::vector<size_t> order(line.size());
  std::iota(order.begin(), order.end(), size_t{0});
  const auto less = [](double a, double b) { return a < b || (std::isnan(b) && !std::isnan(a)); };
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t i, size_t j) { return descending ? less(line[j], line[i]) : less(line[i], line[j]); });
  return order;
}

Case sorting(const Shape& shape, int axis, bool descending, int64_t count,
             const std::function<ValuesAndIndices(In)>& op) {
  const auto lines = [=](bool indices) {
    return [=](const Line& line) {
      Line out;
      for (size_t i : order_of(line, descending)) out.push_back(indices ? static_cast<double>(i) : line[i]);
      if (count >= 0) out.resize(static_cast<size_t>(count));
      return out;
    };
  };
  return {{shape},
          [op](const Tensors& in) {
            const ValuesAndIndices both = op(in[0]);
            return Tensors{both.values, both.indices};
          },
          [=](const Arrays& in) {
            return Arrays{along(in[0], axis, lines(false)), along(in[0], axis, lines(true))};
          }};
}

Case argmax_case(const Shape& shape, int axis) {
  return of_one(
      shape, [axis](In x) { return argmax(x, axis); },
      [axis](const Array& x) {
        return along(
            x, axis,
            [](const Line& line) { return Line{line.empty() ? 0 : static_cast<double>(order_of(line, true)[0])}; },
            true);
      });
}

Case cumsum_case(const Shape& shape, int axis, bool reverse, bool rows = false) {
  return of_one(
      shape, [=](In x) { return cumsum(x, axis, reverse); },
      [=](const Array& x) { return along(x, axis, [reverse](const Line& line) { return cumulated(line, reverse); }); },
      rows);
}

Case logsumexp_case(const Shape& shape, int axis, bool keep) {
  return of_one(
      shape, [=](In x) { return logsumexp(x, axis, keep); },
      [=](const Array& x) {
        return along(
            x, axis, [](const Line& line) { return Line{logsumexp_of(line)}; }, !keep);
      });
}

Case sort_case(const Shape& shape, int axis, bool descending) {
  return sorting(shape, axis, descending, -1, [=](In x) { return sort(x, axis, descending); });
}

Case top_case(const Shape& shape, int64_t k, int axis) {
  return sorting(shape, axis, true, k, [=](In x) { return top_k(x, k, axis); });
}

Case sum_to_case(const Shape& from, const Shape& to) {
  return of_one(
      from, [to](In x) { return sum_to(x, to); },
      [=](const Array& x) {
        Array out{to, std::vector<double>(static_cast<size_t>(to.size()), 0.0)};
        for_each(from, [&](const Index& index) {
          Index place(index.end() - to.rank(), index.end());
          for (int axis = 0; axis < to.rank(); ++axis)
            if (to[axis] == 1) place[static_cast<size_t>(axis)] = 0;
          out.at(place) += x.at(index);
        });
        return out;
      });
}

Case by_span(const Shape& shape, const std::vector<int>& axes, bool keep) {
  return of_one(
      shape, [=](In x) { return sum(x, std::span<const int>(axes), keep); },
      [=](const Array& x) { return reduced(x, axes, keep, sum_of); });
}

Array sum_of_squares_of(const Array& x) {
  double total = 0;
  for (const double value : x.values) total += value * value;
  return build({}, [&](const Index&) { return total; });
}

}  // namespace

Rows reduction_rows() {
  Rows rows;
  rows.push_back(reduction("sum", sum, sum_of, true));
  rows.push_back(general("sum", {by_span({3, 4, 5}, {0, -1}, false), by_span({3, 4}, {}, true)}).labelled("span"));
  std::vector<Case> squares;
  for (const Shape& shape : {Shape{}, Shape{0}, Shape{1}, Shape{17}, Shape{3, 1031}, Shape{2, 3, 4}})
    squares.push_back(of_one(shape, sum_of_squares, sum_of_squares_of));
  rows.push_back(general("sum_of_squares", squares)
                     .with_large({large_one({300, 1003}, sum_of_squares)}));
  rows.push_back(reduction("mean", mean, mean_of, true).reported("sum"));
  rows.push_back(reduction("max", max, max_of, false).refusing({misfit_one({3, 0}, [](In x) { return max(x); })}));
  rows.push_back(reduction("min", min, min_of, false).refusing({misfit_one({3, 0}, [](In x) { return min(x, {1}); })}));
  rows.push_back(general("logsumexp", {logsumexp_case({17}, -1, false), logsumexp_case({5, 16}, 1, true),
                                       logsumexp_case({15, 4}, 0, false), logsumexp_case({3, 5, 2}, 1, true),
                                       logsumexp_case({3, 1}, 1, false), logsumexp_case({0, 3}, 1, false),
                                       logsumexp_case({3, 0}, 1, false)})
                     .with_large({large_one({500, 211}, [](In x) { return logsumexp(x); })}));
  rows.push_back(general("argmax", {argmax_case({17}, -1), argmax_case({5, 16}, 1), argmax_case({15, 4}, 0),
                                    argmax_case({3, 5, 2}, 1), argmax_case({0, 3}, 1)})
                     .constant()
                     .with_large({large_one({500, 211}, [](In x) { return argmax(x); })})
                     .refusing({misfit_one({3, 0}, [](In x) { return argmax(x); })}));
  rows.push_back(general("cumsum", {cumsum_case({17}, 0, false), cumsum_case({17}, 0, true),
                                    cumsum_case({4, 16}, 1, true, true), cumsum_case({15, 3}, 0, false),
                                    cumsum_case({2, 5, 3}, 1, true, true), cumsum_case({2, 0, 3}, 1, false)})
                     .with_large({large_one({500, 211}, [](In x) { return cumsum(x, 0); })}));
  rows.push_back(general("sum_to", {sum_to_case({17}, {}), sum_to_case({3, 4, 5}, {4, 1}), sum_to_case({3, 4, 5}, {5}),
                                    sum_to_case({2, 3}, {2, 3}), sum_to_case({2, 1, 3}, {1, 1, 3}),
                                    sum_to_case({0, 3}, {3}), sum_to_case({0, 3}, {1, 3})})
                     .with_large({large_one({300, 301}, [](In x) { return sum_to(x, {301}); })})
                     .types_reported("sum")
                     .refusing({misfit_one({3, 4}, [](In x) { return sum_to(x, {3}); })}));
  rows.push_back(
      general("sort", {sort_case({17}, -1, false), sort_case({5, 16}, 1, true), sort_case({15, 4}, 0, false),
                       sort_case({3, 5, 2}, 1, true), sort_case({3, 1}, 1, false), sort_case({3, 0}, 1, false)})
          .with_large({large_one({500, 211}, [](In x) { return sort(x).values; })}));
  rows.push_back(general("top_k", {top_case({17}, 3, -1), top_case({5, 16}, 16, 1), top_case({15, 4}, 2, 0),
                                   top_case({3, 5, 2}, 1, 1), top_case({3, 4}, 0, 1)})
                     .reported("sort")
                     .with_large({large_one({500, 211}, [](In x) { return top_k(x, 5).values; })})
                     .refusing({misfit_one({3, 4}, [](In x) { return top_k(x, 5).values; })}));
  return rows;
}

}  // namespace mollify::op_table
