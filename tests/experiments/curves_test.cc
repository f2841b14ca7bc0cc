// Pictures of curves: what is drawn where, as the SVG says it.
#include "program.h"

#include <mollify/experiments/training/curves.h>

#include <cmath>
#include <regex>
#include <set>

namespace mollify::experiments {
namespace {

using program_tests::expect_well_formed;

std::vector<std::string> found(const std::string& text, const std::string& pattern) {
  const std::regex expression(pattern);
  std::vector<std::string> out;
  for (std::sregex_iterator at(text.begin(), text.end(), expression), end; at != end; ++at) out.push_back((*at)[1]);
  return out;
}

CurvePanel panel_of(size_t curves, std::vector<double> y) {
  CurvePanel panel{"title", "step", "", {}, 0, 1};
  std::vector<double> x;
  for (size_t i = 0; i < y.size(); ++i) x.push_back(static_cast<double>(i));
  for (size_t c = 0; c < curves; ++c) panel.curves.push_back({"curve " + std::to_string(c), c, x, y});
  std::tie(panel.low, panel.high) = range_of(panel.curves);
  return panel;
}

TEST(Curves, NoLegendLiesOverACurve) {
  for (size_t curves : {1, 3, 7}) {
    const std::string svg = curves_svg("heading", {panel_of(curves, {0, 5, 1, 4})});
    expect_well_formed(svg);
    double lowest_point = 0;
    for (const std::string& points : found(svg, "points='([^']*)'"))
      for (const std::string& y : found(points, ",([0-9.]+)")) lowest_point = std::max(lowest_point, std::stod(y));
    for (const std::string& y : found(svg, "y='([0-9.]+)'>curve")) EXPECT_GT(std::stod(y) - 12, lowest_point);
    const double height = std::stod(found(svg, "height='([0-9.]+)' viewBox")[0]);
    for (const std::string& y : found(svg, "y='([0-9.]+)'>curve"))
      EXPECT_LT(std::stod(y), height) << "within the picture";
  }
}

TEST(Curves, SeriesDifferByMoreThanColour) {
  const std::string svg = curves_svg("heading", {panel_of(5, {0, 1})});
  const std::vector<std::string> dashes = found(svg, "<polyline[^>]*stroke-dasharray='([^']*)'"),
                                 colors = found(svg, "<polyline[^>]*stroke='([^']*)'");
  EXPECT_EQ(std::set<std::string>(dashes.begin(), dashes.end()).size(), 5u);
  EXPECT_EQ(std::set<std::string>(colors.begin(), colors.end()).size(), 5u);
  std::set<std::string> marks;
  for (const std::string& mark : found(svg, "</?polyline[^>]*>(<[a-z]+ [^/]*)"))
    marks.insert(mark.substr(0, mark.find(' ')) + mark.substr(mark.size() / 2, 6));
  EXPECT_EQ(marks.size(), 5u) << svg;
}

TEST(Curves, BandsAreAsWideAsTheDeviation) {
  CurvePanel panel = panel_of(1, {2, 2});
  panel.curves[0].deviation = {1, 0.5};
  std::tie(panel.low, panel.high) = range_of(panel.curves);
  EXPECT_EQ(panel.low, 1);
  EXPECT_EQ(panel.high, 3);
  const std::string svg = curves_svg("heading", {panel});
  const std::vector<std::string> band = found(svg, "<polygon class='band'[^>]*points='([^']*)'");
  ASSERT_EQ(band.size(), 1u);
  const std::vector<std::string> y = found(band[0], ",([0-9.]+)");
  ASSERT_EQ(y.size(), 4u);  // above from left to right, then below from right to left
  EXPECT_NEAR(std::stod(y[3]) - std::stod(y[0]), 2 * (std::stod(y[2]) - std::stod(y[1])), 0.21);
  EXPECT_EQ(found(curves_svg("heading", {panel_of(1, {2, 2})}), "(class='band')").size(), 0u);
}

TEST(Curves, TicksAreWholeWhereTheNumbersAre) {
  const auto ticks = [](std::vector<double> x) {
    CurvePanel panel = panel_of(1, {0, 1, 2});
    panel.curves[0].x = std::move(x);
    return found(curves_svg("heading", {panel}), "text-anchor='middle'>(-?[0-9.]+)</text>");
  };
  EXPECT_EQ(ticks({1, 2, 3}), (std::vector<std::string>{"1", "2", "3"}));
  EXPECT_EQ(ticks({-0.1, 0, 0.1}), (std::vector<std::string>{"-0.1", "-0.05", "0", "0.05", "0.1"}));
  EXPECT_EQ(ticks({0, 0.3, 0.76}), (std::vector<std::string>{"0", "0.1", "0.2", "0.3", "0.4", "0.5", "0.6", "0.7"}));
}

TEST(Curves, BandsMayHaveEndsOfTheirOwn) {
  CurvePanel panel = panel_of(1, {2, 2});
  panel.curves[0].low = {1.5, 1};
  panel.curves[0].high = {2, 5};
  EXPECT_EQ(range_of(panel.curves), (std::pair{1.0, 5.0}));
  std::tie(panel.low, panel.high) = range_of(panel.curves);
  const std::vector<std::string> band =
      found(curves_svg("heading", {panel}), "<polygon class='band'[^>]*points='([^']*)'");
  ASSERT_EQ(band.size(), 1u);
  const std::vector<std::string> y = found(band[0], ",([0-9.]+)");
  ASSERT_EQ(y.size(), 4u);
  EXPECT_NEAR(std::stod(y[2]) - std::stod(y[1]), 8 * (std::stod(y[3]) - std::stod(y[0])), 0.5);
}

TEST(Curves, DecadesAreEvenlySpacedOnALogarithmicAxis) {
  EXPECT_TRUE(spans_decades(0.01, 1));
  EXPECT_FALSE(spans_decades(0.02, 1));
  EXPECT_FALSE(spans_decades(0, 1));
  CurvePanel panel = panel_of(1, {1000, 100, 10, 1, 0});  // the 0 has no place and is left out
  panel.low = 1;
  panel.logarithmic = true;
  const std::string svg = curves_svg("heading", {panel});
  expect_well_formed(svg);
  const std::vector<std::string> y = found(found(svg, "<polyline[^>]*points='([^']*)'")[0], ",([0-9.]+)");
  ASSERT_EQ(y.size(), 4u);
  for (size_t i = 1; i < y.size(); ++i) EXPECT_NEAR(std::stod(y[i]) - std::stod(y[i - 1]), (364.0 - 84) / 3, 0.11);
  for (const char* tick : {">1<", ">10<", ">100<", ">1000<"}) EXPECT_NE(svg.find(tick), std::string::npos) << tick;
}

TEST(Curves, PointsHaveNoLineAndBarsForDeviations) {
  CurvePanel panel = panel_of(1, {2, 3, 2});
  Curve& curve = panel.curves[0];
  curve.points = true;
  curve.x = {100, 0.01, 1};
  curve.deviation = {1, 0.5, NAN};
  panel.logarithmic_x = true;
  std::tie(panel.low, panel.high) = range_of(panel.curves);
  const std::string svg = curves_svg("heading", {panel});
  expect_well_formed(svg);
  EXPECT_EQ(svg.find("<polyline"), std::string::npos);
  EXPECT_EQ(svg.find("<polygon"), std::string::npos);
  const std::vector<std::string> x = found(svg, "<circle cx='([0-9.]+)'"),
                                 from = found(svg, "class='bar'[^/]*y1='([0-9.]+)'"),
                                 to = found(svg, "class='bar'[^/]*y2='([0-9.]+)'"),
                                 bar_x = found(svg, "class='bar'[^/]*x1='([0-9.]+)'");
  ASSERT_EQ(x.size(), 4u);  // the last is the legend's
  EXPECT_NEAR(std::stod(x[2]), (std::stod(x[0]) + std::stod(x[1])) / 2, 0.11) << "1 is the middle of 0.01 and 100";
  ASSERT_EQ(from.size(), 2u);
  EXPECT_EQ(bar_x, (std::vector<std::string>{x[0], x[1]}));
  EXPECT_NEAR(std::stod(from[0]) - std::stod(to[0]), 2 * (std::stod(from[1]) - std::stod(to[1])), 0.21);
  for (const char* tick : {">0.01<", ">0.1<", ">1<", ">10<", ">100<"}) EXPECT_NE(svg.find(tick), std::string::npos);
}

TEST(Curves, ARunNamesItsLosses) {
  std::vector<EpochMetrics> epochs(2);
  for (size_t i = 0; i < 2; ++i) {
    epochs[i].epoch = static_cast<int64_t>(i) + 1;
    epochs[i].train.loss = i == 0 ? 5 : 0.01;
    epochs[i].test.loss = 1;
  }
  const std::string svg = curves_svg("run", epochs, {"train: ibp loss", "test: natural loss"});
  expect_well_formed(svg);
  for (const char* name : {"train: ibp loss", "test: natural loss", ">0.01<"})
    EXPECT_NE(svg.find(name), std::string::npos) << name;
}

}  // namespace
}  // namespace mollify::experiments
