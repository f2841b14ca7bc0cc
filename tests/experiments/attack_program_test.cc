// `mollify attack` as its user meets it.
#include "votes_program.h"

#include <mollify/engine/tensor.h>
#include <mollify/nn/formats/npy.h>

#include <cmath>

namespace {

using namespace program_tests;

class AttackProgram : public ProgramTest {
 protected:
  std::string trained() { return train_small(in("run")); }
  json result_of(const std::string& command) {
    const Outcome outcome = run(command + " --json");
    EXPECT_EQ(outcome.status, 0) << outcome.error;
    return json::parse(outcome.out);
  }
  std::vector<json> lines(const std::string& folder) const {
    std::istringstream text(contents(in(folder) / "attack.jsonl"));
    std::vector<json> all;
    for (std::string line; std::getline(text, line);) all.push_back(json::parse(line));
    return all;
  }
};

TEST_F(AttackProgram, LogsWhatItFoundOfEveryImage) {
  const std::string network = trained(), job = "attack --images 40 --weights " + network;
  for (const std::string attack : {"pgd --eps 0.1 --steps 10", "apgd-ce --eps 0.1 --steps 10", "fgsm --eps 0.1",
                                   "ddn --norm l2 --steps 40", "fab-t --norm l2 --steps 10 --targets 2 --eps 0.8"}) {
    fs::remove_all(in("a"));
    const json out = result_of(job + " --attack " + attack + " --out " + in("a").string());
    EXPECT_EQ(out["images"], 40);
    const std::vector<json> all = lines("a");
    ASSERT_EQ(all.size(), 40u);
    const mollify::Tensor pixels = mollify::nn::formats::read_npy(in("a") / "attacked.npy");
    EXPECT_EQ(pixels.shape(), (mollify::Shape{40, 28, 28, 1}));
    int64_t right = 0, resisted = 0, broken = 0;
    double sum = 0;
    for (const json& line : all) {
      EXPECT_EQ(line["broken"].get<bool>(), line["distance"].is_number()) << line;
      EXPECT_EQ(line["broken"].get<bool>(), line["margin"].get<double>() >= 0) << line;
      EXPECT_TRUE(line["right"].get<bool>() || line["broken"].get<bool>()) << "what is wrong anyhow stays so";
      right += line["right"].get<bool>();
      resisted += line["right"].get<bool>() && !line["broken"].get<bool>();
      if (!line["right"].get<bool>() || !line["broken"].get<bool>()) continue;
      ++broken;
      sum += line["distance"].get<double>();
    }
    EXPECT_EQ(out["natural"], static_cast<double>(right) / 40);
    EXPECT_EQ(out["attacked"], static_cast<double>(resisted) / 40);
    EXPECT_EQ(out["broken"], broken);
    EXPECT_GT(broken, 0) << attack;
    EXPECT_NEAR(out["mean_distance"].get<double>(), sum / static_cast<double>(broken), 1e-12);
    EXPECT_NE(contents(in("a") / "attack.svg").find("right within the distance"), std::string::npos);
  }
}

TEST_F(AttackProgram, GoesOnWhereItEnded) {
  const std::string network = trained(), job =
                                             "attack --images 30 --attack standard --steps 5 --targets 2 --queries 20 "
                                             "--eps 0.04 --noise 0.05 --draws 2 --weights " +
                                             network + " --out ";
  ASSERT_EQ(run(job + in("whole").string()).status, 0);
  const std::string all = contents(in("whole") / "attack.jsonl");
  fs::create_directories(in("broken"));
  fs::copy(in("whole") / "attack.json", in("broken") / "attack.json");
  std::ofstream(in("broken") / "attack.jsonl") << all.substr(0, all.size() / 2);  // within a line
  fs::copy(in("whole") / "attacked.npy", in("broken") / "attacked.npy");
  const Outcome broken = run(job + in("broken").string() + " --batch 7 --threads 1");
  ASSERT_EQ(broken.status, 0) << broken.error;
  EXPECT_EQ(contents(in("broken") / "attack.jsonl"), all);
  EXPECT_EQ(contents(in("broken") / "attacked.npy"), contents(in("whole") / "attacked.npy"));
  const Outcome other = run(job + in("broken").string() + " --draws 3");
  EXPECT_EQ(other.status, 2);
  std::ofstream(in("broken") / "attack.jsonl") << "{\"index\":0,\"verdict\":\"certified\"}\n";
  const Outcome foreign = run(job + in("broken").string());
  EXPECT_NE(foreign.error.find("attack.jsonl: line 1: "), std::string::npos) << foreign.error;
}

TEST_F(AttackProgram, KnowsOtherGoals) {
  const std::string network = trained(),
                    job = "attack --images 40 --attack pgd --norm l2 --eps 1.5 --steps 20 --weights " + network;
  const double one = result_of(job)["attacked"].get<double>(),
               two = result_of(job + " --top 2")["attacked"].get<double>();
  EXPECT_LT(one, two) << "two classes have to be passed";
  const json target = result_of(job + " --target 3");
  EXPECT_LT(target["images"].get<int>(), 40) << "images of the target are left out";
  EXPECT_EQ(target["natural"], 1.0);
  EXPECT_GT(target["attacked"].get<double>(), one) << "one class is harder to reach than any";
}

TEST_F(AttackProgram, RefusesInOneLine) {
  const std::string attack = "attack --weights " + trained() + " ";
  expect_refused({
      {attack + "--attack pgd", "--eps: nothing given"},
      {attack + "--attack magic --eps 1", "--attack: magic given"},
      {attack + "--attack ddn --eps 1", "--norm linf: given with --attack ddn"},
      {attack + "--attack apgd-ce --eps 1 --objective margin",
       "--objective: given with --attack apgd-ce; it goes with pgd"},
      {attack + "--attack square --eps 1 --steps 5", "--steps: given with --attack square"},
      {attack + "--attack pgd --eps 1 --queries 5", "--queries: given with --attack pgd"},
      {attack + "--attack pgd --eps 1 --levels 255", "--levels: given with --attack pgd"},
      {attack + "--attack pgd --eps 1 --noise 0", "--noise: 0 given"},
      {attack + "--attack pgd --eps 1 --draws 0", "--draws: 0 given"},
      {attack + "--attack pgd --eps 1 --top 10", "--top: 10 given; digits has 10 classes"},
      {attack + "--attack pgd --eps 1 --target 10", "--target: 10 given; digits has 10 classes"},
      {attack + "--attack pgd --eps 1 --target 1 --top 2", "--top: 2 given with --target"},
  });
}

}  // namespace
