// Operations that are made of a few others.
#include "rows.h"

#include <cmath>
#include <limits>
#include <numeric>

namespace mollify::op_table {
namespace {

using In = const Tensor&;
using Line = std::vector<double>;

double variance_of(const Line& line, double correction) {
  const double n = static_cast<double>(line.size()), mean = std::accumulate(line.begin(), line.end(), 0.0) / n;
  double squares = 0;
  for (const double x : line) squares += (x - mean) * (x - mean);
  return squares / (n - correction);
}
double norm_of(const Line& line) {
  double squares = 0;
  for (const double x : line) squares += x * x;
  return std::sqrt(squares);
}
double product_of(const Line& line) { return std::accumulate(line.begin(), line.end(), 1.0, std::multiplies<>()); }

// A reduction along one axis, kept or not.
Case folded(const Shape& shape, int axis, bool keep, const std::function<Tensor(In, int, bool)>& op,
            double (*fold)(const Line&)) {
  return of_one(
      shape, [=](In x) { return op(x, axis, keep); },
      [=](const Array& x) {
        Array out = along(
            x, axis, [=](const Line& line) { return Line{fold(line)}; }, /*drop=*/!keep);
        return out;
      });
}

Row reduction(const char* name, const std::function<Tensor(In, int, bool)>& op, double (*fold)(const Line&)) {
  return general(name, {folded({17}, 0, false, op, fold), folded({4, 5}, 1, true, op, fold),
                        folded({4, 5}, 0, false, op, fold), folded({2, 3, 4}, 1, true, op, fold)});
}

// The same, by loops over all letters.
Array einsum_loops(const std::vector<std::string>& terms, const std::string& result, const Arrays& in) {
  std::string letters = result;
  std::vector<int64_t> extents;
  for (const std::string& term : terms)
    for (const char letter : term)
      if (letters.find(letter) == std::string::npos) letters += letter;
  const auto extent = [&](char letter) {
    for (size_t t = 0; t < terms.size(); ++t)
      if (const size_t at = terms[t].find(letter); at != std::string::npos) return in[t].shape[static_cast<int>(at)];
    return int64_t{0};
  };
  Shape all, kept;
  for (size_t i = 0; i < letters.size(); ++i) (i < result.size() ? kept : all).push_back(extent(letters[i]));
  return build(kept, [&](const Index& index) {
    double total = 0;
    for_each(all, [&](const Index& inner) {
      double term = 1;
      for (size_t t = 0; t < terms.size(); ++t) {
        Index at;
        for (const char letter : terms[t]) {
          const size_t place = letters.find(letter);
          at.push_back(place < result.size() ? index[place] : inner[place - result.size()]);
        }
        term *= in[t].at(at);
      }
      total += term;
    });
    return total;
  });
}

Case einsum_case(const std::vector<std::string>& terms, const std::string& result, const std::vector<Shape>& shapes) {
  std::string axes;
  for (const std::string& term : terms) axes += (axes.empty() ? "" : ",") + term;
  const Run run = [axes = axes + "->" + result](const Tensors& in) -> Tensors {
    return in.size() == 1   ? einsum(axes, {in[0]})
           : in.size() == 2 ? einsum(axes, {in[0], in[1]})
                            : einsum(axes, {in[0], in[1], in[2]});
  };
  return {shapes, run, [=](const Arrays& in) { return Arrays{einsum_loops(terms, result, in)}; }};
}

double truth(bool value) { return value ? 1 : 0; }

Row of_truth(Row row) { return row.constant().of_integers_too().selecting(); }

Case single(const std::function<Tensor(In)>& run, const Array& expected) {
  return of_one({}, run, [expected](const Array&) { return expected; });
}

}  // namespace

Rows composite_rows() {
  Rows rows;
  rows.push_back(reduction(
      "variance", [](In x, int axis, bool keep) { return variance(x, {axis}, keep); },
      [](const Line& line) { return variance_of(line, 0); }));
  rows.push_back(reduction(
      "standard_deviation", [](In x, int axis, bool keep) { return standard_deviation(x, {axis}, keep, 1); },
      [](const Line& line) { return std::sqrt(variance_of(line, 1)); }));
  rows.push_back(reduction(
      "norm", [](In x, int axis, bool keep) { return norm(x, {axis}, keep); }, norm_of));
  rows.push_back(reduction(
      "prod", [](In x, int axis, bool keep) { return prod(x, axis, keep); }, product_of));

  rows.push_back(general("einsum",
                         {einsum_case({"ik", "kj"}, "ij", {{3, 4}, {4, 5}}),
                          einsum_case({"bik", "bkj"}, "bij", {{2, 3, 4}, {2, 4, 5}}),
                          einsum_case({"i", "j"}, "ji", {{3}, {4}}), einsum_case({"ij"}, "ji", {{3, 4}}),
                          einsum_case({"ij"}, "i", {{3, 4}}), einsum_case({"ij", "ij"}, "", {{3, 4}, {3, 4}}),
                          einsum_case({"ij", "jk", "kl"}, "il", {{2, 3}, {3, 4}, {4, 2}}),
                          einsum_case({"bhqd", "bhkd"}, "bhqk", {{2, 2, 3, 4}, {2, 2, 2, 4}}),
                          einsum_case({"ij", "k"}, "kj", {{3, 4}, {2}})},
                         {{-1, 1}})
                     .within(64));
  Row trace_row = general("einsum", {einsum_case({"ii"}, "", {{4, 4}}), einsum_case({"ii"}, "i", {{4, 4}}),
                                     einsum_case({"iij", "j"}, "i", {{3, 3, 2}, {2}})});
  rows.push_back(trace_row.within(64));

  rows.push_back(general("argmin", {of_one(
                                       {17}, [](In x) { return argmin(x, 0); },
                                       [](const Array& x) {
                                         return along(
                                             x, 0,
                                             [](const Line& line) {
                                               size_t best = 0;
                                               for (size_t i = 1; i < line.size(); ++i)
                                                 if (line[i] < line[best]) best = i;
                                               return Line{static_cast<double>(best)};
                                             },
                                             true);
                                       })})
                     .constant());
  rows.push_back(of_truth(unary("is_nan", is_nan, [](double x) { return truth(std::isnan(x)); })));
  rows.push_back(of_truth(unary("logical_not", logical_not, [](double x) { return truth(x == 0); })));
  rows.push_back(
      of_truth(binary("logical_and", logical_and, [](double a, double b) { return truth(a != 0 && b != 0); })));
  rows.push_back(
      of_truth(binary("logical_or", logical_or, [](double a, double b) { return truth(a != 0 || b != 0); })));
  rows.push_back(general("any", {of_one({7}, any,
                                        [](const Array& x) {
                                          bool found = false;
                                          for (const double value : x.values) found |= value != 0;
                                          return Array{{}, {truth(found)}};
                                        }),
                                 of_one({0, 3}, any,
                                        [](const Array&) {
                                          return Array{{}, {0}};
                                        })})
                     .constant()
                     .of_integers_too());

  rows.push_back(general("linspace",
                         {single([](In x) { return linspace(-1, 2, 4, x.dtype(), x.device()); }, {{4}, {-1, 0, 1, 2}})})
                     .constant()
                     .of_integers_too());
  rows.push_back(general("eye", {single([](In x) { return eye(2, x.dtype(), x.device()); }, {{2, 2}, {1, 0, 0, 1}})})
                     .constant()
                     .of_integers_too());
  for (const auto& [name, draw] :
       {std::pair<const char*, Tensor (*)(const Shape&, RandomKey, In, DType, Device)>{"rand", uniform},
        {"randn", normal}}) {
    const auto made = [name = std::string(name)](In x) {
      return name == "rand" ? rand({3, 5}, 7, x.dtype(), x.device()) : randn({3, 5}, 7, x.dtype(), x.device());
    };
    rows.push_back(general(name, {of_one({}, made,
                                         [draw = draw](const Array& x) {
                                           return array_of(draw({3, 5}, {7, stream_of(Purpose::caller)},
                                                                Tensor::scalar(0, DType::i32), x.dtype, Device::cpu));
                                         })})
                       .constant()
                       .reported(name == std::string("rand") ? "uniform" : "normal"));
  }
  return rows;
}

}  // namespace mollify::op_table
