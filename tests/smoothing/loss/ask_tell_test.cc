// Asking and telling against the same optimizer that evaluates the function itself, and what goes wrong.
#include <mollify/engine/ops.h>
#include <mollify/smoothing/functions.h>
#include <mollify/smoothing/loss/ask_tell.h>

#include "../../errors.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>

namespace mollify::smoothing {
namespace {

using Sides = Population::Sides;
using Directions = Population::Directions;
using Scale = FromValues::Scale;

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN(), kInfinity = std::numeric_limits<double>::infinity();

const AskTell::Make kMakers[] = {
    [](auto g) { return optim::sgd(optim::constant(0.02), {.momentum = 0.5}, std::move(g)); },
    [](auto g) { return optim::adam(optim::constant(0.02), {}, std::move(g)); },
    [](auto g) { return optim::clip_up(optim::step_decay(0.05, 0.9, 20), {}, std::move(g)); }};

Tensor wavy(const Tensor& w) { return sum(sin(w * 3.0) + square(w) * w * 0.3); }

// Row by row, as a caller's function does.
Tensor evaluated(const std::function<Tensor(const Tensor&)>& f, const Tensor& rows) {
  std::vector<Tensor> values;
  for (int64_t i = 0; i < rows.dim(0); ++i) values.push_back(reshape(f(rows[i]), {1}));
  return concat(values);
}
void take_step(AskTell& search, const std::function<Tensor(const Tensor&)>& f) {
  search.tell(evaluated(f, search.ask()));
}

std::vector<double> numbers(const Tensor& x) { return cast(x, DType::f64).to_vector<double>(); }

std::vector<FromValues> all_options() {
  std::vector<FromValues> all;
  for (const Sides sides : {Sides::two, Sides::one, Sides::point})
    for (const bool ranks : {false, true}) {
      all.push_back({{.pairs = 5, .sides = sides, .directions = Directions::signs, .ranks = ranks, .seed = 3}});
      for (const Scale scale : {Scale::scheduled, Scale::learned, Scale::learned_each})
        all.push_back({{.pairs = 5, .sides = sides, .ranks = ranks, .seed = 3}, scale, 0.05});
    }
  return all;
}

TEST(AskTell, TakesTheStepsOfTheOptimizerThatEvaluatesTheFunction) {
  const Sigma fades = Sigma::stddev(optim::step_decay(0.3, 0.8, 2));
  for (const DType dtype : {DType::f32, DType::f64})
    for (const FromValues& how : all_options())
      for (const AskTell::Make& make : kMakers) {
        const Tensor start = randn({7}, 1, dtype), w = start + 0.0;
        AskTell search(start, fades, how, make);
        const auto optimizer = make(gradient_from_values(fades, how));
        for (int step = 0; step < 4; ++step) {
          take_step(search, wavy);
          optimizer->step(w, wavy);
          ASSERT_EQ(numbers(search.center()), numbers(w))
              << format("sides {}, ranks {}, scale {}, step {}", static_cast<int>(how.sides), how.ranks,
                        static_cast<int>(how.scale), step);
        }
        EXPECT_EQ(search.steps(), 4);
        EXPECT_NE(numbers(w), numbers(start));
        if (how.scale != Scale::scheduled) {
          EXPECT_EQ(numbers(search.state().at("scale")), numbers(optimizer->state().at("scale")));
        }
      }
}

TEST(AskTell, AsksForTheCentreAndBothSidesInOrder) {
  const Tensor start = randn({3}, 2, DType::f64);
  for (const Sides sides : {Sides::two, Sides::one, Sides::point}) {
    AskTell search(start, Sigma::stddev(0.5), {{.pairs = 4, .sides = sides, .seed = 9}}, kMakers[0]);
    const Tensor rows = search.ask();
    ASSERT_EQ(rows.shape(), (Shape{search.members(), 3}));
    ASSERT_EQ(search.members(), sides == Sides::two ? 8 : sides == Sides::one ? 5 : 4);
    EXPECT_EQ(numbers(search.ask()), numbers(rows));
    if (sides == Sides::one) { EXPECT_EQ(numbers(rows[0]), numbers(start)); }
    for (int64_t j = 0; sides == Sides::two && j < 4; ++j)
      EXPECT_LT(norm(rows[j] + rows[j + 4] - start * 2.0).item(), 1e-14) << "pair " << j;
    search.tell(evaluated(sphere, rows));
    EXPECT_NE(numbers(search.ask()), numbers(rows));
  }
}

TEST(AskTell, GoesOnFromItsStateToTheSameBits) {
  for (const FromValues& how : all_options())
    for (const AskTell::Make& make : kMakers) {
      const auto begun = [&] { return AskTell(ones({4}, DType::f64), Sigma::stddev(0.2), how, make); };
      AskTell whole = begun(), first = begun(), second = begun();
      for (int i = 0; i < 3; ++i) take_step(second, sphere);  // what it did before is forgotten
      second.set_state(first.state());
      for (int i = 0; i < 6; ++i) take_step(whole, wavy);
      for (int i = 0; i < 2; ++i) take_step(second, wavy);
      second.ask();
      first.set_state(second.state());
      EXPECT_THROW(first.tell(zeros({first.members()})), ValueError) << "what was asked is no part of the state";
      for (int i = 0; i < 4; ++i) take_step(first, wavy);
      ASSERT_EQ(numbers(first.center()), numbers(whole.center()));
      ASSERT_EQ(numbers(first.best()), numbers(whole.best()));
      ASSERT_EQ(first.best_value(), whole.best_value());
      ASSERT_EQ(first.steps(), 6);
    }
}

TEST(AskTell, PairsWithoutAFiniteLossAreLeftOut) {
  const Tensor start = ones({3}, DType::f64);
  for (const bool ranks : {false, true}) {
    const auto begun = [&](int64_t pairs) {
      return AskTell(start, Sigma::stddev(0.1), {{.pairs = pairs, .ranks = ranks, .seed = 1}},
                     [](auto g) { return optim::sgd(optim::constant(0.1), {}, std::move(g)); });
    };
    AskTell whole = begun(2), part = begun(4);
    const std::vector<double> values = numbers(evaluated(sphere, part.ask()));
    // Pairs 2 and 3 are lost by one side each; the first two draw what the first two of any population draw.
    part.tell(
        Tensor::from(std::vector<double>{values[0], values[1], kNaN, 7, values[4], values[5], 9, -kInfinity}, {8}));
    whole.ask();
    whole.tell(Tensor::from(std::vector<double>{values[0], values[1], values[4], values[5]}, {4}));
    EXPECT_EQ(part.left_out(), 2);
    EXPECT_LT(norm(part.center() - whole.center()).item(), 1e-14);
    EXPECT_GT(norm(part.center() - start).item(), 1e-3);
    EXPECT_EQ(part.best_value(), std::min({values[0], values[1], values[4], values[5]}));
  }
}

TEST(AskTell, StaysWhereNoLossIsFinite) {
  const Tensor start = ones({3});
  for (const Sides sides : {Sides::two, Sides::one, Sides::point})
    for (const Scale scale : {Scale::scheduled, Scale::learned}) {
      AskTell search(start, Sigma::stddev(0.1), {{.pairs = 3, .sides = sides}, scale, 0.1}, kMakers[0]);
      for (const double value : {kNaN, kInfinity, -kInfinity}) {
        search.ask();
        search.tell(full({search.members()}, value));
      }
      EXPECT_EQ(numbers(search.center()), numbers(start));
      EXPECT_EQ(search.left_out(), 3);
      EXPECT_EQ(search.steps(), 3);
      EXPECT_FALSE(search.best().defined());
      EXPECT_EQ(search.best_value(), kInfinity);
      if (scale == Scale::learned) { EXPECT_FLOAT_EQ(search.state().at("scale").item(), 0.1); }
      AskTell other(start + 1.0, Sigma::stddev(0.1), {{.pairs = 3, .sides = sides}, scale, 0.1}, kMakers[0]);
      take_step(other, sphere);
      other.set_state(search.state());
      EXPECT_FALSE(other.best().defined());
      EXPECT_EQ(numbers(other.ask()), numbers(search.ask()));
    }
}

// Without the loss at w no difference of one side can be formed.
TEST(AskTell, StaysWhereTheCentreHasNoLoss) {
  AskTell search(ones({3}), Sigma::stddev(0.1), {{.pairs = 3, .sides = Sides::one}}, kMakers[0]);
  search.ask();
  search.tell(Tensor::from(std::vector<float>{NAN, 3, 2, 4}, {4}));
  EXPECT_EQ(search.left_out(), 3);
  EXPECT_EQ(numbers(search.center()), numbers(ones({3})));
  EXPECT_EQ(search.best_value(), 2);
}

TEST(AskTell, KeepsTheLowestLossAndItsRow) {
  for (const bool ranks : {false, true})
    for (const Sides sides : {Sides::two, Sides::one}) {
      AskTell search(ones({5}), Sigma::stddev(0.3), {{.pairs = 3, .sides = sides, .ranks = ranks}}, kMakers[1]);
      double lowest = kInfinity;
      std::vector<double> where;
      for (int step = 0; step < 20; ++step) {
        const Tensor rows = search.ask();
        std::vector<double> values = numbers(evaluated(rastrigin, rows));
        values[static_cast<size_t>(step) % values.size()] = step % 2 == 0 ? kNaN : -kInfinity;
        for (size_t i = 0; i < values.size(); ++i)
          if (std::isfinite(values[i]) && values[i] < lowest) {
            lowest = values[i];
            where = numbers(rows[static_cast<int64_t>(i)]);
          }
        search.tell(Tensor::from(values, {search.members()}));
        ASSERT_EQ(search.best_value(), lowest);
        ASSERT_EQ(numbers(search.best()), where);
      }
    }
}

TEST(AskTell, FindsTheMinimumOfASphere) {
  for (const Scale scale : {Scale::scheduled, Scale::learned})
    for (const AskTell::Make& make : kMakers) {
      AskTell search(ones({10}), Sigma::stddev(0.05), {{.pairs = 10, .seed = 2}, scale, 1e-3}, make);
      for (int step = 0; step < 300; ++step) search.tell(sphere(search.ask()));
      EXPECT_LT(search.best_value(), 0.1);
    }
}

template <class E, class F>
void expect_refused(const F& f, const char* words) {
  expect_names(text_of<E>(f), words);
}

TEST(AskTell, RefusesLossesThatWereNotAskedFor) {
  AskTell search(ones({3}), Sigma::stddev(0.1), {{.pairs = 2}}, kMakers[0]);
  const auto told = [&](const Shape& shape) { return [&search, shape] { search.tell(zeros(shape)); }; };
  expect_refused<ValueError>(told({4}), "needs ask before tell");
  search.ask();
  expect_refused<ValueError>(told({3}), "losses [3]; needs [4]");
  expect_refused<ValueError>(told({4, 1}), "needs [4]");
  search.tell(zeros({4}));
  expect_refused<ValueError>(told({4}), "needs ask before tell");
  EXPECT_EQ(search.steps(), 1);
}

TEST(AskTell, RefusesWhatIsNone) {
  FromValues shared;
  shared.share_linear_parts = true;
  const auto made = [](const Tensor& start, double s, const FromValues& how, const AskTell::Make& make = kMakers[0]) {
    return [=] { AskTell(start, Sigma::stddev(s), how, make); };
  };
  expect_refused<ShapeError>(made(ones({3, 1}), 0.1, {}), "needs a vector");
  expect_refused<TypeError>(made(ones({3}, DType::i32), 0.1, {}), "needs f32 or f64");
  expect_refused<ValueError>(made(ones({3}), 0.1, {{.pairs = 0}}), "ask_tell: 0 pairs");
  expect_refused<ValueError>(made(ones({3}), 0, {}), "ask_tell: s 0");
  expect_refused<ValueError>(made(ones({3}), 0.1, shared), "needs the function");
  expect_refused<ValueError>(made(ones({3}), 0.1, {}, [](auto) { return optim::sgd(optim::constant(0.1)); }),
                             "another gradient");
}

TEST(AskTell, RefusesTheStateOfAnother) {
  AskTell search(ones({3}), Sigma::stddev(0.1), {{.pairs = 2}}, kMakers[0]);
  AskTell longer(ones({4}), Sigma::stddev(0.1), {{.pairs = 2}}, kMakers[0]);
  take_step(search, sphere);
  std::map<std::string, Tensor> state = search.state();
  expect_refused<ValueError>([&] { longer.set_state(state); }, "'center' is f32 [3]; needs f32 [4]");
  state.erase("best_value");
  expect_refused<ValueError>([&] { search.set_state(state); }, "no 'best_value'");
  state.erase("center");
  expect_refused<ValueError>([&] { search.set_state(state); }, "no 'center'");
}

}  // namespace
}  // namespace mollify::smoothing
