// The runner of cells, and the pieces that experiments are made of.
#include <mollify/engine/cpu/threads.h>
#include <mollify/engine/grad.h>
#include <mollify/experiments/reproduce/grid.h>
#include <mollify/experiments/reproduce/report.h>
#include <mollify/experiments/reproduce/training.h>

#include <gtest/gtest.h>

#include <atomic>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <stdexcept>

namespace {

using namespace mollify;
using namespace mollify::experiments;

class GridTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (std::filesystem::temp_directory_path() / "mollify-grid-XXXXXX").string();
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    folder_ = pattern;
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  // Cells 0 … count − 1 with their squares; cell `bad` throws.
  std::vector<Cell> squares(int count, int bad = -1) {
    std::vector<Cell> cells;
    for (int i = 0; i < count; ++i)
      cells.push_back({"cell " + std::to_string(i), [this, i, bad] {
                         ++runs_;
                         if (i == bad) throw std::runtime_error("bad");
                         return Results{.numbers = {{"square", i * i / 3.0}, {"none", NAN}},
                                        .series = {{"both", {1.0 * i, INFINITY}}}};
                       }});
    return cells;
  }

  std::filesystem::path folder_;
  std::atomic<int> runs_{0};
};

TEST_F(GridTest, ReturnsResultsInOrderAndRunsFinishedCellsNoMore) {
  const int threads = num_threads();
  for (int jobs : {3, 1}) {
    Grid grid(folder_, jobs);
    const std::vector<Results> results = grid.run("squares", squares(20));
    ASSERT_EQ(results.size(), 20u);
    for (int i = 0; i < 20; ++i) {
      EXPECT_EQ(results[i].at("square"), i * i / 3.0);
      EXPECT_TRUE(std::isnan(results[i].at("none")));
      EXPECT_TRUE(std::isnan(results[i].at("absent")));
      EXPECT_EQ(results[i].series_at("both").at(0), i);
      EXPECT_TRUE(results[i].series_at("absent").empty());
    }
    EXPECT_EQ(runs_, 20);
    EXPECT_EQ(num_threads(), threads);
  }
}

TEST_F(GridTest, ACellThatThrowsStopsNoOtherAndIsTriedAgain) {
  {
    Grid grid(folder_, 2);
    const std::vector<Results> results = grid.run("squares", squares(5, 1));
    EXPECT_EQ(results[4].at("square"), 16 / 3.0);
    EXPECT_TRUE(std::isnan(results[1].at("square")));
    ASSERT_EQ(grid.failures().size(), 1u);
    EXPECT_EQ(grid.failures()[0], "cell 1: bad");
  }
  Grid grid(folder_, 2);
  EXPECT_EQ(grid.run("squares", squares(5))[1].at("square"), 1 / 3.0);
  EXPECT_EQ(runs_, 6);
  EXPECT_TRUE(grid.failures().empty());
}

TEST_F(GridTest, DropsALineThatWasCutOffAndRefusesOtherFiles) {
  Grid(folder_, 1).run("squares", squares(3));
  std::ofstream(folder_ / "cells.jsonl", std::ios::app) << "{\"key\":\"cell 3\",\"num";
  EXPECT_EQ(Grid(folder_, 1).run("squares", squares(4))[3].at("square"), 3.0);
  EXPECT_EQ(runs_, 4);
  EXPECT_EQ(Grid(folder_, 1).run("squares", squares(4))[3].at("square"), 3.0);
  EXPECT_EQ(runs_, 4);
  std::ofstream(folder_ / "cells.jsonl", std::ios::app) << "{\"key\":1}\n";
  EXPECT_THROW(Grid(folder_, 1), FormatError);
}

TEST(Training, MeanOverBatchesHasTheMeansValueAndGradient) {
  const Images images{normal({7, 2, 2, 1}, {3}, Tensor::scalar(0, DType::i32), DType::f64),
                      Tensor::from(std::vector<int32_t>(7, 0), {7})};
  const auto loss = [](const Tensor& w, const Images& batch) {  // (Σ xᵢ w)² per image, averaged
    return mean(square(matmul(reshape(batch.images, {batch.count(), 4}), reshape(w, {4, 1}))));
  };
  const Tensor w = Tensor::from(std::vector<double>{0.5, -1, 2, 0.25}, {4});
  const auto [value, gradient] = value_and_grad([&](const Tensor& v) { return loss(v, images); })(w);
  for (int64_t rows : {1, 3, 7, 100}) {
    const auto [mean_value, mean_gradient] =
        value_and_grad([&](const Tensor& v) { return mean_over_batches(v, images, rows, loss); })(w);
    EXPECT_NEAR(mean_value.item(), value.item(), 1e-13);
    for (int i = 0; i < 4; ++i)
      EXPECT_NEAR(mean_gradient.to_vector<double>()[i], gradient.to_vector<double>()[i], 1e-13);
  }
}

TEST(Training, ScoreCountsImagesOfAllBatches) {
  const int64_t count = 1203;
  std::vector<int32_t> labels(count);
  for (int64_t i = 0; i < count; ++i) labels[i] = i % 3;
  const Images images{zeros({count, 1, 1, 1}), Tensor::from(labels, {count})};
  const auto model = [](const Tensor&, const Tensor& x) { return one_hot(zeros({x.dim(0)}, DType::i32), 3); };
  const Score score = score_of(model, {}, images);
  EXPECT_EQ(score.accuracy, 1.0 / 3);
  EXPECT_NEAR(score.loss, 2.0 * 2 / 3, 1e-6);
}

TEST(Report, SummariesVerdictsAndTables) {
  const Summary a = summary_of({1, 2, NAN, 3}), one = summary_of({5}), none = summary_of({NAN});
  EXPECT_EQ(a.mean, 2);
  EXPECT_EQ(a.deviation, 1);
  EXPECT_EQ(a.count, 3);
  EXPECT_EQ(with_deviation(a, "%.1f"), "2.0 ± 1.0");
  EXPECT_EQ(with_deviation(one, "%.1f"), "5.0");
  EXPECT_EQ(with_deviation(none, "%.1f"), "-");
  const Summary near = summary_of({3.5, 1.5, 2, 2.5}), far = summary_of({9, 8, 10, 9});
  EXPECT_EQ(at_least(near, a), Verdict::holds);
  EXPECT_EQ(at_least(a, near), Verdict::undecided);
  EXPECT_EQ(at_least(a, far), Verdict::fails);
  EXPECT_EQ(below(a, far), Verdict::holds);
  EXPECT_EQ(below(a, near), Verdict::undecided);
  EXPECT_EQ(below(near, a), Verdict::fails);
  EXPECT_EQ(at_least(none, a), Verdict::undecided);
  TextTable table({"σ", "accuracy"});
  table.add({"0.1", "9 ± 1"});
  EXPECT_EQ(table.text(), "  σ    accuracy\n  0.1     9 ± 1\n");
}

}  // namespace
