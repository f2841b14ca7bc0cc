// `mollify noise` and `mollify sharpness` on small networks: what they say, their files, on any number of threads, and
// what they refuse.
#include "program.h"

#include <cmath>

namespace {

using namespace program_tests;

class AroundWeights : public ProgramTest {
 protected:
  // Weights of a network that was trained for an epoch.
  std::string trained(const std::string& model = "cnn3_tiny", const std::string& options = "") const {
    const Outcome outcome = run("train --data digits --limit 200 --epochs 1 --model " + model + " --out " +
                                in(model).string() + " " + options);
    EXPECT_EQ(outcome.status, 0) << outcome.error;
    return (in(model) / "model.safetensors").string();
  }
  json told(const std::string& arguments) const {
    const Outcome outcome = run(arguments + " --json");
    EXPECT_EQ(outcome.status, 0) << outcome.error;
    return outcome.status == 0 ? json::parse(outcome.out) : json();
  }
  size_t lines_of(const fs::path& path) const {
    const std::string text = contents(path);
    return static_cast<size_t>(std::count(text.begin(), text.end(), '\n'));
  }
};

TEST_F(AroundWeights, NoiseIsTheSameByThreeWays) {
  const std::string command = "noise --weights " + trained() + " --images 120 --batch 8 --large-batch 40 --batches 40";
  const json all = told(command + " --single --lr 0.5 --tails --draws 40 --out " + in("out").string());
  EXPECT_EQ(all["model"], "cnn3_tiny");
  EXPECT_EQ(all["images"], 120);
  EXPECT_EQ(all["loss"], "cross_entropy");
  ASSERT_EQ(all["estimates"].size(), 3u);
  const double c2 = all["estimates"][0]["c2"];
  EXPECT_EQ(all["estimates"][0]["standard_error"], 0);
  for (size_t i = 1; i < 3; ++i) {
    const json& e = all["estimates"][i];
    EXPECT_NEAR(e["c2"].get<double>(), c2, 4 * e["standard_error"].get<double>()) << e;
  }
  EXPECT_NEAR(all["degree_of_smoothing"]["delta"].get<double>(), 0.5 * std::sqrt(c2 * (120.0 - 8) / (8 * 119)), 1e-9);
  EXPECT_FALSE(all["degree_of_smoothing"].contains("momentum"));
  const json bounded = told(command + " --single --lr 0.5 --momentum 0.5")["degree_of_smoothing"];
  const double step = c2 / 8, most = step + all["estimates"][0]["squared_gradient"].get<double>();  // C²/b + K²
  EXPECT_NEAR(bounded["heavy_ball_upper_bound"].get<double>(), 0.5 * std::sqrt(step + 1.5 * most), 1e-9);
  EXPECT_NEAR(bounded["normalized_heavy_ball_upper_bound"].get<double>(), 0.5 * std::sqrt(step + most), 1e-9);
  EXPECT_GT(all["tails"]["hill"].get<double>(), 0);
  EXPECT_EQ(lines_of(in("out") / "noise.csv"), 4u);
  EXPECT_EQ(lines_of(in("out") / "quantiles.csv"), 102u);
  expect_well_formed(contents(in("out") / "quantiles.svg"));

  const Outcome text = run(command + " --single --lr 0.5 --threads 1");
  for (const char* words : {"cnn3_tiny (1", "120 training images of digits", "all single images", "40 batches of 8",
                            "40 batches each of 8 and 40", "degree of smoothing at learning rate 0.5, batch 8"})
    EXPECT_NE(text.out.find(words), std::string::npos) << words << " in " << text.out;
  EXPECT_EQ(run(command + " --single --lr 0.5 --threads 3").out, text.out);
  EXPECT_NE(run(command + " --single --lr 0.5 --seed 1").out, text.out);
}

TEST_F(AroundWeights, NoiseOfBatchNormHasFrozenStatistics) {
  const std::string command =
      "noise --weights " + trained("lenet_300_100") + " --images 30 --batch 6 --large-batch 12 --batches 3";
  const json frozen = told(command + " --single"), batch = told(command + " --batch-statistics");
  EXPECT_NE(frozen["estimates"][1]["c2"], batch["estimates"][0]["c2"]);
  expect_refused({{command + " --batch-statistics --single",
                   "gradients of single images: lenet_300_100 has batch norm with statistics of the batch"}});
}

TEST_F(AroundWeights, CriticalBatchHasTheFewestSamples) {
  const std::string command =
      "noise --weights " + trained("linear", "--steps 1 --optimizer sgd --lr 0.01") +
      " --images 64 --batch 8 --large-batch 32 --batches 4 --single --lr 0.05 --critical-batch --epsilon 0.6 "
      "--most-steps 150 --critical-batches 4,16,64";
  const json all = told(command + " --out " + in("out").string()), found = all["critical_batch"];
  ASSERT_EQ(found["runs"].size(), 3u);
  double fewest = INFINITY;
  int64_t best = 0;
  for (const json& run : found["runs"]) {
    if (run["steps"].is_null()) continue;
    const int64_t batch = run["batch"];
    const double steps = run["steps"], samples = static_cast<double>(batch) * steps;
    EXPECT_LE(steps, 150);
    EXPECT_GT(steps, 20);
    EXPECT_EQ(run["samples"], samples);
    if (samples >= fewest) continue;
    fewest = samples;
    best = batch;
  }
  ASSERT_GT(best, 0);
  EXPECT_EQ(found["batch"], best);
  EXPECT_NEAR(found["bound"].get<double>(), static_cast<double>(best) * 0.6 * 0.6 / 0.05, 1e-9);
  EXPECT_EQ(found["c2"], all["estimates"][0]["c2"]);
  EXPECT_NEAR(found["bound_by_c2_at_end"].get<double>(),
              found["bound"].get<double>() / found["c2_at_end"].get<double>(), 1e-9);
  EXPECT_EQ(found["published"][2]["bound"], 1280);
  EXPECT_EQ(lines_of(in("out") / "critical_batch.csv"), 4u);
  expect_well_formed(contents(in("out") / "critical_batch.svg"));

  const Outcome text = run(command + " --threads 1");
  EXPECT_NE(text.out.find("b* = " + std::to_string(best)), std::string::npos) << text.out;
  EXPECT_EQ(run(command + " --threads 3").out, text.out);
  // Batches of all images have no noise, and a mean is at most the root mean square; those of a single image are far
  // longer than the full gradient.
  const json published = told(command + " --critical-stop minibatches")["critical_batch"];
  EXPECT_LE(published["runs"][2]["steps"].get<double>(), found["runs"][2]["steps"].get<double>());
  EXPECT_NE(run(command + " --epsilon 100").out.find("the saved weights are at 100 already"), std::string::npos);
  const json none =
      told(command + " --critical-stop minibatches --critical-batches 1 --epsilon 0.01")["critical_batch"];
  EXPECT_TRUE(none["batch"].is_null() && none["bound"].is_null() && none["runs"][0]["steps"].is_null()) << none;
}

TEST_F(AroundWeights, SharpnessAndCurvature) {
  const std::string command =
      "sharpness --weights " + trained() + " --images 96 --batch 32 --steps 8 --samples 8 --rho 0.002";
  const json all = told(command + " --out " + in("out").string());
  EXPECT_GT(all["worst_case"].get<double>(), 0);
  EXPECT_GT(all["worst_case"].get<double>(), all["average"].get<double>());
  EXPECT_EQ(lines_of(in("out") / "sharpness.csv"), 4u);
  // A larger radius holds the smaller one, and a box the ball of its radius.
  const auto worst = [&](const std::string& options) {
    return told(command + " " + options)["worst_case"].get<double>();
  };
  EXPECT_GT(worst("--rho 0.004"), all["worst_case"].get<double>());
  EXPECT_LT(worst("--norm l2"), all["worst_case"].get<double>());
  EXPECT_NE(worst("--adaptive"), all["worst_case"].get<double>());
  EXPECT_NE(worst("--normalised-outputs"), all["worst_case"].get<double>());

  const Outcome text = run(command + " --threads 1");
  EXPECT_EQ(run(command + " --threads 3").out, text.out);
  for (const char* words : {"cross_entropy on 96 training images of digits", "neighbourhood of radius 0.002",
                            "worst case, linf, mean of 3 batches of 32", "average, normal noise, 8 samples"})
    EXPECT_NE(text.out.find(words), std::string::npos) << words << " in " << text.out;
}

TEST_F(AroundWeights, EigenvaluesTraceAndDensity) {
  const std::string command =
      "sharpness --weights " + trained() +
      " --images 40 --batch 20 --steps 1 --samples 4 --lanczos-steps 12 --eigenvalues 2 --trace 4 --density 2";
  const Outcome outcome = run(command + " --out " + in("out").string());
  if (outcome.error.find("LAPACK") != std::string::npos) GTEST_SKIP() << outcome.error;
  ASSERT_EQ(outcome.status, 0) << outcome.error;
  EXPECT_NE(outcome.out.find("largest eigenvalues of the Hessian"), std::string::npos);
  EXPECT_NE(outcome.out.find("trace of the Hessian"), std::string::npos);
  EXPECT_EQ(lines_of(in("out") / "eigenvalues.csv"), 3u);
  EXPECT_EQ(lines_of(in("out") / "density.csv"), 402u);
  expect_well_formed(contents(in("out") / "density.svg"));
  const json all = told(command + " --out " + in("out").string());
  EXPECT_GE(all["eigenvalues"][0].get<double>(), all["eigenvalues"][1].get<double>());
  EXPECT_GT(all["trace_error"].get<double>(), 0);
}

TEST_F(AroundWeights, RefuseInOneLine) {
  const std::string weights = " --weights " + trained() + " ", critical = "noise" + weights + "--critical-batch ";
  expect_refused({{"noise", "mollify noise: --weights: not given"},
                  {"noise --momentum 0.9", "--momentum: 0.9 given without --lr; needs the learning rate"},
                  {"noise --weights " + in("none.safetensors").string(), "none.safetensors"},
                  {"noise" + weights + "--batches 1", "--batches: 1 given"},
                  {"noise" + weights + "--images 10", "batches of 16 of 10 samples"},
                  {"noise" + weights + "--images 1", "--images: 1 given"},
                  {"noise" + weights + "--batch 16 --large-batch 16 --images 40", "batches of 16 and 16 of 40"},
                  {"noise" + weights + "--lr -1", "--lr: -1 given"},
                  {"noise" + weights + "--data cifar10", "cifar"},
                  {critical + "--lr 0", "--lr: 0 given with --critical-batch; needs above 0"},
                  {critical + "--critical-batches 8,4", "--critical-batches: 8,4 given"},
                  {critical + "--critical-batches 8,300 --images 200", "at most the 200 images"},
                  {critical + "--epsilon 0", "--epsilon: 0 given"},
                  {critical + "--repeats 0", "--repeats: 0 given"},
                  {critical + "--critical-stop never", "needs gradients or minibatches"},
                  {"sharpness", "mollify sharpness: --weights: not given"},
                  {"sharpness" + weights + "--rho 0", "--rho: 0 given; needs above 0"},
                  {"sharpness" + weights + "--rho -1", "--rho: -1 given"},
                  {"sharpness" + weights + "--images 200", "sharpness: 1 batches of 128 in 200 samples"},
                  {"sharpness" + weights + "--trace 1", "mollify sharpness: --trace: 1 given"},
                  {"sharpness" + weights + "--density 2", "mollify sharpness: --density: 2 given; it needs --out"},
                  {"sharpness" + weights + "--norm l1", "needs linf or l2"}});
  std::ofstream(in("file")) << "";
  EXPECT_EQ(run("noise" + weights + "--images 40 --large-batch 20 --out " + in("file").string()).status, 1);
}

TEST_F(AroundWeights, AnInterruptEndsThem) {
  const std::string weights = trained();
  for (const std::string command : {"noise --images 200 --large-batch 32 --batches 100000000",
                                    "sharpness --images 200 --batch 100 --samples 100000000"}) {
    const Child child = start(command + " --weights " + weights + " --out " + in("long").string());
    usleep(400'000);
    kill(child.pid, SIGINT);
    const Outcome outcome = finish(child);
    EXPECT_EQ(outcome.status, 130) << command;
    EXPECT_NE(outcome.error.find("interrupted; nothing is written"), std::string::npos) << outcome.error;
    EXPECT_FALSE(fs::exists(in("long")));
  }
}

}  // namespace
