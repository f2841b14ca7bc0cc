// `mollify train --degree`: courses of the smoothing that SGD's noise does.
#include "program.h"

#include <cmath>

namespace {

using namespace program_tests;

class Degree : public ProgramTest {
 protected:
  std::string job(const std::string& name, const std::string& more) const {
    return "train --data digits --limit 600 --batch 16 --model cnn3_tiny --epochs 5 --out " + in(name).string() + " " +
           more;
  }
  std::vector<json> epochs(const std::string& name) const {
    std::istringstream lines(contents(in(name) / "metrics.jsonl"));
    std::vector<json> all;
    for (std::string line; std::getline(lines, line);) all.push_back(json::parse(line));
    return all;
  }
};

// Learning rate, batch and both have the same degree in every round, a quarter of the first in the fifth.
TEST_F(Degree, IsTheSameHoweverItFalls) {
  const double first = 0.1 / 4;
  for (const std::string share : {"0", "0.585", "1"}) {
    fs::remove_all(in("run"));
    ASSERT_EQ(run(job("run", "--degree step --batch-share " + share)).status, 0);
    const std::vector<json> all = epochs("run");
    ASSERT_EQ(all.size(), 5u);
    int64_t steps = 0;
    for (size_t round = 0; round < 5; ++round) {
      const json& at = all[round];
      const double batch = at["batch"].get<double>(), degree = at["degree"].get<double>();
      EXPECT_NEAR(degree / first, std::pow(0.5, static_cast<double>(round) / 2), 1e-12) << share;
      EXPECT_NEAR(degree, at["learning_rate"].get<double>() / std::sqrt(batch), 1e-15);
      EXPECT_EQ(at["samples"], 600 * (round + 1));
      steps += static_cast<int64_t>(std::ceil(600 / batch));
      EXPECT_EQ(at["steps"], steps) << "the batch of the epoch is what it was trained with";
    }
    EXPECT_EQ(all[4]["batch"], share == "0" ? 16 : share == "1" ? 256 : 81);
  }
}

TEST_F(Degree, EndsAtTheLargestBatch) {
  ASSERT_EQ(run(job("run", "--degree step --batch-share 1 --batch-max 40")).status, 0);
  const std::vector<json> all = epochs("run");
  EXPECT_EQ(all[1]["batch"], 32);
  EXPECT_EQ(all[2]["batch"], 40);
  EXPECT_EQ(all[4]["batch"], 40);
  EXPECT_NEAR(all[4]["degree"].get<double>() / all[0]["degree"].get<double>(), 0.25, 1e-12);
}

TEST_F(Degree, GoesOnAsIfUnbrokenCapturedOrNot) {
  const std::string course = "--degree polynomial --batch-share 0.5 --overwrite ";
  ASSERT_EQ(run(job("whole", course)).status, 0);
  ASSERT_EQ(run(job("eager", course + "--capture=false")).status, 0);
  ASSERT_EQ(run(job("broken", course + "--steps 50")).status, 0);  // within the second epoch
  ASSERT_EQ(run("train --resume --out " + in("broken").string()).status, 0);
  for (const char* other : {"eager", "broken"}) {
    EXPECT_EQ(contents(in("whole") / "metrics.jsonl"), contents(in(other) / "metrics.jsonl")) << other;
    EXPECT_TRUE(contents(in("whole") / "model.safetensors") == contents(in(other) / "model.safetensors")) << other;
  }
  const Outcome longer = run("train --resume --epochs 9 --out " + in("broken").string());
  EXPECT_EQ(longer.status, 2);
  EXPECT_NE(longer.error.find("--epochs: 9 given; the course of --degree"), std::string::npos) << longer.error;
}

// δ/C times C, whose interval holds what all single images give; the same numbers after a break.
TEST_F(Degree, IsToldInFullByTheNoiseOfGradients) {
  const std::string course = "--degree step --batch-share 0.5 --noise-batches 40 --overwrite ";
  ASSERT_EQ(run(job("run", course)).status, 0);
  ASSERT_EQ(run(job("broken", course + "--steps 60")).status, 0);
  ASSERT_EQ(run("train --resume --out " + in("broken").string()).status, 0);
  EXPECT_EQ(contents(in("run") / "metrics.jsonl"), contents(in("broken") / "metrics.jsonl"));
  const std::vector<json> all = epochs("run");
  for (const json& at : all) {
    const double batch = at["batch"].get<double>(), degree = at["degree"].get<double>();
    const json &c2 = at["gradient_noise"]["c2"], &delta = at["gradient_noise"]["delta"];
    for (const char* end : {"value", "low", "high"})
      EXPECT_NEAR(delta[end].get<double>() / (degree * std::sqrt(c2[end].get<double>() * (600 - batch) / 599)), 1,
                  1e-9);
    EXPECT_LT(c2["low"], c2["value"]);
    EXPECT_LT(c2["value"], c2["high"]);
  }
  const Outcome exact = run("noise --single --images 600 --batch 64 --batches 2 --json --weights " +
                            (in("run") / "model.safetensors").string());
  ASSERT_EQ(exact.status, 0) << exact.error;
  const json found = json::parse(exact.out);
  double single = 0;
  for (const json& estimate : found["estimates"])
    if (estimate["from"].get<std::string>().find("single") != std::string::npos) single = estimate["c2"];
  const json& c2 = all.back()["gradient_noise"]["c2"];
  const double value = c2["value"], error = (c2["high"].get<double>() - value) / 1.96;
  EXPECT_NEAR(value, single, 4 * error);
}

TEST_F(Degree, OfMomentumIsCalledABound) {
  ASSERT_EQ(run(job("run", "--epochs 1 --lr 0.02 --momentum 0.9 --schedule constant --noise-batches 10")).status, 0);
  const json at = epochs("run").back()["gradient_noise"];
  EXPECT_FALSE(at.contains("delta"));
  EXPECT_GT(at["delta_upper_bound"]["value"].get<double>(), 0.02 * std::sqrt(at["c2"]["value"].get<double>() / 16));
  ASSERT_EQ(run(job("adam", "--epochs 1 --optimizer adam --noise-batches 10")).status, 0);
  EXPECT_EQ(epochs("adam").back()["gradient_noise"].size(), 1);
}

TEST_F(Degree, RefusesInOneLine) {
  expect_refused({
      {job("x", "--degree step --schedule cosine"), "--degree: step given with --schedule cosine"},
      {job("x", "--degree step --warmup 3"), "--degree: step given with --warmup 3"},
      {job("x", "--degree step --optimizer adam"), "--degree: step given with --optimizer adam"},
      {job("x", "--degree step --batch-share 1.5"), "--batch-share: 1.5 given; needs from 0 to 1"},
      {job("x", "--degree step --batch-max 601"), "--batch-max: 601 given; needs at most the 600 training images"},
      {job("x", "--batch-share 0.5"), "--batch-share: given without --degree"},
      {job("x", "--noise-batches 1"), "--noise-batches: 1 given; needs"},
      {job("x", "--noise-batches 4 --sigma 0.1 --loss squared_error"),
       "--noise-batches: 4 given with --sigma; needs --objective natural"},
      {job("x", "--noise-batches 4 --objective pgd --eps 0.1"),
       "--noise-batches: 4 given with --objective pgd; needs --objective natural"},
      {job("x", "--degree linear"), "--degree: linear given"},
  });
}

}  // namespace
