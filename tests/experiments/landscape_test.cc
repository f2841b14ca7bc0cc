// `mollify landscape` on a small network: its files, on any number of threads, and what it refuses.
#include "program.h"

#include <cmath>
#include <map>

namespace {

using namespace program_tests;

// The rows of a table of numbers, with its heading apart.
struct Csv {
  std::string heading;
  std::vector<std::vector<double>> rows;

  explicit Csv(const fs::path& path) {
    std::istringstream lines(contents(path));
    std::getline(lines, heading);
    for (std::string line; std::getline(lines, line);) {
      rows.emplace_back();
      std::istringstream cells(line);
      for (std::string cell; std::getline(cells, cell, ',');) rows.back().push_back(std::stod(cell));
    }
  }
};

class Landscape : public ProgramTest {
 protected:
  // Weights of a network that was trained for an epoch.
  std::string trained(const std::string& options = "") const {
    const Outcome outcome =
        run("train --data digits --limit 200 --model cnn3_tiny --epochs 1 --out " + in("run").string() + " " + options);
    EXPECT_EQ(outcome.status, 0) << outcome.error;
    return (in("run") / "model.safetensors").string();
  }
  Outcome look(const std::string& weights, const std::string& out, const std::string& more) const {
    return run("landscape --weights " + weights + " --batch 6 --points 5 --plane-points 3 --samples 4 --out " +
               in(out).string() + " " + more);
  }
};

TEST_F(Landscape, ShowsTheLossesOfObjectives) {
  const std::string weights = trained();
  std::map<std::string, double> at_weights;
  for (const std::string objective : {"natural", "ibp", "deeppoly"}) {
    const std::string options =
        "--plane --objective " + objective + (objective == "natural" ? "" : " --eps 0.05 --extent 0.02");
    const Outcome outcome = look(weights, objective, options);
    ASSERT_EQ(outcome.status, 0) << outcome.error;
    for (const char* text :
         {"cnn3_tiny (1", "6 training images of digits", "largest jump", "deviation from convexity",
          "largest discontinuity", "at the weights", "±", "line.csv, line.svg, plane.csv, plane.svg"})
      EXPECT_NE(outcome.out.find(text), std::string::npos) << text << " in " << outcome.out;
    EXPECT_NE(outcome.out.find(objective == "natural" ? "natural loss on" : objective + " loss at radius 0.05"),
              std::string::npos)
        << outcome.out;
    for (const char* file : {"line.svg", "plane.svg"}) expect_well_formed(contents(in(objective) / file));
    const Csv line(in(objective) / "line.csv"), plane(in(objective) / "plane.csv");
    EXPECT_EQ(line.heading, "t,loss,smoothed,error");
    EXPECT_EQ(plane.heading, "a,b,loss,smoothed,error");
    ASSERT_EQ(line.rows.size(), 5u);
    ASSERT_EQ(plane.rows.size(), 9u);
    const double extent = objective == "natural" ? 0.1 : 0.02;
    for (size_t i = 0; i < 5; ++i) EXPECT_NEAR(line.rows[i][0], extent * (static_cast<double>(i) / 2 - 1), 1e-12);
    for (const auto& row : line.rows) {
      EXPECT_GT(row[1], 0);
      EXPECT_NEAR(row[2], row[1], 0.5 * row[1]);  // the noise is small
      EXPECT_GT(row[3], 0);
    }
    // The line lies in the plane: its ends and its middle.
    for (size_t i = 0; i < 3; ++i)
      for (size_t k = 1; k < 4; ++k) EXPECT_EQ(plane.rows[3 * i + 1][k + 1], line.rows[2 * i][k]);
    at_weights[objective] = line.rows[2][1];
  }
  // Bounds of the loss over balls are above the loss, and CROWN's below those of boxes here.
  EXPECT_LT(at_weights["natural"], at_weights["deeppoly"]);
  EXPECT_LT(at_weights["deeppoly"], at_weights["ibp"]);
}

TEST_F(Landscape, DoesNotDependOnThreads) {
  const std::string weights = trained();
  for (const std::string threads : {"1", "3"})
    ASSERT_EQ(look(weights, threads, "--plane --objective deeppoly --eps 0.1 --threads " + threads).status, 0);
  ASSERT_EQ(look(weights, "other", "--plane --objective deeppoly --eps 0.1 --seed 1").status, 0);
  for (const char* file : {"line.csv", "plane.csv", "line.svg", "plane.svg"}) {
    EXPECT_EQ(contents(in("1") / file), contents(in("3") / file)) << file;
    EXPECT_NE(contents(in("1") / file), contents(in("other") / file)) << file;
  }
}

TEST_F(Landscape, KnowsWhatTheWeightsWereTrainedFor) {
  const std::string weights = trained("--objective ibp --eps 0.07");
  const Outcome own = look(weights, "own", ""), other = look(weights, "other", "--objective crown-ibp");
  EXPECT_NE(own.out.find("ibp loss at radius 0.07 on 6 training images of digits"), std::string::npos) << own.error;
  EXPECT_NE(other.out.find("crown-ibp loss at radius 0.07"), std::string::npos) << other.error;
  EXPECT_FALSE(fs::exists(in("own") / "plane.csv"));
}

TEST_F(Landscape, KnowsTheNoiseThatWeightsWereTrainedFor) {
  const std::string weights = trained("--objective gaussian --noise 0.2");
  const Outcome own = look(weights, "own", "");
  EXPECT_EQ(own.status, 0) << own.error;
  EXPECT_NE(own.out.find("gaussian loss on 6 training images"), std::string::npos) << own.out;
  // An average's teacher is not in its file: the natural loss is looked at.
  ASSERT_EQ(run("train --data digits --limit 200 --model cnn3_tiny --epochs 1 --objective heat --noise 0.2 --lr 0.001 "
                "--heat-rounds 1 --heat-repeats 1 --teacher " +
                weights + " --out " + in("heat").string())
                .status,
            0);
  const Outcome average = look((in("heat") / "model.safetensors").string(), "average", "");
  EXPECT_EQ(average.status, 0) << average.error;
  EXPECT_NE(average.out.find("natural loss on 6 training images"), std::string::npos) << average.out;
}

// Without noise the smoothed loss is the loss.
TEST_F(Landscape, WithoutNoiseSmoothsNothing) {
  const std::string weights = trained();
  for (const std::string directions : {"layer-normalised", "filter-normalised"}) {
    ASSERT_EQ(look(weights, directions, "--probe-scale 0 --objective pgd --eps 0.1 --directions " + directions).status,
              0);
    for (const auto& row : Csv(in(directions) / "line.csv").rows) {
      EXPECT_NEAR(row[2], row[1], 1e-12);
      EXPECT_NEAR(row[3], 0, 1e-12);
    }
  }
  EXPECT_NE(contents(in("layer-normalised") / "line.csv"), contents(in("filter-normalised") / "line.csv"));
}

TEST_F(Landscape, RefusesInOneLine) {
  const std::string weights = trained();
  const std::pair<std::string, std::string> cases[] = {
      {"", "mollify landscape: --weights: not given"},
      {"--weights " + in("none.safetensors").string(), "none.safetensors"},
      {"--weights " + weights + " --objective ibp", "mollify landscape: --eps: not given; --objective ibp"},
      {"--weights " + weights + " --eps 0.1", "mollify landscape: --eps: 0.1 given with --objective natural"},
      {"--weights " + weights + " --objective rough", "needs natural, pgd"},
      {"--weights " + weights + " --eps 2", "from 0 to 1"},
      {"--weights " + weights + " --points 4", "mollify landscape: --points: 4 given; needs an odd number"},
      {"--weights " + weights + " --plane-points 8", "mollify landscape: --plane-points: 8 given"},
      {"--weights " + weights + " --samples 3", "--samples: 3 given"},
      {"--weights " + weights + " --extent 0", "--extent: 0 given; needs above 0"},
      {"--weights " + weights + " --directions up", "needs random, layer-normalised or filter-normalised"},
      {"--weights " + weights + " --data cifar10", "cifar"},
      {"--weights " + weights + " --surface", "there is no such option"}};
  for (const auto& [options, text] : cases) {
    const Outcome outcome = run("landscape --out " + in("refused").string() + " " + options);
    EXPECT_EQ(outcome.status, 2) << options;
    EXPECT_NE(outcome.error.find(text), std::string::npos) << outcome.error;
    EXPECT_EQ(std::count(outcome.error.begin(), outcome.error.end(), '\n'), 1) << outcome.error;
    EXPECT_FALSE(fs::exists(in("refused"))) << options;
  }
  std::ofstream(in("file")) << "";
  EXPECT_EQ(run("landscape --weights " + weights + " --out " + in("file").string()).status, 1);
}

TEST_F(Landscape, AnInterruptEndsIt) {
  const Child child = start("landscape --weights " + trained() + " --samples 1000000 --out " + in("long").string());
  for (int i = 0; i < 3000 && !fs::exists(in("long") / "lock"); ++i) usleep(10'000);
  kill(child.pid, SIGINT);
  const Outcome outcome = finish(child);
  EXPECT_EQ(outcome.status, 130);
  EXPECT_EQ(outcome.error, "mollify landscape: interrupted; nothing is written\n");
  EXPECT_FALSE(fs::exists(in("long") / "line.csv"));
}

}  // namespace
