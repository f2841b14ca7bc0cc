// `mollify reproduce` as its user meets it, at the tiny scale.
#include "program.h"

namespace {

using namespace program_tests;

class Reproduce : public ProgramTest {
 protected:
  std::string heat_map(const std::string& name, const std::string& more = "") const {
    return "reproduce gsmooth-heatmap --scale tiny --limit 120 --epochs 1 --out " + in(name).string() + " " + more;
  }
  std::string svrg(const std::string& name, const std::string& more = "") const {
    return "reproduce gsmooth-svrg --scale tiny --limit 20 --test-limit 20 --out " + in(name).string() + " " + more;
  }
  std::string resumed(const std::string& experiment, const std::string& name, const std::string& more = "") const {
    return "reproduce " + experiment + " --resume --out " + in(name).string() + " " + more;
  }
  void expect_same(const std::string& a, const std::string& b, const std::vector<std::string>& files) const {
    for (const std::string& file : files) {
      EXPECT_FALSE(contents(in(a) / file).empty()) << file;
      EXPECT_EQ(contents(in(a) / file), contents(in(b) / file)) << file << " of " << a << " and " << b;
    }
  }
  const std::vector<std::string> heat_map_files = {"results.csv", "table.txt",   "table.md",
                                                   "table.tex",   "heatmap.svg", "noise.svg"};
  const std::vector<std::string> svrg_files = {"results.csv", "blocks.csv",   "table.txt",
                                               "curves.svg",  "accuracy.svg", "deviation.svg"};
};

TEST_F(Reproduce, HeatMapDoesNotDependOnTheNumberOfJobs) {
  MOLLIFY_SKIP_WHERE_SANITIZED();
  const Outcome one = run(heat_map("1", "--jobs 1"));
  EXPECT_EQ(one.status, 0) << one.error;
  EXPECT_EQ(run(heat_map("3", "--jobs 3")).status, 0);
  expect_same("1", "3", heat_map_files);
  const std::string table = contents(in("1") / "table.txt"), csv = contents(in("1") / "results.csv"),
                    svg = contents(in("1") / "heatmap.svg");
  EXPECT_NE(one.out.find(table), std::string::npos);
  EXPECT_EQ(std::count(csv.begin(), csv.end(), '\n'), 1 + 6 + 16);  // heading, learning rates, cells
  for (const char* word :
       {"Learning rates of sgd", "GSmoothAdam, σ = 0.1", "both worst", "sigma 0.1 at least as good as 0"})
    EXPECT_NE(table.find(word), std::string::npos) << word;
  expect_well_formed(svg);
  EXPECT_NE(svg.find("GSmoothSGD, σ = 0.1"), std::string::npos);
}

TEST_F(Reproduce, SvrgDoesNotDependOnTheNumberOfJobs) {
  MOLLIFY_SKIP_WHERE_SANITIZED();
  EXPECT_EQ(run(svrg("1", "--jobs 1 --seeds 2")).status, 0);
  EXPECT_EQ(run(svrg("3", "--jobs 3 --seeds 2")).status, 0);
  expect_same("1", "3", svrg_files);
  const std::string table = contents(in("1") / "table.txt");
  for (const char* word : {"GSmoothSVRG below SVRG", "SVRG below SGD", "81 to 120"})
    EXPECT_NE(table.find(word), std::string::npos) << word;
  expect_well_formed(contents(in("1") / "curves.svg"));
}

TEST_F(Reproduce, HeatMapTakesThePublishedSettings) {
  MOLLIFY_SKIP_WHERE_SANITIZED();
  const Outcome outcome = run(heat_map("run", "--settings published"));
  EXPECT_EQ(outcome.status, 0) << outcome.error;
  const std::string csv = contents(in("run") / "results.csv");
  EXPECT_EQ(std::count(csv.begin(), csv.end(), '\n'), 1 + 16);  // no search of learning rates
  for (const char* word :
       {"Xavier uniform", "the mean over the outputs", "1e-7", "Learning rate of sgd: 0.1, as given."})
    EXPECT_NE(outcome.out.find(word), std::string::npos) << word;
  expect_well_formed(contents(in("run") / "noise.svg"));
}

TEST_F(Reproduce, SvrgRunsUnderAllNoises) {
  MOLLIFY_SKIP_WHERE_SANITIZED();
  const Outcome outcome = run(svrg("run", "--noises all --steps 6 --block 3 --inner 4 --seeds 2 --jobs 2"));
  EXPECT_EQ(outcome.status, 0) << outcome.error;
  const std::string csv = contents(in("run") / "results.csv");
  EXPECT_EQ(std::count(csv.begin(), csv.end(), '\n'), 1 + 4 * (2 + 24));  // two seeds without noise, one with each
  EXPECT_NE(csv.find("GSmoothSVRG,1,0.4,0,"), std::string::npos);
  for (const char* file : {"accuracy.svg", "deviation.svg"}) expect_well_formed(contents(in("run") / file));
  EXPECT_NE(outcome.out.find("at fixed weights"), std::string::npos);
}

TEST_F(Reproduce, ParadoxDoesNotDependOnTheNumberOfJobs) {
  const std::string options = "reproduce paradox --scale tiny --limit 100 --test-limit 20 --seeds 2 ";
  const Outcome one = run(options + "--jobs 1 --out " + in("1").string());
  EXPECT_EQ(one.status, 0) << one.error;
  const Outcome parts = run(options + "--jobs 3 --rows 7 --out " + in("rows").string());
  EXPECT_EQ(parts.status, 0) << parts.error;
  const Outcome three = run(options + "--jobs 3 --out " + in("3").string());
  EXPECT_EQ(three.status, 0) << three.error;
  expect_same("1", "3", {"results.csv", "table.txt"});
  const std::string csv = contents(in("1") / "results.csv"), table = contents(in("1") / "table.txt");
  EXPECT_EQ(std::count(csv.begin(), csv.end(), '\n'),
            1 + 2 * 5);  // heading; four relaxations and a natural network for each seed
  for (const char* word : {"CROWN-IBP is looser than DeepPoly", "DeepPoly certifies less than IBP", "alpha-crown"})
    EXPECT_NE(table.find(word), std::string::npos) << word;
}

TEST_F(Reproduce, AnInterruptLeavesARunThatGoesOn) {
  EXPECT_EQ(run(heat_map("unbroken")).status, 0);
  const Child child = start(heat_map("broken", "--jobs 1"));
  for (int i = 0; i < 3000 && !fs::exists(in("broken") / "cells.jsonl"); ++i) usleep(5'000);
  kill(child.pid, SIGINT);
  const Outcome outcome = finish(child);
  EXPECT_EQ(outcome.status, 130);
  EXPECT_NE(outcome.error.find("to go on: mollify reproduce gsmooth-heatmap --resume"), std::string::npos)
      << outcome.error;
  EXPECT_EQ(std::count(outcome.error.begin(), outcome.error.end(), '\n'), 1) << outcome.error;
  EXPECT_FALSE(fs::exists(in("broken") / "results.csv"));
  const Outcome rest = run(resumed("gsmooth-heatmap", "broken", "--jobs 2"));
  EXPECT_EQ(rest.status, 0) << rest.error;
  expect_same("unbroken", "broken", heat_map_files);
}

TEST_F(Reproduce, AKilledCellGoesOnWithinItself) {
  const struct {
    std::string name, options;
    const char* checkpoint;
    std::vector<std::string> files;
  } all[] = {
      {"gsmooth-heatmap", "--limit 60 --test-limit 50 --epochs 4 --patience 4", "standing.safetensors", heat_map_files},
      {"gsmooth-svrg", "--limit 30 --test-limit 20 --steps 40 --block 10 --inner 25", "standing.safetensors",
       svrg_files},
      {"paradox", "--limit 100 --test-limit 20 --epochs 8", "checkpoint.safetensors", {"results.csv", "table.txt"}}};
  for (const auto& [name, options, checkpoint, files] : std::span(all).first(cases(std::size(all)))) {
    const auto job = [&](const std::string& folder) {
      return "reproduce " + name + " --scale tiny --jobs 1 --checkpoint-minutes 0 " + options + " --out " +
             in(name + folder).string();
    };
    EXPECT_EQ(run(job("-unbroken")).status, 0);
    EXPECT_FALSE(fs::exists(in(name + "-unbroken") / "cells"));
    // Of a cell that has not ended: the file of one that has is there for a moment longer.
    const auto kept = [&]() -> fs::path {
      const fs::path cells = in(name + "-broken") / "cells";
      const std::string ended = contents(in(name + "-broken") / "cells.jsonl");
      if (fs::exists(cells))
        for (const auto& cell : fs::directory_iterator(cells))
          if (fs::exists(cell.path() / checkpoint) &&
              ended.find('"' + cell.path().filename().string() + '"') == std::string::npos)
            return cell.path() / checkpoint;
      return {};
    };
    for (int attempt = 0; attempt < 20 && kept().empty(); ++attempt) {
      const Child child = start(attempt == 0 ? job("-broken") : resumed(name, name + "-broken"));
      for (int i = 0; i < 30000 && kept().empty(); ++i) usleep(200);
      kill(child.pid, SIGKILL);
      finish(child);
    }
    ASSERT_FALSE(kept().empty()) << name;
    const std::string whole = contents(kept());
    std::ofstream(kept()) << "no checkpoint";
    const Outcome refused = run(resumed(name, name + "-broken"));
    EXPECT_EQ(refused.status, 1) << name << ": what the cell wrote is not read";
    EXPECT_NE(refused.error.find(checkpoint), std::string::npos) << refused.error;
    ASSERT_FALSE(kept().empty());
    std::ofstream(kept(), std::ios::binary) << whole;
    const Outcome rest = run(resumed(name, name + "-broken"));
    EXPECT_EQ(rest.status, 0) << rest.error;
    expect_same(name + "-unbroken", name + "-broken", files);
  }
}

TEST_F(Reproduce, ALineThatAKillCutOffIsRunAgain) {
  MOLLIFY_SKIP_WHERE_SANITIZED();
  EXPECT_EQ(run(svrg("unbroken")).status, 0);
  EXPECT_EQ(run(svrg("broken")).status, 0);
  const std::string cells = contents(in("broken") / "cells.jsonl");
  const size_t second = cells.find('\n') + 1;
  std::ofstream(in("broken") / "cells.jsonl") << cells.substr(0, second + 50);
  fs::remove(in("broken") / "results.csv");
  EXPECT_EQ(run(resumed("gsmooth-svrg", "broken")).status, 0);
  const std::string again = contents(in("broken") / "cells.jsonl");
  EXPECT_EQ(again.substr(0, second), cells.substr(0, second));
  EXPECT_EQ(std::count(again.begin(), again.end(), '\n'), 4);
  expect_same("unbroken", "broken", svrg_files);
}

TEST_F(Reproduce, CellsThatDivergeAreReported) {
  const Outcome outcome = run(heat_map("run", "--lr-sgd 1e20 --lr-adam 1e30"));
  EXPECT_EQ(outcome.status, 0) << outcome.error;
  EXPECT_NE(outcome.out.find("16 cells diverged"), std::string::npos) << outcome.out;
  EXPECT_NE(outcome.out.find("Learning rate of sgd: 1e+20, as given."), std::string::npos) << outcome.out;
  expect_well_formed(contents(in("run") / "heatmap.svg"));
}

TEST_F(Reproduce, ErrorsAreOneLineAndStatusTwo) {
  ASSERT_EQ(run(svrg("run")).status, 0);
  fs::create_directory(in("damaged"));
  std::ofstream(in("damaged") / "settings.json") << "{}";
  fs::create_directory(in("torn"));
  fs::copy(in("run") / "settings.json", in("torn") / "settings.json");
  std::ofstream(in("torn") / "cells.jsonl") << "no JSON\n";
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"reproduce",
       "mollify reproduce: no experiment given; there are black-box, functions, gls, graduated, gsmooth-heatmap, "
       "gsmooth-svrg, heat, noise-tails, paradox, sharpness, sparse-szo"},
      {"reproduce nonsense --scale tiny",
       "mollify reproduce: nonsense given; there are black-box, functions, gls, graduated, gsmooth-heatmap, "
       "gsmooth-svrg, heat, noise-tails, paradox, sharpness, sparse-szo"},
      {"reproduce gsmooth-svrg --scale huge",
       "mollify reproduce gsmooth-svrg: --scale: huge given; needs tiny, quick or paper"},
      {heat_map("new", "--settings published --validation 5"),
       "--validation given; published settings hold nothing out"},
      {"reproduce gsmooth-svrg --epochs 3", "mollify reproduce gsmooth-svrg: --epochs given; there is no such option"},
      {"reproduce gsmooth-svrg --data mnist --data-dir /nowhere --limit 1000000 --scale tiny --out " +
           in("new").string(),
       "mnist"},
      {svrg("run"), "holds a run"},
      {resumed("gsmooth-svrg", "run", "--overwrite"), "needs one of them at most"},
      {resumed("gsmooth-svrg", "run", "--sigma 0.2"),
       "mollify reproduce gsmooth-svrg: --sigma: 0.2 given; the run in " + in("run").string() + " has 0.1"},
      {resumed("gsmooth-svrg", "run", "--scale quick"), "--scale: \"quick\" given"},
      {resumed("gsmooth-heatmap", "run"), "is of \"gsmooth-svrg\""},
      {resumed("gsmooth-svrg", "nothing"), "does not exist"},
      {resumed("gsmooth-svrg", "damaged"), "names no experiment"},
      {resumed("gsmooth-svrg", "torn"), "cells.jsonl: line 1"},
  };
  expect_refused(cases);
}

TEST_F(Reproduce, TellsAboutItself) {
  const Outcome all = run("reproduce --help"), svrg_help = run("reproduce gsmooth-svrg --help");
  for (const Outcome& outcome : {all, svrg_help}) EXPECT_EQ(outcome.status, 0) << outcome.error;
  for (const char* name : {"gsmooth-heatmap", "gsmooth-svrg"})
    EXPECT_NE(all.out.find(name), std::string::npos) << all.out;
  for (const char* name : {"--inner", "--seeds", "--resume", "--scale tiny|quick|paper"})
    EXPECT_NE(svrg_help.out.find(name), std::string::npos) << svrg_help.out;
}

}  // namespace
