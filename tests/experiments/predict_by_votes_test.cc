// `mollify eval --noise` as its user meets it.
#include "votes_program.h"

#include <mollify/smoothing/randomized/statistics.h>

namespace {

using namespace program_tests;

class PredictByVotes : public ProgramTest {
 protected:
  std::string trained() { return train_small(in("run")); }
  std::string job(const std::string& network, const std::string& more) const {
    return "eval --images 40 --n 200 --noise 0.4 --weights " + network + " " + more;
  }
};

TEST_F(PredictByVotes, WritesCohensColumnsAndTheirSummary) {
  const std::string network = trained();
  const Outcome outcome = run(job(network, "--alpha 0.01 --json --out " + in("p").string()));
  ASSERT_EQ(outcome.status, 0) << outcome.error;
  const Rows rows = read_tsv(contents(in("p") / "predict.tsv"));
  ASSERT_EQ(rows.size(), 41u);
  EXPECT_EQ(rows[0],
            (std::vector<std::string>{"idx", "label", "predict", "correct", "time", "count", "second", "n", "plain"}));
  int64_t correct = 0, abstained = 0, agreeing = 0, plainly_correct = 0;
  for (size_t i = 1; i < rows.size(); ++i) {
    const auto& row = rows[i];
    EXPECT_EQ(row[0], std::to_string(i - 1));
    EXPECT_EQ(row[3] == "1", row[1] == row[2]);
    const int first = std::stoi(row[5]), second = std::stoi(row[6]);
    EXPECT_LE(first + second, 200);
    EXPECT_EQ(row[7], "200");
    EXPECT_EQ(row[2] != "-1", mollify::smoothing::equal_shares_p_value(first, second) <= 0.01) << first << second;
    correct += row[3] == "1";
    abstained += row[2] == "-1";
    agreeing += row[2] == row[8];
    plainly_correct += row[1] == row[8];
  }
  const json out = json::parse(outcome.out);
  EXPECT_EQ(out["images"], 40);
  EXPECT_EQ(out["accuracy"], correct / 40.0);
  EXPECT_EQ(out["abstained"], abstained);
  EXPECT_EQ(out["agreement"], agreeing / 40.0);
  EXPECT_EQ(out["plain_accuracy"], plainly_correct / 40.0);
  EXPECT_GT(correct, 20);
  EXPECT_GT(abstained, 0);
}

TEST_F(PredictByVotes, HardlyAnyNoiseIsThePlainNetwork) {
  const std::string network = trained();
  const Outcome votes = run(job(network, "--noise 1e-6 --json")),
                plain = run("eval --images 40 --json --weights " + network), text = run(job(network, "--noise 1e-6"));
  ASSERT_EQ(votes.status, 0) << votes.error;
  ASSERT_EQ(plain.status, 0) << plain.error;
  const json found = json::parse(votes.out);
  EXPECT_EQ(found["agreement"], 1);
  EXPECT_EQ(found["abstained"], 0);
  EXPECT_EQ(found["accuracy"], json::parse(plain.out)["accuracy"]);
  EXPECT_EQ(json::parse(plain.out)["images"], 40);
  EXPECT_NE(text.out.find("votes of 200 draws with noise 1e-06"), std::string::npos) << text.out;
  EXPECT_NE(text.out.find("the same answer     100.00 %"), std::string::npos) << text.out;
}

TEST_F(PredictByVotes, GivesTheSameLogHoweverItRuns) {
  const std::string network = trained();
  ASSERT_EQ(run(job(network, "--threads 2 --out " + in("whole").string())).status, 0);
  const std::string lines = contents(in("whole") / "eval.jsonl");
  const Rows all = without_times(read_tsv(contents(in("whole") / "predict.tsv")));
  // Cut off within a line, then with another batch and number of threads.
  fs::create_directories(in("broken"));
  fs::copy(in("whole") / "eval.json", in("broken") / "eval.json");
  std::ofstream(in("broken") / "eval.jsonl") << lines.substr(0, lines.size() / 2);
  ASSERT_EQ(run(job(network, "--threads 1 --batch 33 --out " + in("broken").string())).status, 0);
  EXPECT_EQ(without_times(read_tsv(contents(in("broken") / "predict.tsv"))), all);
  // Every third image gets what it got among all.
  ASSERT_EQ(run(job(network, "--skip 3 --out " + in("third").string())).status, 0);
  const Rows third = without_times(read_tsv(contents(in("third") / "predict.tsv")));
  ASSERT_EQ(third.size(), 15u);
  for (size_t i = 1; i < third.size(); ++i) EXPECT_EQ(third[i], all[1 + 3 * (i - 1)]);
  // Another seed draws other noise.
  ASSERT_EQ(run(job(network, "--seed 1 --out " + in("seed").string())).status, 0);
  EXPECT_NE(without_times(read_tsv(contents(in("seed") / "predict.tsv"))), all);

  const Outcome other = run(job(network, "--alpha 0.01 --out " + in("whole").string()));
  EXPECT_EQ(other.status, 2);
  EXPECT_NE(other.error.find("--alpha"), std::string::npos) << other.error;
  std::ofstream(in("broken") / "eval.jsonl") << "{\"index\":0,\"verdict\":\"certified\"}\n";
  const Outcome foreign = run(job(network, "--out " + in("broken").string()));
  EXPECT_EQ(foreign.status, 2) << foreign.error;
  EXPECT_NE(foreign.error.find("eval.jsonl: line 1: "), std::string::npos) << foreign.error;
}

TEST_F(PredictByVotes, RefusesInOneLine) {
  const std::string eval = "eval --weights " + train_small(in("run"));
  const std::vector<std::pair<std::string, std::string>> cases = {
      {eval + " --noise 0", "--noise: 0 given"},
      {eval + " --noise -0.1", "--noise: -0.1 given"},
      {eval + " --noise 0.1 --alpha 1", "--alpha: 1 given"},
      {eval + " --noise 0.1 --alpha 0", "--alpha: 0 given"},
      {eval + " --noise 0.1 --n 10",
       "--n: 10 given; no votes of so few answer at --alpha 0.001, which needs at least 11"},
      {eval + " --noise 0.1 --sigma 0.1", "--sigma: 0.1 given with --noise"},
      {eval + " --noise 0.1 --sigma 0", "--sigma: 0 given with --noise"},
      {eval + " --noise 0.1 --images 0", "--images: 0 given"},
      {eval + " --skip 2", "--skip: given; it goes with --noise"},
      {eval + " --out " + in("o").string(), "--out: given; it goes with --noise"}};
  expect_refused(cases);
  EXPECT_EQ(run(eval + " --noise 0.1 --n 11 --images 2").status, 0);
}

}  // namespace
