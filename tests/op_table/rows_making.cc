// Making of tensors, and random ones. Where an operation has no input, the case's only one tells the dtype.
#include "rows.h"

#include <cmath>

namespace mollify::op_table {
namespace {

using In = const Tensor&;

Array constant_array(const Shape& shape, double value) {
  return build(shape, [value](const Index&) { return value; });
}

Row making(const char* name, const std::function<Tensor(In, const Shape&)>& make, double value) {
  std::vector<Case> cases;
  for (const Shape& shape : {Shape{}, Shape{17}, Shape{2, 3}, Shape{0, 3}, Shape{40, 60}})
    cases.push_back(of_one(
        {}, [=](In x) { return make(x, shape); }, [=](const Array&) { return constant_array(shape, value); }));
  Row row = general(name, std::move(cases));
  return row.constant().of_integers_too();
}

Row alike(const char* name, Tensor (*make)(In), double value) {
  std::vector<Case> cases;
  for (const Shape& shape : {Shape{}, Shape{17}, Shape{2, 3}, Shape{0, 3}})
    cases.push_back(of_one(shape, make, [=](const Array& x) { return constant_array(x.shape, value); }));
  Row row = general(name, std::move(cases));
  return row.constant().of_integers_too();
}

constexpr RandomKey kKey{0x123456789ABCDEF0u, 0xFEDCBA9876543210u};
constexpr int kStep = 41;

// Uniform number `i` of a draw, by the packing that random.h states.
double uniform_number(RandomKey key, int64_t i, DType dtype, uint32_t step = kStep) {
  if (dtype == DType::f32) return uniform_f32(random_words(key, step, static_cast<uint32_t>(i / 4)).word[i % 4]);
  const RandomWords words = random_words(key, step, static_cast<uint32_t>(i / 2));
  return uniform_f64(words.word[i % 2 * 2], words.word[i % 2 * 2 + 1]);
}

// Box–Muller: neighbours share a radius.
double normal_number(RandomKey key, int64_t i, DType dtype, uint32_t step = kStep) {
  const double u = uniform_number(key, i / 2 * 2, dtype, step),
               angle = 6.283185307179586 * uniform_number(key, i / 2 * 2 + 1, dtype, step);
  return std::sqrt(-2 * std::log(u)) * (i % 2 == 0 ? std::cos(angle) : std::sin(angle));
}

double sign_number(RandomKey key, int64_t i, DType dtype, uint32_t step = kStep) {
  return uniform_number(key, i, dtype, step) < 0.5 ? -1 : 1;
}

using Number = double (*)(RandomKey, int64_t, DType, uint32_t step);

Array drawn(const Shape& shape, Number number, DType dtype) {
  int64_t i = 0;
  return build(shape, [&](const Index&) { return number(kKey, i++, dtype, kStep); });
}

Tensor step() { return Tensor::scalar(kStep, DType::i32); }

std::vector<Case> drawing(Tensor (*draw)(const Shape&, RandomKey, In, DType, Device), Number number) {
  std::vector<Case> cases;
  for (const Shape& shape : {Shape{}, Shape{15}, Shape{64}, Shape{7, 9}, Shape{0}, Shape{3, 0}, Shape{20000}})
    cases.push_back(of_one(
        {}, [=](In x) { return draw(shape, kKey, step(), x.dtype(), x.device()); },
        [=](const Array& x) { return drawn(shape, number, x.dtype); }));
  return cases;
}

std::vector<Case> drawing_rows(Tensor (*draw)(const Shape&, RandomKey, In, In, DType), Number number) {
  std::vector<Case> cases;
  for (const Shape& shape : {Shape{1, 17}, Shape{5, 3, 7}, Shape{4}, Shape{0, 3}, Shape{3, 0}}) {
    const int64_t rows = shape[0], count = rows ? shape.size() / rows : 0;
    Array streams = build({rows}, [](const Index& r) { return static_cast<double>(r[0] * r[0] % 7); });
    Array steps = build({rows}, [](const Index& r) { return static_cast<double>(90 - 3 * r[0]); });
    streams.dtype = steps.dtype = DType::i32;
    for (const bool one_step : {true, false})
      cases.push_back(of_one(
          {},
          [=](In x) { return draw(shape, kKey, beside(x, streams), one_step ? step() : beside(x, steps), x.dtype()); },
          [=](const Array& x) {
            int64_t i = 0;
            return build(shape, [&](const Index& index) {
              const RandomKey key{kKey.seed, kKey.stream + static_cast<uint64_t>(streams.at({index[0]}))};
              return number(key, i++ % count, x.dtype, one_step ? kStep : static_cast<uint32_t>(steps.at({index[0]})));
            });
          }));
  }
  return cases;
}

// Σ over the draws of one stream after another, with the input as coefficients.
Case draw_sum_case(Tensor (*op)(In, int64_t, RandomKey, In), Number number, int64_t draws, int64_t count) {
  return of_one(
      {draws}, [=](In c) { return op(c, count, kKey, step()); },
      [=](const Array& c) {
        return build({count}, [&](const Index& i) {
          double sum = 0;
          for (int64_t j = 0; j < draws; ++j)
            sum += c.at({j}) * number({kKey.seed, kKey.stream + static_cast<uint64_t>(j)}, i[0], c.dtype, kStep);
          return sum;
        });
      });
}

Row draw_sum_row(const char* name, Tensor (*op)(In, int64_t, RandomKey, In), Number number) {
  std::vector<Case> cases;
  for (const auto& [draws, count] : {std::pair{3, 17}, {1, 64}, {5, 9}, {0, 3}, {2, 0}, {2, 9000}})
    cases.push_back(draw_sum_case(op, number, draws, count));
  Row row = general(name, std::move(cases));
  return row.within(64)
      .with_large({large_one({7}, [op](In c) { return op(c, 100003, kKey, step()); })})
      .refusing({misfit_one({2, 3}, [op](In c) { return op(c, 5, kKey, step()); })});
}

Row random_row(const char* name, std::vector<Case> cases) {
  Row row = general(name, std::move(cases));
  return row.constant().of_integers_too().within(32);
}

Case dropout_case(const Shape& shape, double rate) {
  return of_one(
      shape, [=](In x) { return dropout(x, rate, kKey, step()); },
      [=](const Array& x) {
        const Array u = drawn(shape, uniform_number, x.dtype);
        return build(shape, [&](const Index& index) {
          return u.at(index) >= rate ? x.at(index) / (1 - rate) : x.at(index) * 0;
        });
      });
}

}  // namespace

Rows making_rows() {
  Rows rows;
  rows.push_back(making(
      "full", [](In x, const Shape& shape) { return full(shape, 2.5, x.dtype(), x.device()); }, 2.5));
  rows.push_back(making(
      "zeros", [](In x, const Shape& shape) { return zeros(shape, x.dtype(), x.device()); }, 0));
  rows.push_back(making(
      "ones", [](In x, const Shape& shape) { return ones(shape, x.dtype(), x.device()); }, 1));
  rows.push_back(alike("zeros_like", zeros_like, 0));
  rows.push_back(alike("ones_like", ones_like, 1));
  std::vector<Case> ranges;
  for (const int64_t count : {0, 1, 17, 3000})
    ranges.push_back(of_one(
        {}, [=](In x) { return arange(count, x.dtype(), x.device()); },
        [=](const Array&) {
          return build({count}, [](const Index& index) { return static_cast<double>(index[0]); });
        }));
  rows.push_back(general("arange", ranges).constant().of_integers_too());

  std::vector<Case> moved;
  for (const Shape& shape : {Shape{}, Shape{17}, Shape{3, 4}, Shape{0, 2}})
    moved.push_back(of_one(shape, [](In x) { return to(x, x.device()); }, [](const Array& x) { return x; }));
  rows.push_back(general("to", moved).of_integers_too());

  const auto large = [](Tensor (*draw)(const Shape&, RandomKey, In, DType, Device)) {
    return std::vector<Case>{
        large_one({}, [draw](In x) { return draw({100003}, kKey, step(), x.dtype(), x.device()); })};
  };
  rows.push_back(random_row("uniform", drawing(uniform, uniform_number)).with_large(large(uniform)));
  rows.push_back(random_row("normal", drawing(normal, normal_number)).with_large(large(normal)));
  rows.push_back(random_row("signs", drawing(signs, sign_number)).with_large(large(signs)));
  rows.push_back(draw_sum_row("normal_sum", normal_sum, normal_number));
  rows.push_back(draw_sum_row("signs_sum", signs_sum, sign_number));
  rows.push_back(random_row("uniform_rows", drawing_rows(uniform_rows, uniform_number)));
  rows.push_back(random_row("normal_rows", drawing_rows(normal_rows, normal_number)));
  rows.push_back(general("dropout", {dropout_case({17}, 0.5), dropout_case({3, 5}, 0.25), dropout_case({4}, 0),
                                     dropout_case({0, 2}, 0.5)})
                     .with_large({large_one({70, 1003}, [](In x) { return dropout(x, 0.5, kKey, step()); })}));
  return rows;
}

}  // namespace mollify::op_table
