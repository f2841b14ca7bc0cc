// `mollify certify --method smoothing` as its user meets it.
#include "votes_program.h"

namespace {

using namespace program_tests;

class CertifyByVotes : public ProgramTest {
 protected:
  std::string trained() { return train_small(in("run")); }
  std::string job(const std::string& network, const std::string& more) const {
    return "certify --method smoothing --images 40 --n 500 --noise 0.25 --weights " + network + " " + more;
  }
};

TEST_F(CertifyByVotes, WritesCohensColumnsAndTheirSummary) {
  const std::string network = trained();
  const Outcome outcome = run(job(network, "--json --out " + in("c").string()));
  ASSERT_EQ(outcome.status, 0) << outcome.error;
  const Rows rows = read_tsv(contents(in("c") / "certify.tsv"));
  ASSERT_EQ(rows.size(), 41u);
  EXPECT_EQ(rows[0], (std::vector<std::string>{"idx", "label", "predict", "radius", "correct", "time", "count", "n"}));
  int64_t certified = 0, abstained = 0;
  double sum = 0;
  for (size_t i = 1; i < rows.size(); ++i) {
    const auto& row = rows[i];
    EXPECT_EQ(row[0], std::to_string(i - 1));
    EXPECT_EQ(row[4] == "1", row[1] == row[2]);
    EXPECT_EQ(std::stod(row[3]) > 0, row[2] != "-1") << row[3];
    EXPECT_LE(std::stoi(row[6]), 500);
    EXPECT_EQ(row[7], "500");
    EXPECT_EQ(std::count(row[5].begin(), row[5].end(), ':'), 2) << row[5];
    abstained += row[2] == "-1";
    certified += row[4] == "1" && std::stod(row[3]) >= 0.25;
    sum += row[4] == "1" ? std::stod(row[3]) : 0;
  }
  const json out = json::parse(outcome.out);
  EXPECT_EQ(out["images"], 40);
  EXPECT_EQ(out["abstained"], abstained);
  EXPECT_EQ(out["certified"][2]["radius"], 0.25);
  EXPECT_EQ(out["certified"][2]["share"], certified / 40.0);
  EXPECT_NEAR(out["average_certified_radius"].get<double>(), sum / 40, 1e-6);  // the file's radii are rounded down
  EXPECT_GT(certified, 20);
  // All 500 votes are worth no more.
  const Outcome more = run(job(network, "--json --radius 0.63"));
  EXPECT_EQ(more.status, 2);
  EXPECT_NE(more.error.find("--radius: 0.63 given; 500 draws with noise 0.25 prove at most 0.55"), std::string::npos)
      << more.error;
}

TEST_F(CertifyByVotes, GivesTheSameLogHoweverItRuns) {
  const std::string network = trained();
  ASSERT_EQ(run(job(network, "--threads 2 --out " + in("whole").string())).status, 0);
  const std::string lines = contents(in("whole") / "certify.jsonl"), tsv = contents(in("whole") / "certify.tsv");
  EXPECT_EQ(std::count(lines.begin(), lines.end(), '\n'), 40);
  // Cut off within a line, then with another batch and number of threads.
  fs::create_directories(in("broken"));
  fs::copy(in("whole") / "certify.json", in("broken") / "certify.json");
  std::ofstream(in("broken") / "certify.jsonl") << lines.substr(0, lines.size() / 2);
  ASSERT_EQ(run(job(network, "--threads 1 --batch 33 --out " + in("broken").string())).status, 0);
  EXPECT_EQ(without_times(read_tsv(contents(in("broken") / "certify.tsv"))), without_times(read_tsv(tsv)));
  // Every third image gets what it got among all.
  ASSERT_EQ(run(job(network, "--skip 3 --out " + in("third").string())).status, 0);
  const Rows all = without_times(read_tsv(tsv)), third = without_times(read_tsv(contents(in("third") / "certify.tsv")));
  ASSERT_EQ(third.size(), 15u);
  for (size_t i = 1; i < third.size(); ++i) EXPECT_EQ(third[i], all[1 + 3 * (i - 1)]);
  // A radius that is asked for decides as the whole count does.
  ASSERT_EQ(run(job(network, "--radius 0.3 --out " + in("asked").string())).status, 0);
  const Rows asked = read_tsv(contents(in("asked") / "certify.tsv"));
  for (size_t i = 1; i < asked.size(); ++i) EXPECT_EQ(asked[i][3] == "0.300000", std::stod(all[i][3]) >= 0.3) << i;

  const Outcome other = run(job(network, "--n0 50 --out " + in("whole").string()));
  EXPECT_EQ(other.status, 2);
  EXPECT_NE(other.error.find("--n0"), std::string::npos) << other.error;
  std::ofstream(in("broken") / "certify.jsonl") << "{\"index\":0,\"verdict\":\"certified\"}\n";
  const Outcome foreign = run(job(network, "--out " + in("broken").string()));
  EXPECT_EQ(foreign.status, 2) << foreign.error;
  EXPECT_NE(foreign.error.find("certify.jsonl: line 1: "), std::string::npos) << foreign.error;
}

TEST_F(CertifyByVotes, LabelsAmongMoreClassesHoldFarther) {
  const std::string network = trained();
  const auto radius = [&](const std::string& more) {
    const Outcome outcome = run(job(network, "--json " + more));
    EXPECT_EQ(outcome.status, 0) << outcome.error;
    return json::parse(outcome.out)["average_certified_radius"].get<double>();
  };
  const double one = radius("--claim label --top 1"), three = radius("--claim label --top 3");
  EXPECT_GT(three, one);
  EXPECT_GE(one, radius(""));  // the label is what it is, and need not be chosen
  EXPECT_GT(radius("--claim set --top 3"), 0);
  EXPECT_GT(radius("--claim two-classes"), 0);
  EXPECT_GT(radius("--clean-class"), 0);
}

// One pass an image; said to be an estimate, in Cohen's columns all the same.
TEST_F(CertifyByVotes, AnAverageGivesEstimates) {
  const std::string job = "certify --method average --images 40 --noise 0.25 --weights " + trained() + " --out ";
  const Outcome text = run(job + in("a").string());
  ASSERT_EQ(text.status, 0) << text.error;
  EXPECT_NE(text.out.find("an estimate, no certificate"), std::string::npos) << text.out;
  const Rows rows = read_tsv(contents(in("a") / "certify.tsv"));
  ASSERT_EQ(rows.size(), 41u);
  EXPECT_EQ(rows[0].back(), "tighter");
  double sum = 0;
  int64_t right = 0;
  for (size_t i = 1; i < rows.size(); ++i) {
    EXPECT_EQ(rows[i][4] == "1", rows[i][1] == rows[i][2]);
    EXPECT_EQ(rows[i][4] == "1", std::stod(rows[i][3]) > 0);
    EXPECT_LE(std::stod(rows[i][3]), 0.25 * 1.2534);          // at a gap of 1
    EXPECT_GE(std::stod(rows[i][6]), std::stod(rows[i][3]));  // it is tighter where it may be
    sum += std::stod(rows[i][3]);
    right += rows[i][4] == "1";
  }
  EXPECT_GT(right, 20);
  const Outcome again = run(job + in("a").string() + " --json");
  EXPECT_NEAR(json::parse(again.out)["mean_estimate"].get<double>(), sum / static_cast<double>(right), 1e-6);
  EXPECT_EQ(json::parse(again.out)["estimated"][0]["share"], static_cast<double>(right) / 40);
  const Outcome two = run("certify --json --method average --images 40 --noise 0.25 --top 2 --weights " +
                          (in("run") / "model.safetensors").string());
  EXPECT_GT(json::parse(two.out)["estimated"][4]["share"], json::parse(again.out)["estimated"][4]["share"]);
}

TEST_F(CertifyByVotes, RefusesInOneLine) {
  const std::string network = trained(), votes = "certify --method smoothing --weights " + network;
  const std::vector<std::pair<std::string, std::string>> cases = {
      {votes, "--noise: nothing given"},
      {votes + " --noise 0", "--noise: 0 given"},
      {votes + " --noise -0.1", "--noise: -0.1 given"},
      {votes + " --noise 0.1 --alpha 1", "--alpha: 1 given"},
      {votes + " --noise 0.1 --alpha 0", "--alpha: 0 given"},
      {votes + " --noise 0.1 --n 9", "--n: 9 given; no votes of so few prove anything at --alpha 0.001"},
      {votes + " --noise 0.1 --eps 0.1", "--eps: 0.1 given"},
      {votes + " --noise 0.1 --top 2", "--top: 2 given"},
      {votes + " --noise 0.1 --claim label --top 10", "--top: 10 given"},
      {votes + " --noise 0.1 --claim nonsense", "--claim: nonsense given"},
      {"certify --eps 0.1 --noise 0.1 --weights " + network, "--noise: given; it goes with --method smoothing"},
      {"certify --eps 0.1 --radius 0.1 --weights " + network, "--radius: given; it goes with --method smoothing"},
      {"certify --method average --weights " + network, "--noise: nothing given; --method average needs"},
      {"certify --method average --noise 0.1 --radius 0.1 --weights " + network, "--radius: given; it goes"},
      {"certify --method average --noise 0.1 --top 10 --weights " + network, "--top: 10 given"}};
  expect_refused(cases);
}

}  // namespace
