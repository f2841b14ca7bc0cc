// Steps whose gradients come from perturbed weights, and steps of a part of the weights.
#include <mollify/engine/cpu/threads.h>
#include <mollify/experiments/training/training_step.h>
#include <mollify/nn/losses.h>
#include <mollify/nn/models.h>

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

namespace mollify::experiments {
namespace {

constexpr int64_t kBatch = 6, kBatches = 4, kClasses = 4;

datasets::Batch batch_of(const Shape& image, int64_t number) {
  Shape shape = image;
  shape.insert(0, kBatch);
  std::vector<int32_t> labels, indices;
  for (int32_t i = 0; i < kBatch; ++i) {
    labels.push_back(static_cast<int32_t>((i + number) % kClasses));
    indices.push_back(i);
  }
  return {uniform(shape, {3, 1}, Tensor::scalar(static_cast<double>(number), DType::i32)),
          Tensor::from(labels, {kBatch}), indices};
}

using Texts = TrainSettings::Texts;

// A run without data: every batch is drawn.
struct TestRun {
  TrainSettings settings;
  Task task;
  Tensor weights, state;
  TrainingStep step;

  TestRun(const Texts& texts, const std::string& model)
      : settings(resolved(texts)),
        task(task_of(settings, model)),
        weights(task.network.initial_weights(nn::Initialization::xavier_normal, 1)),
        state(task.network.initial_state()),
        step(settings, task, weights, state) {}

  static TrainSettings resolved(const Texts& texts) {
    TrainSettings settings(texts);
    settings.resolve();
    return settings;
  }
  static Task task_of(const TrainSettings& settings, const std::string& model) {
    const optim::Schedule rate = optim::constant(0.02);
    return {.train = {},
            .validation = {},
            .test = {},
            .training = {},
            .plain = {},
            .network = nn::make(model, {6, 6, 1}, kClasses),
            .loss = nn::mean_cross_entropy,
            .timetable = Timetable(kBatch * kBatches, {kBatch}),
            .device = Device::cpu,
            .optimizer = is_schedule_free(settings.run())
                             ? optim::schedule_free_sgd(rate, {}, make_gradient(settings, rate))
                             : optim::sgd(rate, {.momentum = 0.9, .weight_decay = 0.1}, make_gradient(settings, rate))};
  }

  std::vector<StepResult> epoch(int64_t number) {
    step.start_epoch(number, [](const Tensor& w) { return sum(w).item(); });
    std::vector<StepResult> all;
    for (int64_t i = 0; i < kBatches; ++i) {
      step.launch(batch_of(task.network.input(), number * kBatches + i));
      for (const StepResult& result : step.results(/*all=*/true)) all.push_back(result);
    }
    return all;
  }
};

const char* const kModel = "lenet_300_100";  // with batch norm

std::vector<Texts> estimators() {
  return {{{"gradient", "exact"}},
          {{"gradient", "szo"}, {"probes", "3"}},
          {{"gradient", "szo"}, {"probes", "3"}, {"sides", "1"}, {"directions", "signs"}},
          {{"gradient", "pgpe"}, {"probes", "4"}, {"probe-course", "learned"}},
          {{"gradient", "pgpe"}, {"probes", "4"}, {"ranks", "true"}},
          {{"gradient", "rgs"}, {"probes", "2"}},
          {{"gradient", "asam"}, {"sam-rho", "2"}}};
}

Texts with(Texts texts, const Texts& more) {
  texts.insert(more.begin(), more.end());
  return texts;
}

// Under every estimator and mask, captured on any number of threads and eager, in one go and resumed after each epoch,
// across changes of the mask.
TEST(Estimators, GiveTheSameBitsHoweverTheyRun) {
  const int before = num_threads();
  std::vector<Texts> masks = {{}};
  for (const char* mask : {"magnitude", "random", "held-out"})
    for (const char* masked : {"freeze", "prune", "rewind"})
      masks.push_back({{"mask", mask}, {"masked", masked}, {"mask-every", "1"}, {"validation", "5"}});
  masks.push_back({{"mask", "random"}, {"mask-every", "1"}, {"mask-from", "all"}});
  masks.push_back({{"mask", "layers"}, {"mask-layers", "dense2"}});
  for (const Texts& estimator : estimators())
    for (const Texts& mask : masks) {
      const Texts texts = with(with(estimator, mask), {{"epochs", "3"}});
      const auto weights_after = [&](bool capture, int threads, bool resumed) {
        set_num_threads(threads);
        std::optional<TestRun> run(std::in_place, texts, kModel);
        run->settings.run().capture = capture;
        for (int64_t epoch = 0; epoch < 3; ++epoch) {
          run->epoch(epoch);
          if (!resumed) continue;
          const auto kept = run->step.kept();
          const Tensor weights = run->weights + 0.0, state = run->state + 0.0;
          run.emplace(texts, kModel);
          assign(run->weights, weights);
          assign(run->state, state);
          run->step.set_kept(kept);
        }
        return run->weights.to_vector<float>();
      };
      const std::vector<float> eager = weights_after(false, 1, false);
      EXPECT_EQ(weights_after(true, 2, false), eager) << texts.at("gradient");
      EXPECT_EQ(weights_after(true, 4, true), eager) << texts.at("gradient") << ", resumed";
    }
  set_num_threads(before);
}

// Loss, accuracy and running statistics of a step are those of the evaluation at the weights themselves.
TEST(Estimators, ProbesChangeNothing) {
  TestRun exact({}, kModel);
  exact.step.launch(batch_of({6, 6, 1}, 0));
  const StepResult expected = exact.step.results(true).at(0);
  for (const Texts& estimator : estimators()) {
    TestRun run(estimator, kModel);
    run.step.launch(batch_of({6, 6, 1}, 0));
    const StepResult result = run.step.results(true).at(0);
    EXPECT_EQ(result.loss, expected.loss) << estimator.at("gradient");
    EXPECT_EQ(result.correct, expected.correct);
    EXPECT_EQ(run.state.to_vector<float>(), exact.state.to_vector<float>());
  }
}

TEST(Masks, ShrinkByTheShareAndNest) {
  for (const char* kind : {"magnitude", "random", "held-out"}) {
    TestRun run({{"mask", kind}, {"mask-every", "2"}, {"validation", "5"}, {"epochs", "7"}}, "linear");
    int64_t expected = 148;
    Positions before = *run.step.mask();
    for (int64_t epoch = 0; epoch < 7; ++epoch) {
      run.epoch(epoch);
      if (epoch > 0 && epoch % 2 == 0) expected -= expected / 5;
      const Positions& now = *run.step.mask();
      EXPECT_EQ(now.count(), expected) << kind << ", epoch " << epoch;
      EXPECT_EQ(run.settings.mask().active(run.task.network, epoch), expected);
      EXPECT_TRUE(std::includes(before.list().begin(), before.list().end(), now.list().begin(), now.list().end()));
      before = now;
    }
  }
}

// Averages of schedule-free steps go on across changes of the mask: what is evaluated differs from what is trained in
// active weights alone.
TEST(Masks, MaskedWeightsAreEvaluatedAsTheyAre) {
  TestRun run({{"mask", "random"}, {"mask-every", "1"}, {"optimizer", "schedule-free-sgd"}, {"epochs", "3"}}, "linear");
  EXPECT_EQ(run.step.evaluation_weights().to_vector<float>(), run.weights.to_vector<float>());
  for (int64_t epoch = 0; epoch < 3; ++epoch) {
    run.epoch(epoch);
    const std::vector<float> trained = run.weights.to_vector<float>(),
                             evaluated = run.step.evaluation_weights().to_vector<float>();
    const std::vector<int64_t>& active = run.step.mask()->list();
    int64_t apart = 0;
    for (size_t i = 0; i < trained.size(); ++i) {
      if (trained[i] == evaluated[i]) continue;
      ++apart;
      EXPECT_TRUE(std::binary_search(active.begin(), active.end(), static_cast<int64_t>(i))) << i;
    }
    EXPECT_GT(apart, run.step.active() / 2);
  }
}

// Momentum and weight decay move no masked weight.
TEST(Masks, MaskedWeightsAreFrozenPrunedOrSetBack) {
  for (const char* masked : {"freeze", "prune", "rewind"}) {
    TestRun run({{"mask", "magnitude"}, {"masked", masked}, {"mask-every", "1"}, {"epochs", "3"}}, "linear");
    std::vector<float> started = run.weights.to_vector<float>();
    run.epoch(0);
    for (int64_t epoch = 1; epoch < 3; ++epoch) {
      const std::vector<float> before = run.weights.to_vector<float>();
      const Positions active_before = *run.step.mask();
      run.epoch(epoch);
      const std::vector<float> now = run.weights.to_vector<float>();
      const std::vector<int64_t>&left = run.step.mask()->list(), &all = active_before.list();
      int64_t moved = 0;
      for (size_t i = 0; i < now.size(); ++i) {
        const auto place = static_cast<int64_t>(i);
        if (std::binary_search(left.begin(), left.end(), place)) {
          moved += now[i] != before[i];
          continue;
        }
        const bool fresh = std::binary_search(all.begin(), all.end(), place);
        const float expected = std::string(masked) == "prune"             ? 0
                               : std::string(masked) == "rewind" && fresh ? started[i]
                                                                          : before[i];
        ASSERT_EQ(now[i], expected) << masked << ", weight " << i;
      }
      EXPECT_EQ(moved, run.step.active());
      started = before;
      if (std::string(masked) == "rewind")
        for (size_t i = 0; i < started.size(); ++i)
          if (!std::binary_search(left.begin(), left.end(), static_cast<int64_t>(i))) started[i] = now[i];
    }
  }
}

TEST(Masks, MagnitudeKeepsTheLargest) {
  const Tensor w = Tensor::from(std::vector<float>{1, -5, 2, 2, -2, 0}, {6});
  EXPECT_EQ(optim::largest_weights(w, optim::all_weights(6), 3).list(), (std::vector<int64_t>{1, 2, 3}));
  EXPECT_EQ(optim::largest_weights(w, Positions({0, 3, 5}, 6), 2).list(), (std::vector<int64_t>{0, 3}));
  EXPECT_THROW(optim::largest_weights(w, Positions({0}, 6), 0), ValueError);
  EXPECT_THROW(optim::drawn_weights(Positions({0}, 6), 2, {1, 1}), ValueError);
}

TEST(Masks, HeldOutKeepsTheBestOfRandomOnes) {
  const Positions all = optim::all_weights(20);
  const RandomKey key{3, 4};
  const auto score = [](const Positions& p) { return static_cast<double>(p.list()[0] * 7 % 5); };
  double best = -1;
  Positions expected = all;
  for (uint32_t i = 0; i < 9; ++i) {
    const Positions candidate = optim::drawn_weights(all, 6, key, i);
    EXPECT_EQ(candidate.count(), 6);
    if (score(candidate) <= best) continue;
    best = score(candidate);
    expected = candidate;
  }
  EXPECT_EQ(optim::best_drawn_weights(all, 6, key, 9, score).list(), expected.list());
}

// Each weight stays as often: 4 standard errors.
TEST(Masks, RandomOnesAreUniform) {
  std::vector<int64_t> kept(10);
  const int64_t trials = 4000;
  for (uint32_t t = 0; t < trials; ++t) {
    const Positions drawn = optim::drawn_weights(optim::all_weights(10), 3, {1, 2}, t);
    for (const int64_t i : drawn.list()) ++kept[static_cast<size_t>(i)];
  }
  for (const int64_t count : kept)
    EXPECT_NEAR(static_cast<double>(count), 0.3 * trials, 4 * std::sqrt(0.3 * 0.7 * trials));
}

TEST(Estimators, RefuseWhatCannotBe) {
  const auto message = [](const Texts& texts) {
    try {
      TestRun::resolved(texts);
    } catch (const UsageError& error) { return std::string(error.what()); }
    return std::string();
  };
  EXPECT_EQ(message({{"gradient", "pgpe"}, {"probes", "5"}}),
            "mollify train: --probes: 5 given with --gradient pgpe; needs an even number of members");
  EXPECT_EQ(message({{"gradient", "rgs"}, {"ranks", "true"}}),
            "mollify train: --ranks: true given with --gradient rgs; it is an option of szo, pgpe");
  EXPECT_EQ(message({{"probes", "4"}}),
            "mollify train: --probes: 4 given with --gradient exact; it is an option of szo, pgpe, rgs");
  EXPECT_EQ(message({{"sam-rho", "0.1"}}),
            "mollify train: --sam-rho: 0.1 given with --gradient exact; it is an option of sam, asam");
  EXPECT_EQ(message({{"optimizer", "schedule-free-sgd"}, {"momentum", "0"}}),
            "mollify train: --momentum: 0 given with schedule-free-sgd; needs a positive one, of the average");
  EXPECT_THROW(TestRun({{"optimizer", "schedule-free-sgd"}}, kModel), UsageError);  // batch norm
  EXPECT_EQ(message({{"mask", "held-out"}}),
            "mollify train: --mask: held-out given without --validation; needs images to choose by");
  EXPECT_NE(message({{"mask-every", "2"}}).find("without --mask"), std::string::npos);
  EXPECT_NE(message({{"mask", "layers"}}).find("--mask-layers"), std::string::npos);
  EXPECT_THROW(TestRun({{"mask", "layers"}, {"mask-layers", "conv9"}}, kModel), UsageError);
}

// k/(n + k + 1) of what the mask leaves.
TEST(Estimators, TheRateFollowsTheWeightsThatAreTrained) {
  const TrainSettings settings = TestRun::resolved(
      {{"gradient", "szo"}, {"mask", "random"}, {"mask-every", "1"}, {"epochs", "3"}, {"probes", "10"}});
  const nn::Network network = nn::make("linear", {6, 6, 1}, kClasses);
  const Timetable timetable(12, {4});
  const optim::Schedule rate = with_rate_factor(optim::constant(2), settings, network, timetable);
  const double active[] = {148, 119, 96};
  for (int64_t step = 0; step < 9; ++step) EXPECT_NEAR(rate(step), 2 * 10 / (active[step / 3] + 11), 1e-12) << step;
}

}  // namespace
}  // namespace mollify::experiments
