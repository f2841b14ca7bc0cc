// `mollify reproduce graduated`: the same whatever runs at once, and after a kill; what its numbers are.
#include "program.h"

#include <cmath>
#include <map>

namespace {

using namespace program_tests;

class Graduated : public ProgramTest {
 protected:
  std::string job(const std::string& name, const std::string& more) const {
    return "reproduce graduated --scale tiny --test-limit 20 " + more + " --out " + in(name).string();
  }
  void expect_same(const std::string& a, const std::string& b) const {
    for (const char* file : {"results.csv", "epochs.csv", "descent.csv", "table.txt"}) {
      EXPECT_FALSE(contents(in(a) / file).empty()) << file;
      EXPECT_EQ(contents(in(a) / file), contents(in(b) / file)) << file << " of " << a << " and " << b;
    }
  }
  // Rows of a CSV file as numbers and words by column.
  std::vector<std::map<std::string, std::string>> rows(const fs::path& file) const {
    std::istringstream lines(contents(file));
    std::string line, word;
    std::getline(lines, line);
    std::vector<std::string> heading;
    for (std::istringstream words(line); std::getline(words, word, ',');) heading.push_back(word);
    std::vector<std::map<std::string, std::string>> all;
    while (std::getline(lines, line)) {
      all.emplace_back();
      std::istringstream words(line);
      for (const std::string& name : heading) std::getline(words, all.back()[name], ',');
    }
    return all;
  }
};

TEST_F(Graduated, DoesNotDependOnTheNumberOfJobsAndGoesOnAfterAKill) {
  const std::string less = "--seeds 1 --limit 60 --batch 8 --descent-steps 15 ";
  const Outcome one = run(job("1", less + "--jobs 1")), two = run(job("2", less + "--jobs 2"));
  ASSERT_EQ(one.status, 0) << one.error;
  ASSERT_EQ(two.status, 0) << two.error;
  expect_same("1", "2");
  for (const char* file : {"methods.svg", "published.svg", "decays.svg", "descent.svg"})
    expect_well_formed(contents(in("1") / file));

  const Child child = start(job("broken", less + "--jobs 1 --checkpoint-minutes 0"));
  for (int i = 0; i < 30000 && !fs::exists(in("broken") / "cells/descent seed=0/standing.safetensors"); ++i)
    usleep(200);
  kill(child.pid, SIGKILL);
  finish(child);
  ASSERT_TRUE(fs::exists(in("broken") / "cells/descent seed=0/standing.safetensors"));
  const Outcome rest =
      run("reproduce graduated --resume --checkpoint-minutes 2 --jobs 2 --out " + in("broken").string());
  ASSERT_EQ(rest.status, 0) << rest.error;
  expect_same("1", "broken");
}

// All methods but the constant one and the halved rate have the same smoothing in each epoch, a quarter at the end, and
// the halved rate has the rate/batch of the doubled batch.
TEST_F(Graduated, CoursesAreWhatTheyAreCalled) {
  const Outcome outcome =
      run(job("run", "--limit 64 --seeds 1 --epochs 10 --batch 2 --published-batch 4 --descent-steps 1"));
  ASSERT_EQ(outcome.status, 0) << outcome.error;
  std::map<std::string, std::vector<double>> degree, ratio, samples;
  for (auto& row : rows(in("run") / "epochs.csv"))
    if (row["batch"] == "2") {
      degree[row["course"]].push_back(std::stod(row["degree"]));
      ratio[row["course"]].push_back(std::stod(row["rate"]) / std::stod(row["batch_now"]));
      samples[row["course"]].push_back(std::stod(row["samples"]));
    }
  EXPECT_EQ(degree.size(), 5u + 7u);
  for (const auto& [course, values] : degree) {
    ASSERT_EQ(values.size(), 10u) << course;
    EXPECT_NEAR(values[0], 0.1 / std::sqrt(2), 1e-12) << course;
    EXPECT_EQ(samples[course][9], 640) << course;
  }
  for (size_t epoch = 0; epoch < 10; ++epoch) {
    const double left = 1 - static_cast<double>(epoch) / 10;
    for (const char* course : {"rate", "batch", "hybrid"})
      EXPECT_NEAR(degree[course][epoch] / degree["constant"][0], std::pow(0.5, static_cast<double>(epoch / 2) / 2),
                  1e-9)
          << course << epoch;
    EXPECT_NEAR(ratio["halved"][epoch] / ratio["batch"][epoch], 1, 1e-9) << epoch;
    EXPECT_NEAR(degree["constant"][epoch] / degree["constant"][0], 1, 1e-12);
    EXPECT_NEAR(degree["power-4"][epoch] / degree["constant"][0], std::pow(left, 4), 1e-9);
    EXPECT_NEAR(degree["exponential"][epoch] / degree["constant"][0], std::pow(0.9, 20.0 * static_cast<double>(epoch)),
                1e-9);
  }
  EXPECT_NE(outcome.out.find("as published, from 4 and 2: hybrid better than batch"), std::string::npos);
  EXPECT_NE(outcome.out.find("from batch 4: batch better than rate"), std::string::npos);
}

TEST_F(Graduated, DescentsPartFromSgd) {
  ASSERT_EQ(run(job("run", "--descent-steps 40 --descent-runs 3 --descent-batch 5 --seeds 1")).status, 0);
  size_t measured = 0;
  for (auto& row : rows(in("run") / "descent.csv")) {
    const double step = std::stod(row["step"]), apart = std::stod(row["apart"]), mean = std::stod(row["mean_apart"]),
                 spread = std::stod(row["sgd_spread"]);
    ++measured;
    if (step == 0) {
      EXPECT_EQ(apart + spread + std::stod(row["moved"]), 0);
      continue;
    }
    // Of three runs: their mean square distance from a point is its distance from their mean and theirs from it.
    EXPECT_NEAR(apart * apart, mean * mean + spread * spread * 2 / 3, 1e-4 * apart * apart) << step;
    EXPECT_EQ(std::stod(row["deviation"]) > 0, row["multiple"] != "0") << step;
  }
  EXPECT_EQ(measured, 3u * 21);
}

TEST_F(Graduated, RefusesWhatCannotBe) {
  expect_refused({{"reproduce graduated --scale tiny --batch 500", "--batch: 500 given; needs at most 200"},
                  {"reproduce graduated --scale tiny --published-batch 201", "--published-batch: 201 given"},
                  {"reproduce graduated --scale tiny --descent-images 300", "--descent-images: 300 given"},
                  {"reproduce graduated --scale tiny --descent-batch 60",
                   "--descent-batch: 60 given; needs at most 59, of 60 images"},
                  {"reproduce graduated --scale tiny --descent-runs 1", "--descent-runs: 1 given; needs"},
                  {"reproduce graduated --scale tiny --epochs 4", "--epochs: 4 given; needs"}});
}

}  // namespace
