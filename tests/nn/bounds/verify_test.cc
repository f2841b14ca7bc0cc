// Verdicts against brute force: thresholds just above and just below the least value that a small network reaches.
#include "../../cases.h"
#include "verify_problems.h"

#include <cstdlib>
#include <random>

namespace mollify::nn::bounds {
namespace {

LayerPointer deep(const std::string& with) {
  return sequential(dense(8), activation(with), dense(8), activation(with), dense(3));
}
LayerPointer shallow(const std::string& with) { return sequential(dense(12), activation(with), dense(2)); }
LayerPointer residual_dense(const std::string& with) {
  return sequential(dense(6), activation(with), residual(sequential(dense(5), activation(with), dense(6))),
                    activation(with), dense(2));
}
LayerPointer convolutional(const std::string& with) {
  return sequential(conv2d({.filters = 2, .kernel = 3, .padding = 1}), activation(with),
                    conv2d({.filters = 2, .kernel = 2, .stride = 2}), activation(with), flatten(), dense(3));
}
LayerPointer residual_images(const std::string& with) {
  return sequential(conv2d({.filters = 2, .kernel = 3, .padding = 1}), activation(with),
                    residual(sequential(conv2d({.filters = 2, .kernel = 3, .padding = 1, .bias = false}),
                                        activation(with), conv2d({.filters = 2, .kernel = 1}))),
                    activation(with), flatten(), dense(2));
}
LayerPointer pooled(const std::string& with) {
  return sequential(conv2d({.filters = 2, .kernel = 2, .padding = 1}), activation(with), max_pool(2, 2), flatten(),
                    dense(2));
}

// Inputs 0 and 1 move, the others stay where they are.
Case box_of(const Problem& p, double low, double high, std::vector<Halfspaces> unsafe, uint64_t stream = 70) {
  Values lower = drawn({p.inputs()}, stream).to_vector<double>(), upper = lower;
  for (size_t i = 0; i < 2; ++i) {
    lower[i] = low;
    upper[i] = high;
  }
  return {lower, upper, std::move(unsafe)};
}

struct Answers {
  Property unsafe, safe;
  Values x;  // a witness of `unsafe`
};

// Random sets with so many rows each, with limits that are off by `margin` either way. The first whose least distance
// the grid finds; nothing where it gets too fine for all of them.
std::optional<Answers> tried_answers(const Problem& p, double low, double high, const std::vector<int64_t>& rows,
                                     uint64_t stream, double margin) {
  constexpr double kGap = 1e-6;
  for (int attempt = 0; attempt < 20; ++attempt, stream += 1000) {
    const Property property = property_of(p, {box_of(p, low, high, random_sets(p, rows, stream))});
    const std::optional<Least> least = least_distance(p, property.cases[0], kGap);
    if (!least) continue;
    return Answers{moved(property, least->distance + margin), moved(property, least->distance - kGap - margin),
                   least->x};
  }
  return {};
}

Answers answers(const Problem& p, double low, double high, const std::vector<int64_t>& rows, uint64_t stream,
                double margin) {
  const std::optional<Answers> found = tried_answers(p, low, high, rows, stream, margin);
  if (!found) throw std::runtime_error("answers: the grid gets too fine; needs another network than " + p.network.name);
  return *found;
}

constexpr int64_t kSplitRelus = -1;  // for max_split_inputs

// With the search alone, no guesses and attacks, unless they are asked for.
VerifyOptions searching(int64_t max_split_inputs, std::vector<std::string> stages = {"branch"}) {
  return {.seconds = 300, .max_split_inputs = max_split_inputs, .stages = std::move(stages)};
}

// Rows of the sets of a case: one, a conjunction, a disjunction, both.
const std::vector<std::vector<int64_t>> kSets = {{1}, {2}, {1, 1, 1}, {2, 1, 3}};

void expect_right_by_input_splits(const Problem& p, double margin) {
  const Graph graph = p.graph();
  uint64_t stream = 300;
  for (const auto& rows : kSets) {
    SCOPED_TRACE(format("{}, sets number {}, margin {}", p.network.name, stream, margin));
    const Answers a = answers(p, -1, 1, rows, stream, margin);
    stream += 10;
    expect_witness(graph, a.unsafe, verify(graph, a.unsafe, searching(16)));
    expect_witness(graph, a.unsafe, verify(graph, a.unsafe, {.seconds = 300}));
    for (const VerifyOptions& options : {searching(16), VerifyOptions{.seconds = 300}}) {
      const Outcome outcome = verify(graph, a.safe, options);
      EXPECT_EQ(outcome.verdict, Verdict::unsat) << outcome.stage << ", worst " << outcome.worst;
    }
  }
}

TEST(VerifyByInputs, IsRightOfRelus) {
  for (const uint64_t seed : {1, 2, 3})
    for (const double margin : {1e-2, 1e-5}) {
      expect_right_by_input_splits(problem("deep", {2}, deep, seed), margin);
      expect_right_by_input_splits(problem("shallow", {2}, shallow, seed), margin);
    }
}

TEST(VerifyByInputs, IsRightOfResidualNetworks) {
  for (const uint64_t seed : {4, 5}) {
    expect_right_by_input_splits(problem("residual", {2}, residual_dense, seed), 1e-4);
    expect_right_by_input_splits(problem("residual images", {3, 3, 1}, residual_images, seed), 1e-4);
  }
}

TEST(VerifyByInputs, IsRightOfConvolutions) {
  for (const uint64_t seed : {6, 7}) {
    expect_right_by_input_splits(problem("convolutional", {4, 4, 1}, convolutional, seed), 1e-4);
    expect_right_by_input_splits(problem("pooled", {3, 3, 1}, pooled, seed), 1e-4);
  }
}

TEST(VerifyByInputs, IsRightOfCurves) {
  for (const char* with : {"tanh", "sigmoid", "abs", "leaky_relu", "softplus"})
    expect_right_by_input_splits(problem(with, {2}, shallow, 8, with), 1e-3);
}

// A witness inside the box may be none of the corners that rows point to, so that splits of relus alone end as unknown;
// with guesses of the place they must not.
void expect_right_by_relu_splits(const Problem& p, double margin) {
  const Graph graph = p.graph();
  uint64_t stream = 400;
  for (const auto& rows : kSets) {
    SCOPED_TRACE(format("{}, sets number {}, margin {}", p.network.name, stream, margin));
    const Answers a = answers(p, -1, 1, rows, stream, margin);
    stream += 10;
    VerifyOptions options = searching(kSplitRelus);
    const Outcome safe = verify(graph, a.safe, options);
    EXPECT_EQ(safe.verdict, Verdict::unsat)
        << safe.stage << ", worst " << safe.worst << ", " << safe.domains << " domains";
    options.seconds = 5;
    const Outcome alone = verify(graph, a.unsafe, options);
    EXPECT_NE(alone.verdict, Verdict::unsat);
    if (alone.verdict == Verdict::sat) expect_witness(graph, a.unsafe, alone);
    options.stages = {"attack", "branch"};
    options.attack = [&](const Case&, const Halfspaces&, double) { return a.x; };
    expect_witness(graph, a.unsafe, verify(graph, a.unsafe, options));
  }
}

TEST(VerifyByRelus, IsRightOfDenseNetworks) {
  for (const uint64_t seed : {1, 2, 3}) {
    expect_right_by_relu_splits(problem("deep", {2}, deep, seed), 1e-2);
    expect_right_by_relu_splits(problem("shallow", {2}, shallow, seed), 1e-2);
  }
}

// Random widths and depths, most of them with relus behind relus, whose boxes are found anew after splits. A hundredth
// of MOLLIFY_RANDOM_NETWORKS of them, or a few.
TEST(VerifyByRelus, IsNeverWrongOfRandomNetworks) {
  const char* given = std::getenv("MOLLIFY_RANDOM_NETWORKS");
  const uint64_t count = given ? std::max(1, std::atoi(given) / 100) : cases(20);
  std::mt19937_64 random(17);
  uint64_t shown = 0, all = 0;
  const auto between = [&](int64_t low, int64_t high) {
    return low + static_cast<int64_t>(random() % static_cast<uint64_t>(high - low + 1));
  };
  for (uint64_t seed = 0; seed < count; ++seed) {
    const std::vector<int64_t> widths{between(3, 9), between(3, 9), between(2, 7)};
    const int64_t depth = std::max(between(1, 3), between(1, 3));
    const auto root = [&](const std::string& with) {
      std::vector<LayerPointer> layers;
      for (int64_t i = 0; i < depth; ++i) {
        layers.push_back(dense(widths[static_cast<size_t>(i)]));
        layers.push_back(activation(with));
      }
      layers.push_back(dense(3));
      return sequential(std::move(layers));
    };
    const Problem p = problem(format("random {}", seed), {2}, root, 100 + seed);
    const Graph graph = p.graph();
    for (const auto& rows : kSets) {
      SCOPED_TRACE(format("{}, {} sets", p.network.name, rows.size()));
      VerifyOptions options = searching(kSplitRelus);
      const auto wide = tried_answers(p, -1, 1, rows, 600 + seed, 1e-2),
                 narrow = tried_answers(p, -1, 1, rows, 600 + seed, 1e-5);
      if (!wide || !narrow) continue;
      const Outcome safe = verify(graph, wide->safe, options);
      options.seconds = 1;  // unknown is an answer
      const Outcome unsafe = verify(graph, narrow->unsafe, options);
      EXPECT_NE(safe.verdict, Verdict::sat);
      EXPECT_NE(unsafe.verdict, Verdict::unsat) << unsafe.stage << ", " << unsafe.domains << " domains";
      shown += safe.verdict == Verdict::unsat;
      ++all;
    }
  }
  EXPECT_GE(shown, all * 9 / 10);  // a domain may stay open that has no relus to split
}

TEST(VerifyByRelus, IsRightOfResidualNetworks) {
  expect_right_by_relu_splits(problem("residual", {2}, residual_dense, 4), 1e-2);
  expect_right_by_relu_splits(problem("residual images", {3, 3, 1}, residual_images, 4), 1e-2);
}

TEST(VerifyByRelus, IsRightOfConvolutions) {
  expect_right_by_relu_splits(problem("convolutional", {4, 4, 1}, convolutional, 6), 1e-2);
}

// The margin that is left becomes less than the search can tell: unknown is an answer then, the wrong verdict never.
TEST(VerifyByRelus, IsNeverWrongByLittle) {
  for (const uint64_t seed : {1, 2}) {
    const Problem p = problem("deep", {2}, deep, seed);
    const Graph graph = p.graph();
    for (const double margin : {1e-3, 1e-6, 1e-9}) {
      const Answers a = answers(p, -1, 1, {2, 1}, 500, margin);
      VerifyOptions options = searching(kSplitRelus, {"guess", "bounds", "branch"});
      options.seconds = 3;
      EXPECT_NE(verify(graph, a.unsafe, options).verdict, Verdict::unsat) << margin;
      EXPECT_NE(verify(graph, a.safe, options).verdict, Verdict::sat) << margin;
    }
  }
}

TEST(VerifyByRelus, EndsWithoutRelus) {
  const Problem p = problem("tanh", {2}, shallow, 8, "tanh");
  const Graph graph = p.graph();
  const Answers a = answers(p, -1, 1, {1}, 310, 1e-3);
  const Outcome outcome = verify(graph, a.safe, searching(kSplitRelus));
  EXPECT_EQ(outcome.verdict, Verdict::unknown);
  EXPECT_EQ(outcome.stage, "no relu to split");
}

// One network, several boxes with sets of their own: unsafe when one of them is, wherever it stands.
TEST(Verify, ManyBoxesAreOneQuestion) {
  const Problem p = problem("deep", {2}, deep, 9);
  const Graph graph = p.graph();
  std::vector<Case> safe, unsafe;
  for (const auto& [low, high, stream] :
       {std::tuple(-1.0, 0.0, 600u), std::tuple(0.5, 1.5, 610u), std::tuple(-0.25, 0.25, 620u)}) {
    const Answers a = answers(p, low, high, {1, 2}, stream, 1e-3);
    safe.push_back(a.safe.cases[0]);
    unsafe.push_back(a.unsafe.cases[0]);
  }
  const Property all_safe = property_of(p, safe);
  for (const int64_t splits : {int64_t{16}, kSplitRelus})
    EXPECT_EQ(verify(graph, all_safe, {.max_split_inputs = splits}).verdict, Verdict::unsat);
  for (size_t i = 0; i < safe.size(); ++i) {
    Property property = all_safe;
    property.cases[i] = unsafe[i];
    const Outcome outcome = verify(graph, property);
    expect_witness(graph, property, outcome);
    const Property own = property_of(p, {unsafe[i]});
    EXPECT_TRUE(formats::violates(own, outcome.input, outcome.output)) << "box " << i;
  }
  EXPECT_EQ(verify(graph, property_of(p, {})).verdict, Verdict::unsat) << "no box";
}

TEST(Verify, AnswersOnCuda) {
  MOLLIFY_SKIP_WITHOUT_CUDA();
  for (const Problem& p :
       {problem("shallow", {2}, shallow, 1), problem("residual images", {3, 3, 1}, residual_images, 4)}) {
    const Graph graph = p.graph(Device::cuda);
    const Answers a = answers(p, -1, 1, {1, 2}, 650, 1e-1);
    for (const int64_t splits : {int64_t{16}, kSplitRelus}) {
      VerifyOptions options = searching(splits, {"guess", "bounds", "attack", "branch"});
      options.attack = [&, &answer = a](const Case&, const Halfspaces&, double) { return answer.x; };
      const Outcome found = verify(graph, a.unsafe, options);
      EXPECT_TRUE(found.verdict == Verdict::sat && formats::violates(a.unsafe, found.input, found.output))
          << found.stage;
      options.stages = {"branch"};
      EXPECT_EQ(verify(graph, a.safe, options).verdict, Verdict::unsat);
    }
  }
}

// A case that stays open does not hide what another one shows, nor is it forgotten.
TEST(Verify, AnOpenBoxIsNotForgotten) {
  const Problem p = problem("deep", {2}, deep, 9);
  const Graph graph = p.graph();
  const Answers a = answers(p, -1, 1, {1}, 640, 1e-4);
  Case easy_safe = a.safe.cases[0], easy_unsafe = a.safe.cases[0];
  for (double& bound : easy_safe.unsafe[0].bounds) bound -= 1e6;
  for (double& bound : easy_unsafe.unsafe[0].bounds) bound += 1e6;
  VerifyOptions options;
  options.stages = {"guess", "bounds"};
  ASSERT_EQ(verify(graph, a.safe, options).verdict, Verdict::unknown) << "the test needs a harder property";
  for (const auto& cases :
       {std::vector<Case>{a.safe.cases[0], easy_safe}, std::vector<Case>{easy_safe, a.safe.cases[0]}}) {
    const Outcome outcome = verify(graph, property_of(p, cases), options);
    EXPECT_EQ(outcome.verdict, Verdict::unknown);
    EXPECT_EQ(outcome.stage, "no stage left");
  }
  const Property with_witness = property_of(p, {a.safe.cases[0], easy_unsafe});
  expect_witness(graph, with_witness, verify(graph, with_witness, options));
}

}  // namespace
}  // namespace mollify::nn::bounds
