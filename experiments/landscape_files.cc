#include <mollify/experiments/landscape_files.h>

#include <mollify/experiments/reproduce/heat_map.h>
#include <mollify/experiments/training/curves.h>

#include <algorithm>
#include <cmath>

namespace mollify::experiments {
namespace {

using Numbers = std::vector<double>;

constexpr size_t kNames = 8;  // about as many points of a line have their number on the axis

std::string short_number(double value) { return number_text(value, "%.3g"); }

// ",loss,smoothed,error" of a point.
std::string csv_of(const smoothing::Losses& losses, size_t i) {
  return format(",{},{},{}\n", csv_number(losses.plain[i]), csv_number(losses.smoothed[i]),
                csv_number(losses.error[i]));
}

// Curves over the points' numbers; some of them are named by t.
CurvePanel panel_of(const std::string& title, const std::string& x_title, const Numbers& t, std::vector<Curve> curves) {
  CurvePanel panel{title, x_title, "", std::move(curves), 0, 0};
  const size_t every = std::max<size_t>(1, (t.size() - 1) / kNames);
  for (size_t i = 0; i < t.size(); ++i) panel.x_names.push_back(i % every == 0 ? short_number(t[i]) : "");
  for (Curve& curve : panel.curves)
    for (size_t i = 0; i < t.size(); ++i) curve.x.push_back(static_cast<double>(i));
  const auto [low, high] = range_of(panel.curves);
  panel.logarithmic = spans_decades(low, high);
  panel.low = low;
  panel.high = high;
  return panel;
}

Numbers jumps_of(const Numbers& curve) {
  Numbers jumps;
  for (size_t i = 1; i < curve.size(); ++i) jumps.push_back(std::abs(curve[i] - curve[i - 1]));
  return jumps;
}

}  // namespace

void write_line(const std::filesystem::path& folder, const std::string& title, const Numbers& t,
                const smoothing::Losses& line) {
  std::string csv = "t,loss,smoothed,error\n";
  for (size_t i = 0; i < t.size(); ++i) csv += csv_number(t[i]) + csv_of(line, i);
  write_text(folder / "line.csv", csv);
  const CurvePanel losses =
      panel_of("Loss", "t, in units of the weights' norm", t,
               {{"loss", 0, {}, line.plain}, {"smoothed, ± standard error", 1, {}, line.smoothed, line.error}});
  const CurvePanel jumps =
      panel_of("Jump to the next point", "t, where it starts", {t.begin(), t.end() - 1},
               {{"loss", 0, {}, jumps_of(line.plain)}, {"smoothed", 1, {}, jumps_of(line.smoothed)}});
  write_text(folder / "line.svg", curves_svg(title, {losses, jumps}));
}

void write_plane(const std::filesystem::path& folder, const std::string& title, const Numbers& t,
                 const smoothing::Losses& plane) {
  std::string csv = "a,b,loss,smoothed,error\n";
  HeatMap map{.heading = title,
              .rows_title = "along the first direction, in units of the weights' norm",
              .columns_title = "along the second direction",
              .values_title = "loss",
              .row_names = {},
              .column_names = {},
              .panels = {{"loss", {}}, {"smoothed", {}}},
              .panels_in_line = 2,
              .number_format = "%.3g"};
  for (size_t i = 0; i < t.size(); ++i) {
    map.row_names.push_back(short_number(t[i]));
    map.column_names.push_back(short_number(t[i]));
    for (HeatMap::Panel& panel : map.panels) panel.values.emplace_back();
    for (size_t j = 0; j < t.size(); ++j) {
      const size_t at = i * t.size() + j;
      csv += csv_number(t[i]) + "," + csv_number(t[j]) + csv_of(plane, at);
      map.panels[0].values.back().push_back(plane.plain[at]);
      map.panels[1].values.back().push_back(plane.smoothed[at]);
    }
  }
  write_text(folder / "plane.csv", csv);
  write_text(folder / "plane.svg", heat_map_svg(map));
}

}  // namespace mollify::experiments
