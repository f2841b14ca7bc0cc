// `mollify reproduce heat`: the same whatever runs at once, and after a kill; what its numbers are.
#include "program.h"

namespace {

using namespace program_tests;

class HeatSmoothing : public ProgramTest {
 protected:
  std::string job(const std::string& name, const std::string& more) const {
    return "reproduce heat --scale tiny --limit 100 --test-limit 12 --rounds 2 --repeats 2 --draws 3 " + more +
           " --out " + in(name).string();
  }
  void expect_same(const std::string& a, const std::string& b) const {
    for (const char* file : {"results.csv", "curves.csv", "table.txt"})
      EXPECT_EQ(contents(in(a) / file), contents(in(b) / file)) << file << " of " << a << " and " << b;
  }
};

TEST_F(HeatSmoothing, DoesNotDependOnTheNumberOfJobsAndGoesOnAfterAKill) {
  const Outcome one = run(job("1", "--jobs 1")), two = run(job("2", "--jobs 2"));
  ASSERT_EQ(one.status, 0) << one.error;
  ASSERT_EQ(two.status, 0) << two.error;
  expect_same("1", "2");
  expect_well_formed(contents(in("1") / "curves.svg"));

  // The first cells, of which others need one, and a line that was cut off.
  const std::string lines = contents(in("1") / "cells.jsonl");
  fs::create_directories(in("broken") / "cells");
  fs::copy(in("1") / "settings.json", in("broken") / "settings.json");
  fs::copy(in("1") / "cells", in("broken") / "cells", fs::copy_options::recursive);
  std::ofstream(in("broken") / "cells.jsonl") << lines.substr(0, lines.size() / 2);
  const Outcome rest = run("reproduce heat --resume --jobs 2 --out " + in("broken").string());
  ASSERT_EQ(rest.status, 0) << rest.error;
  expect_same("1", "broken");
}

TEST_F(HeatSmoothing, MeasuresEveryMethod) {
  ASSERT_EQ(run(job("run", "")).status, 0);
  std::istringstream lines(contents(in("run") / "results.csv"));
  std::string line;
  std::getline(lines, line);
  EXPECT_EQ(line, "method,seed,natural,in_top,distance,l_bound,l_bound_median,tighter,right,diverged");
  std::vector<std::string> methods;
  while (std::getline(lines, line)) {
    methods.push_back(line.substr(0, line.find(',')));
    EXPECT_EQ(line.back(), '0') << line;  // none diverged
  }
  EXPECT_EQ(methods, (std::vector<std::string>{"baseline", "gaussian", "smoothadv", "smoothadv-noiseless", "heat-0.5",
                                               "heat-1", "heat-5", "moments"}));
  const std::string series = contents(in("run") / "curves.csv");
  for (const char* method : {"baseline", "heat-1", "smoothadv"}) {  // a radius of every image, and distances
    const std::string start = std::string("\n") + method + ",0,certified,";
    int64_t count = 0;
    for (size_t at = series.find(start); at != std::string::npos; at = series.find(start, at + 1)) ++count;
    EXPECT_EQ(count, 12) << method;
  }
}

// What holds of the label's being first holds of its being among the first k, for the same networks.
TEST_F(HeatSmoothing, CountsTheFirstClassesOnRequest) {
  const Outcome one = run(job("1", "")), three = run(job("3", "--top 3"));
  ASSERT_EQ(one.status, 0) << one.error;
  ASSERT_EQ(three.status, 0) << three.error;
  EXPECT_NE(three.out.find("among the first 3"), std::string::npos);
  const auto columns = [&](const std::string& name) {
    std::vector<std::vector<std::string>> lines;
    std::istringstream text(contents(in(name) / "results.csv"));
    for (std::string line; std::getline(text, line);) {
      std::istringstream cells(line);
      lines.emplace_back();
      for (std::string cell; std::getline(cells, cell, ',');) lines.back().push_back(cell);
    }
    return lines;
  };
  const auto first = columns("1"), among = columns("3");
  ASSERT_EQ(first.size(), among.size());
  bool differs = false;
  for (size_t i = 1; i < first.size(); ++i) {
    EXPECT_EQ(first[i][2], among[i][2]) << "natural of " << first[i][0];
    EXPECT_EQ(first[i][2], first[i][3]) << "in_top of " << first[i][0];
    EXPECT_LE(std::stod(among[i][2]), std::stod(among[i][3]));
    differs = differs || among[i][2] != among[i][3];
  }
  EXPECT_TRUE(differs);
  expect_refused(
      {{"reproduce heat --scale tiny --top 10", "--top: 10 given; needs fewer than the 10 classes"},
       {"reproduce heat --scale tiny --image-size 32", "--image-size: 32 given with digits; needs --data folder"}});
}

}  // namespace
