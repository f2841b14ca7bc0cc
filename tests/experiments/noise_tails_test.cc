// `mollify reproduce noise-tails`: the same whatever runs at once, and after a kill; what its numbers are.
#include "program.h"

#include <cmath>

namespace {

using namespace program_tests;

class NoiseTails : public ProgramTest {
 protected:
  std::string job(const std::string& name, const std::string& more = "") const {
    return "reproduce noise-tails --scale tiny --out " + in(name).string() + " " + more;
  }
  void expect_same(const std::string& a, const std::string& b) const {
    for (const char* file : {"results.csv", "table.txt", "quantiles.svg", "tails.svg"}) {
      EXPECT_FALSE(contents(in(a) / file).empty()) << file;
      EXPECT_EQ(contents(in(a) / file), contents(in(b) / file)) << file << " of " << a << " and " << b;
    }
  }
  std::vector<std::vector<double>> rows(const std::string& name) const {
    std::istringstream lines(contents(in(name) / "results.csv"));
    std::vector<std::vector<double>> found;
    std::string line, word;
    for (std::getline(lines, line); std::getline(lines, line);) {
      found.emplace_back();
      for (std::istringstream words(line); std::getline(words, word, ',');) found.back().push_back(std::stod(word));
    }
    return found;
  }
};

TEST_F(NoiseTails, DoNotDependOnTheNumberOfJobsAndGoOnAfterAKill) {
  const Outcome one = run(job("1", "--jobs 1"));
  ASSERT_EQ(one.status, 0) << one.error;
  ASSERT_EQ(run(job("2", "--jobs 2")).status, 0);
  expect_same("1", "2");
  EXPECT_NE(one.out.find("estimated: "), std::string::npos);
  expect_well_formed(contents(in("1") / "quantiles.svg"));
  expect_well_formed(contents(in("1") / "tails.svg"));

  const std::string lines = contents(in("1") / "cells.jsonl");  // the first ones, and a line that was cut off
  fs::create_directories(in("broken"));
  fs::copy(in("1") / "settings.json", in("broken") / "settings.json");
  fs::copy(in("1") / "cells", in("broken") / "cells", fs::copy_options::recursive);
  std::ofstream(in("broken") / "cells.jsonl") << lines.substr(0, lines.size() / 2);
  const Outcome rest = run("reproduce noise-tails --resume --out " + in("broken").string());
  ASSERT_EQ(rest.status, 0) << rest.error;
  expect_same("1", "broken");
}

TEST_F(NoiseTails, MeasureWhatTheNoiseCommandDoes) {
  ASSERT_EQ(run(job("run", "--seeds 1 --batches 8 --draws 40")).status, 0);
  const auto found = rows("run");  // epochs 0, 1 and 2
  ASSERT_EQ(found.size(), 3u);
  for (const auto& row : found) {
    ASSERT_EQ(row.size(), 15u);
    const fs::path weights = in("weights.safetensors");  // words of a command have no spaces
    fs::copy_file(
        in("run") / "cells" / "network seed=0" / ("weights-" + std::to_string(std::lround(row[0])) + ".safetensors"),
        weights, fs::copy_options::overwrite_existing);
    const Outcome outcome =
        run("noise --json --data digits --images 100 --batch 8 --large-batch 9 --batches 2 --single --tails --draws 40 "
            "--weights " +
            weights.string());
    ASSERT_EQ(outcome.status, 0) << outcome.error;
    const json told = json::parse(outcome.out);
    EXPECT_NEAR(row[9], told["estimates"][0]["c2"].get<double>(), 4 * row[10]);
    EXPECT_NEAR(row[11], told["estimates"][0]["squared_gradient"].get<double>(), 1e-5 * row[11]);
    EXPECT_NEAR(row[3], told["tails"]["excess_kurtosis"].get<double>(), 1e-4);
  }
}

TEST_F(NoiseTails, RefuseInOneLine) {
  expect_refused({{job("run", "--batches 16,4"), "--batches: 16,4 given; needs rising whole numbers"},
                  {job("run", "--batches 100"), "below the 100 images"},
                  {job("run", "--draws 1"), "--draws: 1 given"},
                  {job("run", "--model vgg"), "--model: vgg given"}});
}

}  // namespace
