// Verification at its edges: who is believed, when it ends, rounding, numbers that are none, sets without rows, what is
// refused.
#include "verify_problems.h"

#include <random>

namespace mollify::nn::bounds {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity(), kNaN = std::numeric_limits<double>::quiet_NaN();

LayerPointer deep(const std::string& with) {
  return sequential(dense(8), activation(with), dense(8), activation(with), dense(3));
}

// y ≤ limit, of output 0.
Halfspaces at_most(const Problem& p, double limit) {
  Values row(static_cast<size_t>(p.outputs()), 0);
  row[0] = 1;
  return {row, {limit}};
}

// Unsafe is y_0 ≤ limit, with limits just below the least value of y_0 and just above it: bounds of the whole box leave
// them open.
struct Hard {
  Problem p = problem("deep", {2}, deep, 1);
  Graph graph = p.graph();
  Case box{{-1, -1}, {1, 1}, {at_most(p, 0)}};
  Least least = least_distance(p, box, 1e-6).value();
  Property with_limit(double limit) const { return property_of(p, {{box.lower, box.upper, {at_most(p, limit)}}}); }
  Property safe = with_limit(least.distance - 0.05), unsafe = with_limit(least.distance + 1e-4);
};

// ---- Who is believed

TEST(VerifyTrust, TakesNoWitnessThatReplayRefuses) {
  const Hard hard;
  for (const int64_t splits : {16, -1}) {
    VerifyOptions options{.seconds = 1, .max_split_inputs = splits};
    int64_t asked = 0;
    options.replay = [&](std::span<const double>) {
      ++asked;
      return Values{1e6, 0, 0};
    };
    EXPECT_EQ(verify(hard.graph, hard.with_limit(hard.least.distance + 0.1), options).verdict, Verdict::unknown);
    EXPECT_GT(asked, 0);
  }
}

TEST(VerifyTrust, FindsAWitnessThatReplayAccepts) {
  const Hard hard;
  const Property everything = hard.with_limit(1e6);
  VerifyOptions options{.seconds = 300};
  options.replay = [&](std::span<const double> x) {
    return x[0] > 0.25 ? outputs_at(hard.graph, {x.begin(), x.end()}, 1) : Values{kNaN, kNaN, kNaN};
  };
  const Outcome outcome = verify(hard.graph, everything, options);
  expect_witness(hard.graph, everything, outcome);
  EXPECT_GT(outcome.input[0], 0.25);
}

TEST(VerifyTrust, RepeatsWhatAnAttackClaims) {
  const Hard hard;
  for (const Values& claim :
       {Values{0, 0}, Values{kNaN, 0}, Values{kInfinity, -kInfinity}, Values{1e300, 5}, Values{-1, -1}})
    for (const int64_t splits : {16, -1}) {
      int64_t asked = 0;
      VerifyOptions options{.max_split_inputs = splits};
      options.attack = [&](const Case& box, const Halfspaces& unsafe, double seconds) {
        ++asked;
        EXPECT_EQ(box.lower, hard.box.lower);
        EXPECT_EQ(unsafe.rows(), 1);
        EXPECT_GT(seconds, 0);
        return claim;
      };
      const Outcome outcome = verify(hard.graph, hard.safe, options);
      EXPECT_EQ(outcome.verdict, Verdict::unsat) << claim[0] << ", " << outcome.stage << ", worst " << outcome.worst;
      EXPECT_EQ(asked, 1);
    }
}

TEST(VerifyTrust, TakesAnAttacksWitness) {
  const Hard hard;
  VerifyOptions options{.stages = {"attack"}};
  options.attack = [&](const Case&, const Halfspaces&, double) { return hard.least.x; };
  const Outcome outcome = verify(hard.graph, hard.unsafe, options);
  expect_witness(hard.graph, hard.unsafe, outcome);
  EXPECT_EQ(outcome.stage, "attack");
  EXPECT_EQ(outcome.input, hard.least.x);
  options.attack = [](const Case&, const Halfspaces&, double) { return Values(); };
  const Outcome none = verify(hard.graph, hard.unsafe, options);
  EXPECT_EQ(none.verdict, Verdict::unknown);
  EXPECT_EQ(none.stage, "no stage left");
}

// ---- When it ends

TEST(VerifyEnds, WithTime) {
  const Hard hard;
  for (const int64_t splits : {16, -1}) {
    const Outcome outcome = verify(hard.graph, hard.safe, {.seconds = 0, .max_split_inputs = splits});
    EXPECT_EQ(outcome.verdict, Verdict::unknown);
    EXPECT_EQ(outcome.stage, "out of time");
    EXPECT_EQ(outcome.domains, 0);
  }
}

TEST(VerifyEnds, WhenAsked) {
  const Hard hard;
  for (const int64_t splits : {16, -1})
    for (const int64_t patience : {0, 1, 5}) {
      int64_t asked = 0, reports = 0;
      double before = 0;
      VerifyOptions options{.max_split_inputs = splits, .batch = 1};
      options.stop = [&] { return asked++ >= patience; };
      options.progress = [&](const VerifyProgress& p) {
        ++reports;
        EXPECT_GE(p.seconds, before);
        EXPECT_GE(p.open, 0);
        before = p.seconds;
      };
      const Outcome outcome = verify(hard.graph, hard.safe, options);
      EXPECT_EQ(outcome.verdict, Verdict::unknown);
      EXPECT_EQ(outcome.stage, "out of time");
      EXPECT_EQ(reports > 0, patience > 0);
    }
}

TEST(VerifyEnds, WithMemory) {
  const Hard hard;
  for (const int64_t splits : {16, -1}) {
    const Outcome outcome = verify(hard.graph, hard.safe, {.max_split_inputs = splits, .memory = 1});
    EXPECT_EQ(outcome.verdict, Verdict::unknown);
    EXPECT_EQ(outcome.stage, "out of memory for domains");
  }
}

TEST(VerifyEnds, BatchesDoNotChangeVerdicts) {
  const Hard hard;
  for (const int64_t splits : {16, -1})
    for (const int64_t batch : {1, 3, 100}) {
      EXPECT_EQ(verify(hard.graph, hard.safe, {.max_split_inputs = splits, .batch = batch}).verdict, Verdict::unsat);
      const Property unsafe = hard.with_limit(hard.least.distance + 0.05);
      expect_witness(hard.graph, unsafe, verify(hard.graph, unsafe, {.max_split_inputs = splits, .batch = batch}));
    }
}

// ---- Single points, limits that are met

TEST(VerifyEdges, SinglePointsHaveVerdicts) {
  const Hard hard;
  for (const Values& x : {Values{0.1, -0.7}, Values{0, 0}, Values{-1, 1.0 / 3}}) {
    const double y = outputs_at(hard.graph, x, 1)[0];
    for (const int64_t splits : {16, -1})
      for (const std::vector<std::string>& stages : {std::vector<std::string>{}, {"guess"}, {"branch"}}) {
        const auto run = [&](double limit) {
          const Property property = property_of(hard.p, {{x, x, {at_most(hard.p, limit)}}});
          const Outcome outcome =
              verify(hard.graph, property, {.seconds = 300, .max_split_inputs = splits, .stages = stages});
          if (outcome.verdict == Verdict::sat) {
            expect_witness(hard.graph, property, outcome);
          }
          return outcome.verdict;
        };
        EXPECT_EQ(run(y), Verdict::sat) << "the limit is met";
        EXPECT_EQ(run(y + 1e-9), Verdict::sat);
        EXPECT_EQ(run(y - 1e-9), stages == std::vector<std::string>{"guess"} ? Verdict::unknown : Verdict::unsat);
        EXPECT_NE(run(std::nextafter(y, -kInfinity)), Verdict::sat) << "the network's own arithmetic does not reach it";
      }
  }
}

TEST(VerifyEdges, CornersOfBoxesAreTheirLastBit) {
  const Problem line = problem("line", {2}, [](const std::string&) { return dense(1); }, 3);
  const Graph graph = line.graph();
  const Values lower{0.1, std::nextafter(0.3, 1)}, upper{0.7, 0.9};
  double least = kInfinity;
  for (const double a : {lower[0], upper[0]})
    for (const double b : {lower[1], upper[1]}) least = std::min(least, outputs_at(graph, {a, b}, 1)[0]);
  const Property property = property_of(line, {{lower, upper, {at_most(line, least)}}});
  expect_witness(graph, property, verify(graph, property));
  EXPECT_EQ(verify(graph, property_of(line, {{lower, upper, {at_most(line, least - 1e-12)}}})).verdict, Verdict::unsat);
}

TEST(VerifyEdges, ASetWithoutRowsIsEverywhere) {
  const Hard hard;
  const Property property = property_of(hard.p, {{hard.box.lower, hard.box.upper, {{}}}});
  for (const int64_t splits : {16, -1})
    for (const std::vector<std::string>& stages : {std::vector<std::string>{}, {"guess"}, {"bounds"}, {"branch"}}) {
      const Outcome outcome =
          verify(hard.graph, property, {.seconds = 300, .max_split_inputs = splits, .stages = stages});
      expect_witness(hard.graph, property, outcome);
    }
  EXPECT_EQ(verify(hard.graph, property_of(hard.p, {{hard.box.lower, hard.box.upper, {}}})).verdict, Verdict::unsat)
      << "no set";
}

// ---- Rounding

// y = relu(x + 2⁵²) − 2⁵² − x is 0 for every x > 0, and (0.6, 0.9) computes to more.
TEST(VerifyRounding, ALostFractionIsNoMargin) {
  const double big = 0x1p52;
  const auto network = std::make_shared<Network>(
      "lost", Shape{1}, sequential(residual(sequential(dense(1), relu(), dense(1)), dense(1))));
  const Tensor weights = Tensor::from(Values{1, big, 1, -big, -1, 0}, {6});
  const Problem p{{"lost", network, weights, {}}, {}};
  const Graph graph = p.graph();
  ASSERT_GT(outputs_at(graph, {0.7}, 1)[0], 0.2);
  for (const double limit : {0.0, 1e-16, 0.1})
    for (const int64_t splits : {16, -1})
      for (const auto& [low, high] : {std::pair(0.6, 0.9), std::pair(0.7, 0.7)}) {
        const Property property = property_of(p, {{{low}, {high}, {at_most(p, limit)}}});
        EXPECT_NE(verify(graph, property, {.seconds = 1, .max_split_inputs = splits}).verdict, Verdict::unsat) << limit;
      }
}

// The same network computes 0 or less where it is more: y = x + 2⁵³ − 2⁵³ loses an odd fraction, and what the computer
// finds is no witness.
TEST(VerifyRounding, ALostFractionIsNoWitness) {
  const double big = 0x1p53;
  const auto network = std::make_shared<Network>("lost", Shape{1}, sequential(dense(1), relu(), dense(1)));
  const Problem p{{"lost", network, Tensor::from(Values{1, big, 1, -big}, {4}), {}}, {}};
  const Graph graph = p.graph();
  ASSERT_EQ(outputs_at(graph, {0.9}, 1)[0], 0);
  for (const int64_t splits : {16, -1}) {
    const Property safe = property_of(p, {{{0.5}, {0.9}, {at_most(p, 0.25)}}});
    EXPECT_NE(verify(graph, safe, {.seconds = 1, .max_split_inputs = splits}).verdict, Verdict::sat);
    const Property unsafe = property_of(p, {{{0.5}, {0.9}, {at_most(p, 1000)}}});
    EXPECT_EQ(verify(graph, unsafe, {.seconds = 1, .max_split_inputs = splits}).verdict, Verdict::sat);
  }
}

// The numbers 0.1, 0.2 and 0.3 of a computer add to 0.1 + 0.2 − 0.3 = 2⁻⁵⁵, but the sum may compute to 2⁻⁵⁴.
TEST(VerifyRounding, TheLastBitIsNoMargin) {
  const auto network = std::make_shared<Network>("bit", Shape{3}, sequential(dense(1), relu(), dense(1)));
  const Problem p{{"bit", network, Tensor::from(Values{0.1, 0.2, -0.3, 0, 1, 0}, {6}), {}}, {}};
  const Graph graph = p.graph();
  const Values x{1, 1, 1};
  for (const int64_t splits : {16, -1})
    EXPECT_NE(verify(graph, property_of(p, {{x, x, {at_most(p, 0x1p-55)}}}), {.max_split_inputs = splits}).verdict,
              Verdict::unsat);
  EXPECT_EQ(verify(graph, property_of(p, {{x, x, {at_most(p, -1e-14)}}})).verdict, Verdict::unsat);
}

// Networks of large integers that cancel: their exact outputs are integers of 128 bits. Limits just above these, where
// the computed ones are above the limit, must not be shown safe.
TEST(VerifyRounding, CancellationIsNoMargin) {
  using Exact = __int128;
  constexpr size_t kInputs = 24, kHidden = 12;
  std::mt19937_64 generator(11);
  const auto integer = [&](int bits) {
    return static_cast<int64_t>(generator() >> (64 - bits)) - (int64_t{1} << (bits - 1));
  };
  const auto network =
      std::make_shared<Network>("cancelling", Shape{kInputs}, sequential(dense(kHidden), relu(), dense(1)));
  int traps = 0;
  for (int trial = 0; trial < 400; ++trial) {
    std::vector<int64_t> x, weights;
    for (size_t i = 0; i < kInputs; ++i) x.push_back(integer(40));
    for (size_t i = 0; i < kInputs * kHidden; ++i) weights.push_back(integer(40));
    for (size_t i = 0; i < kHidden; ++i) weights.push_back(integer(40));
    for (size_t i = 0; i < kHidden; ++i) weights.push_back(integer(20));
    weights.push_back(0);
    Exact y = 0;
    for (size_t h = 0; h < kHidden; ++h) {
      Exact z = weights[kInputs * kHidden + h];
      for (size_t i = 0; i < kInputs; ++i) z += Exact{weights[h * kInputs + i]} * x[i];
      if (z > 0) y += z * weights[kInputs * kHidden + kHidden + h];
    }
    double limit = static_cast<double>(y);
    if (static_cast<Exact>(limit) < y) limit = std::nextafter(limit, kInfinity);
    const auto size = static_cast<int64_t>(weights.size());
    const Problem p{{"cancelling", network, Tensor::from(Values(weights.begin(), weights.end()), {size}), {}}, {}};
    const Graph graph = p.graph();
    const Values point(x.begin(), x.end());
    traps += outputs_at(graph, point, 1)[0] > limit;
    for (const int64_t splits : {int64_t{64}, int64_t{-1}}) {
      const Property property = property_of(p, {{point, point, {at_most(p, limit)}}});
      const Outcome outcome = verify(graph, property, {.seconds = 1, .max_split_inputs = splits});
      EXPECT_NE(outcome.verdict, Verdict::unsat) << "trial " << trial << ", " << outcome.stage;
    }
  }
  EXPECT_GT(traps, 50) << "the computed outputs are above the limits too rarely for this test to say something";
}

// ---- Weights that are no numbers

TEST(VerifyNumbers, NaNShowsNothing) {
  const Hard hard;
  const Values weights = hard.p.network.weights.to_vector<double>();
  // A weight and a bias of each layer (2 → 8 → 8 → 3), those of output 0 in the last.
  for (const size_t place : {0, 16, 24, 88, 96, 120})
    for (const int64_t splits : {16, -1})
      for (const double limit : {-1e9, 0.0, 1e9}) {
        Problem p = hard.p;
        Values broken = weights;
        broken[place] = kNaN;
        p.network.weights = Tensor::from(broken, {static_cast<int64_t>(broken.size())});
        const Property property = property_of(p, {{hard.box.lower, hard.box.upper, {at_most(p, limit)}}});
        const Outcome outcome = verify(p.graph(), property, {.seconds = 0.3, .max_split_inputs = splits});
        EXPECT_EQ(outcome.verdict, Verdict::unknown)
            << "weight " << place << ", limit " << limit << ", " << outcome.stage;
      }
}

TEST(VerifyNumbers, InfinityIsNeverSafe) {
  const Hard hard;
  const Values weights = hard.p.network.weights.to_vector<double>();
  for (const size_t place : {0, 16, 24, 88, 96, 120})
    for (const double value : {kInfinity, -kInfinity})
      for (const int64_t splits : {16, -1})
        for (const double limit : {-1e9, 0.0}) {
          Problem p = hard.p;
          Values broken = weights;
          broken[place] = value;
          p.network.weights = Tensor::from(broken, {static_cast<int64_t>(broken.size())});
          const Property property = property_of(p, {{hard.box.lower, hard.box.upper, {at_most(p, limit)}}});
          const Graph graph = p.graph();
          const Outcome outcome = verify(graph, property, {.seconds = 0.3, .max_split_inputs = splits});
          EXPECT_NE(outcome.verdict, Verdict::unsat)
              << value << " at weight " << place << ", limit " << limit << ", " << outcome.stage;
          if (outcome.verdict == Verdict::sat) expect_witness(graph, property, outcome);
        }
}

// ---- What is refused

template <class E, class F>
void expect_refused(const std::string& text, const F& f) {
  try {
    f();
    ADD_FAILURE() << "nothing thrown; expected: " << text;
  } catch (const E& error) {
    EXPECT_EQ(std::string(error.what()), text);
  }
}

TEST(VerifyErrors, SayWhatIsNeeded) {
  const Hard hard;
  const Specimen& s = hard.p.network;
  const Graph single(*s.network, cast(s.weights, DType::f32));
  expect_refused<TypeError>("verify: the network is f32; needs f64", [&] { verify(single, hard.safe); });
  Property wide = hard.safe, long_one = hard.safe;
  wide.inputs = 5;
  expect_refused<ShapeError>("verify: the network has 2 inputs and 3 outputs, the property 5 and 3; must be equal",
                             [&] { verify(hard.graph, wide); });
  long_one.outputs = 1;
  expect_refused<ShapeError>("verify: the network has 2 inputs and 3 outputs, the property 2 and 1; must be equal",
                             [&] { verify(hard.graph, long_one); });
  expect_refused<ValueError>("verify: stage 'branches' given; there are guess, attack, bounds, branch",
                             [&] { verify(hard.graph, hard.safe, {.stages = {"guess", "branches"}}); });
  EXPECT_EQ(to_string(Verdict::unsat) + " " + to_string(Verdict::sat) + " " + to_string(Verdict::unknown),
            "unsat sat unknown");
}

}  // namespace
}  // namespace mollify::nn::bounds
