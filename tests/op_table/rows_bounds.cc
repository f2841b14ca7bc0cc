// Rows through lines: relax and choose_sum of nn/bounds, of whole rows, of pairs and of windows.
#include "rows.h"

#include <mollify/nn/bounds/ops.h>

namespace mollify::op_table {
namespace {

using nn::bounds::Pairs;
using nn::bounds::Window;
using Places = std::vector<int32_t>;

// Which inputs there are after the rows: slopes ≥ 0 and < 0 (relax only), the intercept ≥ 0 unless it is empty, the
// intercept < 0.
struct Form { bool slopes, intercept; };

// Samples and sources of pairs; without samples there are none.
struct Chosen {
  bool pairs = false;
  Places sample = {}, source = {};  // without sources each row is its own pair's
  Places place = {};                // with places rows are windows of the lines' image
  int64_t columns = 0;
  Window window = {};

  // Where number [y, x] of pair r's window is in the image [H, W]; false: outside.
  bool find(const Shape& image, int64_t r, int64_t& y, int64_t& x) const {
    y += place[static_cast<size_t>(r)] / columns * window.stride_height - window.before_height;
    x += place[static_cast<size_t>(r)] % columns * window.stride_width - window.before_width;
    return y >= 0 && y < image[0] && x >= 0 && x < image[1];
  }
};

Pairs pairs_of(const Chosen& chosen, Device device) {
  const auto places = [&](const Places& values) {
    return to(Tensor::from(values, {static_cast<int64_t>(values.size())}), device);
  };
  Pairs pairs;
  pairs.columns = chosen.columns;
  if (chosen.pairs) pairs.sample = places(chosen.sample);
  if (!chosen.source.empty()) pairs.source = places(chosen.source);
  if (!chosen.place.empty()) pairs.place = places(chosen.place);
  return pairs;
}

Run run_of(Form form, const Chosen& chosen) {
  return [=](const Tensors& in) {
    const Pairs pairs = pairs_of(chosen, in[0].device());
    const Window* window = chosen.place.empty() ? nullptr : &chosen.window;
    const size_t lines = form.slopes ? 3 : 1;
    const Tensor nonnegative = form.intercept ? in[lines] : Tensor(), negative = in[in.size() - 1];
    if (!form.slopes) return Tensors{nn::bounds::choose_sum(in[0], nonnegative, negative, pairs, window)};
    const nn::bounds::Relaxed out = nn::bounds::relax(in[0], in[1], in[2], nonnegative, negative, pairs, window);
    return Tensors{out.rows, out.constant};
  };
}

Reference reference_of(Form form, const Chosen& chosen) {
  return [=](const Arrays& in) {
    const Array &rows = in[0], &last = in.back();
    const size_t lines = form.slopes ? 3 : 1;
    Shape shape = rows.shape;
    if (shape[0] == 1) shape[0] = last.shape[0];
    if (chosen.pairs) {
      shape[0] = 1;
      shape[1] = static_cast<int64_t>(chosen.sample.size());
    }
    // Of one that has samples or rows of its own, or 1 of them for all.
    const auto at = [](const Array& x, int64_t sample, int64_t row, Index index) {
      index[0] = x.shape[0] == 1 ? 0 : sample;
      index[1] = x.shape[1] == 1 ? 0 : row;
      return x.at(index);
    };
    Array out{shape, std::vector<double>(static_cast<size_t>(shape.size()))};
    Array sums{{shape[0], shape[1]}, std::vector<double>(static_cast<size_t>(shape[0] * shape[1]))};
    for_each(shape, [&](const Index& index) {
      int64_t sample = index[0], row = index[1];
      if (chosen.pairs) {
        sample = chosen.sample[static_cast<size_t>(index[1])];
        if (!chosen.source.empty()) row = chosen.source[static_cast<size_t>(index[1])];
      }
      const double a = at(rows, sample, row, index);
      const bool nonnegative = a >= 0;
      Index of_line = index;
      if (!chosen.place.empty() && !chosen.find({last.shape[2], last.shape[3]}, index[1], of_line[2], of_line[3]))
        return;
      if (form.slopes) out.at(index) = a * at(in[nonnegative ? 1 : 2], sample, row, of_line);
      const double intercept = !nonnegative     ? at(last, sample, row, of_line)
                               : form.intercept ? at(in[lines], sample, row, of_line)
                                                : 0;
      sums.at({index[0], index[1]}) += a * intercept;
    });
    return form.slopes ? Arrays{out, sums} : Arrays{sums};
  };
}

// Rows, and lines that all have one shape.
std::vector<Shape> shapes_of(Form form, const Shape& rows, const Shape& lines) {
  std::vector<Shape> shapes((form.slopes ? 3u : 1u) + (form.intercept ? 2u : 1u), lines);
  shapes[0] = rows;
  return shapes;
}

Case case_of(Form form, const Shape& rows, const Shape& lines, const Chosen& chosen = {}) {
  return {shapes_of(form, rows, lines), run_of(form, chosen), reference_of(form, chosen)};
}

Row row_of(Form form, std::vector<Case> cases, std::string label) {
  return general(form.slopes ? "relax" : "choose_sum", std::move(cases), {{-2, 2, {0}}, {}})
      .labelled(std::move(label) + (form.intercept ? "" : "_empty_intercept"));
}

// Rows shared by all samples or not, against lines shared by all samples or not, by all rows or not; images; the
// kernels' remainders.
Row all_for_all(Form form) {
  std::vector<Case> cases;
  for (const auto& [rows, lines] : std::vector<std::pair<Shape, Shape>>{{{2, 3, 2}, {2, 1, 2}},
                                                                        {{1, 2, 4}, {2, 1, 4}},
                                                                        {{2, 2, 3}, {2, 2, 3}},
                                                                        {{1, 2, 3}, {2, 2, 3}},
                                                                        {{2, 3, 5}, {1, 1, 5}},
                                                                        {{1, 3, 1}, {1, 1, 1}},
                                                                        {{2, 2, 2, 3}, {2, 1, 2, 3}},
                                                                        {{1, 2, 2, 2, 2}, {3, 1, 2, 2, 2}},
                                                                        {{2, 1, 15}, {2, 1, 15}},
                                                                        {{1, 2, 37}, {2, 1, 37}},
                                                                        {{2, 2, 70}, {2, 2, 70}},
                                                                        {{1, 3, 1100}, {2, 1, 1100}},
                                                                        {{1, 2, 0}, {2, 1, 0}},
                                                                        {{1, 0, 3}, {2, 1, 3}},
                                                                        {{0, 2, 3}, {0, 1, 3}},
                                                                        {{1, 2, 3}, {0, 1, 3}}})
    cases.push_back(case_of(form, rows, lines));
  const auto misfit = [&](const Shape& rows, const Shape& lines) {
    return Misfit{shapes_of(form, rows, lines), run_of(form, {})};
  };
  return row_of(form, cases, "all")
      .refusing({misfit({2, 3, 4}, {3, 1, 4}), misfit({2, 3, 4}, {2, 2, 4}), misfit({2, 3, 4}, {2, 1, 5}),
                 misfit({2, 3, 4}, {2, 1, 2, 2}), misfit({1, 3, 2, 3}, {2, 1, 3, 2}), misfit({2, 3}, {2, 1})})
      .with_large({case_of(form, {1, 30, 1003}, {4, 1, 1003}), case_of(form, {3, 20, 1003}, {3, 20, 1003})});
}

// Some of shared rows for some samples: several of one sample and none of another, a row twice or never.
Row for_pairs(Form form) {
  const Chosen chosen{true, {0, 0, 2, 2, 2}, {1, 0, 2, 1, 1}}, own{true, {0, 1, 1}};
  Chosen many{true};
  for (int32_t i = 0; i < 120; ++i) {
    many.sample.push_back(i / 50);
    many.source.push_back(7 * i % 30);
  }
  const std::vector<Case> cases{
      case_of(form, {1, 3, 2}, {3, 1, 2}, chosen),   case_of(form, {1, 3, 4}, {2, 1, 4}, own),
      case_of(form, {1, 4, 3}, {1, 1, 3}, chosen),   case_of(form, {1, 3, 2, 3}, {3, 1, 2, 3}, chosen),
      case_of(form, {1, 3, 37}, {3, 1, 37}, chosen), case_of(form, {1, 3, 1100}, {2, 1, 1100}, own),
      case_of(form, {1, 0, 3}, {2, 1, 3}, {true}),   case_of(form, {1, 3, 0}, {3, 1, 0}, chosen)};
  const auto misfit = [&](const Shape& rows, const Shape& lines, const Chosen& pairs) {
    return Misfit{shapes_of(form, rows, lines), run_of(form, pairs)};
  };
  return row_of(form, cases, "pairs")
      .refusing({misfit({1, 3, 4}, {3, 1, 5}, chosen), misfit({1, 3, 4}, {3, 3, 4}, chosen)})
      .with_large({case_of(form, {1, 30, 1003}, {3, 1, 1003}, many)});
}

// Windows at the image's edges, between them, as large as the image and larger, with strides.
const Chosen kWindows[] = {
    {true, {0, 0, 1, 1, 1}, {0, 1, 1, 0, 1}, {0, 3, 2, 1, 3}, 2, {1, 1, 1, 1}},
    {true, {0, 1, 1}, {}, {0, 4, 5}, 3, {2, 1, 1, 0}},
    {true, {0, 0, 1}, {1, 1, 0}, {0, 0, 0}, 1, {1, 1, 1, 2}},
};
constexpr int64_t kHeight = 3, kWidth = 4;  // of the image

Row for_windows(Form form) {
  std::vector<Case> cases;
  for (const int64_t samples : {2, 1})
    for (const auto& [rows, chosen] :
         {std::pair(Shape{1, 2, 2, 2, 1}, kWindows[0]), std::pair(Shape{1, 3, 2, 3, 2}, kWindows[1]),
          std::pair(Shape{1, 2, 5, 7, 2}, kWindows[2])})
      cases.push_back(case_of(form, rows, {samples, 1, kHeight, kWidth, rows[4]}, chosen));
  Chosen many{true, {}, {}, {}, 9, {2, 2, 1, 1}};
  for (int32_t i = 0; i < 120; ++i) {
    many.sample.push_back(i / 50);
    many.source.push_back(7 * i % 6);
    many.place.push_back(i % 81);
  }
  return row_of(form, cases, "windows")
      .refusing({{shapes_of(form, {1, 2, 2, 2, 1}, {2, 1, kHeight, kWidth, 2}), run_of(form, kWindows[0])}})
      .with_large({case_of(form, {1, 6, 5, 5, 17}, {3, 1, 18, 18, 17}, many)});
}

// The input only tells a dtype.
Row numbers_of_windows() {
  std::vector<Case> cases;
  for (const Chosen& chosen : kWindows) {
    const Shape rows{1, 2, 2, 3, 2}, out{static_cast<int64_t>(chosen.place.size()), 2 * 3 * 2};
    cases.push_back(of_one(
        {},
        [=](const Tensor& x) {
          return window_numbers(pairs_of(chosen, x.device()), chosen.window, rows, {kHeight, kWidth, 2});
        },
        [=](const Array&) {
          return build(out, [&](const Index& index) {
            int64_t y = index[1] / 6, x = index[1] / 2 % 3;
            const bool inside = chosen.find({kHeight, kWidth}, index[0], y, x);
            return static_cast<double>(inside ? (y * kWidth + x) * 2 + index[1] % 2 : kHeight * kWidth * 2);
          });
        }));
  }
  return general("window_numbers", cases).constant().of_integers_too();
}

}  // namespace

Rows bounds_rows() {
  Rows rows{numbers_of_windows()};
  for (const bool slopes : {true, false})
    for (const bool intercept : {true, false})
      for (const auto& family : {all_for_all, for_pairs, for_windows}) rows.push_back(family({slopes, intercept}));
  return rows;
}

}  // namespace mollify::op_table
