// Steps of epochs whose batch sizes differ.
#include <mollify/engine/error.h>
#include <mollify/experiments/training/timetable.h>

#include <gtest/gtest.h>

namespace mollify::experiments {
namespace {

TEST(Timetable, CountsStepsOfEpochs) {
  const Timetable table(100, {30, 50, 100, 60});
  int64_t first = 0;
  for (const auto& [epoch, batch, steps] : {std::tuple{0, 30, 4}, {1, 50, 2}, {2, 100, 1}, {3, 60, 2}, {4, 60, 2}}) {
    EXPECT_EQ(table.batch(epoch), batch);
    EXPECT_EQ(table.steps(epoch), steps);
    EXPECT_EQ(table.first_step(epoch), first);
    first += steps;
  }
  EXPECT_EQ(table.first_step(1000), 9 + 2 * 996);
  EXPECT_EQ(Timetable(64, {64}).first_step(7), 7);
  EXPECT_EQ(Timetable(65, {64}).first_step(7), 14);
  EXPECT_EQ(Timetable(5, {64}).steps(0), 1);
}

TEST(Timetable, Errors) {
  EXPECT_THROW(Timetable(0, {1}), ValueError);
  EXPECT_THROW(Timetable(10, {}), ValueError);
  EXPECT_THROW(Timetable(10, {4, 0}), ValueError);
}

}  // namespace
}  // namespace mollify::experiments
