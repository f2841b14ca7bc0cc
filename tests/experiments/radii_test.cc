// `mollify radii`: what logs in Cohen's columns come to.
#include <mollify/engine/error.h>
#include <mollify/experiments/robustness/certified_images.h>

#include "program.h"

#include <cmath>

namespace {

using namespace program_tests;
using namespace mollify::experiments;

class Radii : public ProgramTest {
 protected:
  std::string log(const std::string& name, const std::string& text) const {
    std::ofstream(in(name)) << text;
    return in(name).string();
  }
};

// Seconds or H:MM:SS, three digits, columns of others: what is around.
const char* const kLog =
    "idx\tlabel\tpredict\tradius\tcorrect\ttime\n"
    "0\t7\t7\t0.5\t1\t0:00:15.412000\n"
    "20\t2\t2\t0.25\t1\t15.4\n"
    "40\t1\t-1\t0.0\t0\t0:00:15.4\n"
    "60\t0\t3\t0.9\t0\t0:00:15.4\n"
    "80\t4\t4\t1.25\t1\t0:00:15.4\n";

TEST_F(Radii, AreCountedOverAllImages) {
  const auto images = read_certified(log("a.tsv", kLog));
  ASSERT_EQ(images.size(), 5u);
  EXPECT_EQ(images[1].index, 20);
  EXPECT_EQ(images[2].predicted, -1);
  EXPECT_EQ(certified_accuracy(images, 0), 0.6);
  EXPECT_EQ(certified_accuracy(images, 0.25), 0.6);  // a radius reaches itself
  EXPECT_EQ(certified_accuracy(images, 0.26), 0.4);
  EXPECT_EQ(certified_accuracy(images, 2), 0);
  EXPECT_NEAR(average_certified_radius(images), 2.0 / 5, 1e-15);
  EXPECT_EQ(accuracy_without_abstentions(images, 0), 0.75);
  EXPECT_EQ(accuracy_without_abstentions(images, 0.25), 0.5);
  EXPECT_NEAR(high_probability(0.6, 500, 0.001, 0.01),
              0.6 - 0.001 - std::sqrt(0.001 * 0.999 * std::log(100) / 500) - std::log(100) / 1500, 1e-15);
}

TEST_F(Radii, TakesLogsOfItsOwnAndOfOthers) {
  const std::string a = log("a.tsv", kLog),
                    b = log("b.tsv", "correct\tn\tidx\tlabel\tpredict\tradius\r\n1\t100\t0\t5\t5\t0.131\r\n");
  const Outcome outcome = run("radii " + a + " " + b + " --step 0.5 --alpha 0.001 --out " + in("out").string());
  ASSERT_EQ(outcome.status, 0) << outcome.error;
  EXPECT_NE(outcome.out.find("0.4000"), std::string::npos) << outcome.out;
  EXPECT_EQ(contents(in("out") / "table.txt"), outcome.out);
  for (const char* file : {"table.md", "table.tex"}) EXPECT_FALSE(contents(in("out") / file).empty()) << file;
  expect_well_formed(contents(in("out") / "radii.svg"));
  const json all = json::parse(run("radii --json " + a + " " + b).out);
  EXPECT_EQ(all[0]["certified"][1]["radius"], 0.25);
  EXPECT_EQ(all[0]["certified"][1]["share"], 0.6);
  EXPECT_EQ(all[1]["average_certified_radius"], 0.131);
}

TEST_F(Radii, RefusesWhatIsNoLogInOneLine) {
  const std::string heading = "idx\tlabel\tpredict\tradius\tcorrect\n";
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"radii", "LOG: not given"},
      {"radii " + in("none.tsv").string(), "none.tsv"},
      {"radii " + log("empty.tsv", ""), "empty.tsv: line 1: no column idx"},
      {"radii " + log("bare.tsv", heading), "bare.tsv: no image"},
      {"radii " + log("cut.tsv", heading + "0\t1\t1\t0.5\t1\n1\t2"), "cut.tsv: line 3: predict is ''"},
      {"radii " + log("text.tsv", heading + "0\tcat\t1\t0.5\t1\n"), "text.tsv: line 2: label is 'cat'"},
      {"radii " + log("nan.tsv", heading + "0\t1\t1\tnan\t1\n"), "nan.tsv: line 2: radius is 'nan'"},
      {"radii " + log("half.tsv", heading + "0\t1\t1.5\t0.5\t1\n"),
       "half.tsv: line 2: predict is 1.5; needs a whole number"},
      {"radii " + log("huge.tsv", heading + "1e300\t1\t1\t0.5\t1\n"), "huge.tsv: line 2: idx is"},
      {"radii " + log("below.tsv", heading + "0\t1\t1\t-0.5\t1\n"), "below.tsv: line 2: radius -0.5"},
      {"radii " + log("good.tsv", kLog) + " --alpha 0", "--alpha: 0 given"}};
  expect_refused(cases);
}

}  // namespace
