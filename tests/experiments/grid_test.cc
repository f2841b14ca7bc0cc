// The runner of cells, and the pieces that experiments are made of.
#include <mollify/engine/cpu/threads.h>
#include <mollify/engine/grad.h>
#include <mollify/experiments/reproduce/cell_checkpoint.h>
#include <mollify/experiments/reproduce/grid.h>
#include <mollify/experiments/reproduce/report.h>
#include <mollify/experiments/reproduce/training.h>
#include <mollify/experiments/training/accumulate.h>

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
      cells.push_back({"cell " + std::to_string(i), [this, i, bad](const auto&) {
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

// Cell i needs cells i − 1 and i − 2; the last is listed first.
TEST_F(GridTest, CellsFindWhatTheyNeedAndWhatTheyWrote) {
  const auto value = [](const std::filesystem::path& folder) {
    int number = 0;
    std::ifstream(folder / "value") >> number;
    return number;
  };
  const int stopped = 6;
  bool stop = true;
  const auto chain = [&](Grid& grid) {
    std::vector<Cell> cells;
    for (int i = 9; i >= 0; --i) {
      const auto key = [](int j) { return "round " + std::to_string(j); };
      Cell cell{key(i), [&, i, key](const std::filesystem::path& folder) {
                  ++runs_;
                  const bool before = std::filesystem::exists(folder / "begun");
                  std::ofstream(folder / "begun") << "";
                  if (i == stopped && stop) throw std::runtime_error("stopped");
                  EXPECT_EQ(before, i == stopped);
                  const int sum = i < 2 ? 1 : value(grid.folder_of(key(i - 1))) + value(grid.folder_of(key(i - 2)));
                  std::ofstream(folder / "value") << sum;
                  return Results{.numbers = {{"value", sum}}};
                }};
      for (int j = std::max(0, i - 2); j < i; ++j) cell.needs.push_back(key(j));
      cell.keeps_folder = i % 2 == 0 || i != 9;
      cells.push_back(cell);
    }
    return cells;
  };
  {
    Grid grid(folder_, 3);
    const std::vector<Results> results = grid.run("chain", chain(grid));
    for (int i = 0; i < 10; ++i) EXPECT_EQ(std::isnan(results[9 - i].at("value")), i >= stopped) << i;
    ASSERT_EQ(grid.failures().size(), 4u);
    EXPECT_EQ(grid.failures()[0], "round 6: stopped");
    EXPECT_EQ(grid.failures()[1], "round 9: needs 'round 7', which has no results");
    EXPECT_EQ(runs_, stopped + 1);
  }
  stop = false;
  Grid grid(folder_, 2);
  const int fibonacci[] = {1, 1, 2, 3, 5, 8, 13, 21, 34, 55};
  const std::vector<Results> results = grid.run("chain", chain(grid));
  for (int i = 0; i < 10; ++i) EXPECT_EQ(results[9 - i].at("value"), fibonacci[i]);
  EXPECT_TRUE(grid.failures().empty());
  EXPECT_EQ(runs_, 11);
  EXPECT_EQ(value(grid.folder_of("round 8")), 34);
  EXPECT_FALSE(std::filesystem::exists(grid.folder_of("round 9")));
  EXPECT_THROW(grid.run("lost", {{"lonely", [](const auto&) { return Results{}; }, {"round 10"}}}), ValueError);
}

TEST_F(GridTest, ACheckpointHoldsWhereACellStands) {
  CellCheckpoint checkpoint(folder_, 0);
  EXPECT_FALSE(checkpoint.read(Device::cpu).has_value());
  const Tensor weights = normal({5}, {3}, Tensor::scalar(0, DType::i32), DType::f64);
  checkpoint.now_and_then([&] {
    return CellCheckpoint::Standing{{{"weights", weights}},
                                    {{"weights", Tensor::scalar(7.0)}},
                                    {{{"third", 1.0 / 3}, {"none", NAN}}, {{"s", {0.1}}}}};
  });
  const auto standing = checkpoint.read(Device::cpu);
  ASSERT_TRUE(standing.has_value());
  EXPECT_EQ(standing->tensors.at("weights").to_vector<double>(), weights.to_vector<double>());
  EXPECT_EQ(standing->optimizer.at("weights").item(), 7);
  EXPECT_EQ(standing->results.at("third"), 1.0 / 3);
  EXPECT_TRUE(std::isnan(standing->results.at("none")));
  EXPECT_EQ(standing->results.series_at("s"), std::vector<double>{0.1});
  CellCheckpoint(folder_, 1e9).now_and_then([]() -> CellCheckpoint::Standing { throw std::logic_error("too early"); });
}

TEST(Training, MeanOverPartsHasTheMeansValueAndGradient) {
  const Tensors images{normal({7, 2, 2, 1}, {3}, Tensor::scalar(0, DType::i32), DType::f64),
                       Tensor::from(std::vector<int32_t>(7, 0), {7}), Tensor::scalar(2, DType::f64)};
  std::vector<int64_t> numbers;
  const auto loss = [&](const Tensor& w, const Tensors& part, int64_t number) {  // (Σ 2 xᵢ w)² per image, averaged
    numbers.push_back(number);
    EXPECT_EQ(part[0].dim(0), part[1].dim(0));
    return mean(square(matmul(reshape(part[0], {part[0].dim(0), 4}), reshape(w, {4, 1})) * part[2]));
  };
  const Tensor w = Tensor::from(std::vector<double>{0.5, -1, 2, 0.25}, {4});
  const auto [value, gradient] = value_and_grad([&](const Tensor& v) { return loss(v, images, 0); })(w);
  for (int64_t rows : {1, 3, 7, 100}) {
    numbers.clear();
    const auto [mean_value, mean_gradient] =
        value_and_grad([&](const Tensor& v) { return mean_over_parts(v, images, rows, loss); })(w);
    EXPECT_NEAR(mean_value.item(), value.item(), 1e-13);
    for (int i = 0; i < 4; ++i)
      EXPECT_NEAR(mean_gradient.to_vector<double>()[i], gradient.to_vector<double>()[i], 1e-13);
    EXPECT_EQ(static_cast<int64_t>(numbers.size()), (7 + rows - 1) / rows);
    EXPECT_EQ(numbers.back(), (7 - 1) / rows);
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
  Table table({"σ", "accuracy"});
  table.add({"0.1", "9 ± 1"});
  EXPECT_EQ(table.text(), "  σ    accuracy\n  0.1     9 ± 1\n");
}

TEST(Report, ReadsAsTextMarkdownAndLatex) {
  Table table({"σ", "share %"});
  table.add({"a|b", "9 ± 1"});
  Report part, report;
  part.add(table);
  report.add("Two_lines,\none paragraph.\n");
  report.add(part);
  report.add("The end.\n");
  EXPECT_EQ(report.text(), "Two_lines,\none paragraph.\n  σ    share %\n  a|b    9 ± 1\n\nThe end.\n");
  EXPECT_EQ(report.markdown(),
            "Two\\_lines,\none paragraph.\n\n| σ | share % |\n| --- | ---: |\n| a\\|b | 9 ± 1 |\n\nThe end.\n");
  EXPECT_EQ(report.latex(),
            "Two\\_lines,\none paragraph.\n\n\\begin{center}\n\\begin{tabular}{lr}\n\\toprule\n$\\sigma$ & share \\% "
            "\\\\\n\\midrule\na|b & 9 $\\pm$ 1 \\\\\n\\bottomrule\n\\end{tabular}\n\\end{center}\n\nThe end.\n");
}

}  // namespace
