#include <mollify/experiments/reproduce/heat_map.h>

#include <mollify/engine/error.h>
#include <mollify/experiments/svg.h>

#include <algorithm>
#include <cmath>

namespace mollify::experiments {
namespace {

using svg::text;

constexpr double kCellWidth = 46, kCellHeight = 30, kLeft = 84, kTop = 92, kGap = 30;
constexpr double kPanelHead = 24, kRowNames = 44, kColumnNames = 24;
constexpr double kNarrowest = 170;          // of a panel's title
constexpr double kHeadingCharacter = 10.5;  // width
constexpr double kLegendWidth = 96, kLegendBar = 18;

struct Color { double red, green, blue; };

// From light to dark, evenly spaced in the scale; interpolated between.
constexpr Color kScale[] = {{250, 251, 240}, {214, 237, 207}, {158, 215, 187},
                            {87, 180, 190},  {42, 125, 178},  {22, 66, 126}};

Color color_at(double share) {
  constexpr int kLast = static_cast<int>(std::size(kScale)) - 1;
  const double position = std::clamp(share, 0.0, 1.0) * kLast;
  const int below = std::min(static_cast<int>(position), kLast - 1);
  const double part = position - below;
  const Color &a = kScale[below], &b = kScale[below + 1];
  return {a.red + part * (b.red - a.red), a.green + part * (b.green - a.green), a.blue + part * (b.blue - a.blue)};
}

std::string hex(const Color& color) {
  return text("#%02x%02x%02x", static_cast<int>(color.red + 0.5), static_cast<int>(color.green + 0.5),
              static_cast<int>(color.blue + 0.5));
}

bool dark(const Color& color) { return 0.299 * color.red + 0.587 * color.green + 0.114 * color.blue < 140; }

class Drawing {
 public:
  explicit Drawing(const HeatMap& map) : map_(map) {
    std::vector<double> all;
    for (const auto& panel : map.panels)
      for (const auto& row : panel.values)
        for (double value : row)
          if (std::isfinite(value)) all.push_back(value);
    std::sort(all.begin(), all.end());
    if (all.empty()) return;
    high_ = all.back();
    low_ = all[all.size() / 20];
    lowest_ = all.front();
  }

  std::string draw() const {
    const size_t lines = (map_.panels.size() + map_.panels_in_line - 1) / map_.panels_in_line;
    const double panels = kLeft + static_cast<double>(map_.panels_in_line) * (panel_width() + kGap);
    const double width =
        std::max(panels + kLegendWidth, 48 + kHeadingCharacter * static_cast<double>(map_.heading.size()));
    const double height = kTop + static_cast<double>(lines) * (panel_height() + kGap) + 24;
    std::string out = svg::start(width, height, 24, map_.heading);
    for (size_t i = 0; i < map_.panels.size(); ++i)
      out += panel(map_.panels[i], kLeft + static_cast<double>(i % map_.panels_in_line) * (panel_width() + kGap),
                   kTop + static_cast<double>(i / map_.panels_in_line) * (panel_height() + kGap));
    const double middle = (kTop + height - 24) / 2;
    out += text("<text class='tick' transform='translate(30 %g) rotate(-90)' text-anchor='middle'>", middle) +
           svg::escaped(map_.rows_title) + "</text>\n";
    out += text("<text class='tick' x='%g' y='%g' text-anchor='middle'>", (kLeft + panels) / 2, height - 18) +
           svg::escaped(map_.columns_title) + "</text>\n";
    return out + legend(panels + 8, kTop + kPanelHead, cells_height()) + svg::kEnd;
  }

 private:
  double cells_height() const { return kCellHeight * static_cast<double>(map_.row_names.size()); }
  double panel_width() const {
    return kRowNames + std::max(kNarrowest, kCellWidth * static_cast<double>(map_.column_names.size()));
  }
  double panel_height() const { return kPanelHead + cells_height() + kColumnNames; }

  std::string panel(const HeatMap::Panel& panel, double left, double top) const {
    const double x0 = left + kRowNames, y0 = top + kPanelHead;
    std::string out = text("<text class='title' x='%g' y='%g'>", x0, y0 - 8) + svg::escaped(panel.title) + "</text>\n";
    for (size_t r = 0; r < panel.values.size(); ++r) {
      const double y = y0 + kCellHeight * static_cast<double>(r);
      out += text("<text class='tick' x='%g' y='%g' text-anchor='end'>%s</text>\n", x0 - 7, y + kCellHeight / 2 + 4,
                  map_.row_names[r].c_str());
      for (size_t c = 0; c < panel.values[r].size(); ++c)
        out += cell(panel.values[r][c], x0 + kCellWidth * static_cast<double>(c), y);
    }
    for (size_t c = 0; c < map_.column_names.size(); ++c)
      out += text("<text class='tick' x='%g' y='%g' text-anchor='middle'>%s</text>\n",
                  x0 + kCellWidth * (static_cast<double>(c) + 0.5), y0 + cells_height() + 16,
                  map_.column_names[c].c_str());
    return out;
  }

  std::string cell(double value, double x, double y) const {
    const bool known = std::isfinite(value);
    const Color color = known ? color_at(high_ > low_ ? (value - low_) / (high_ - low_) : 1) : Color{238, 238, 238};
    std::string out = text("<rect x='%g' y='%g' width='%g' height='%g' fill='%s' stroke='#fff'/>", x, y, kCellWidth,
                           kCellHeight, hex(color).c_str());
    return out + text("<text x='%g' y='%g' text-anchor='middle' style='font-size:12px;fill:%s'>%s</text>\n",
                      x + kCellWidth / 2, y + kCellHeight / 2 + 4, dark(color) ? "#fff" : "#222",
                      number_text(value, map_.number_format).c_str());
  }

  std::string legend(double left, double top, double height) const {
    constexpr int kSteps = 60;
    std::string out =
        text("<text class='tick' x='%g' y='%g'>", left, top - 8) + svg::escaped(map_.values_title) + "</text>\n";
    for (int i = 0; i < kSteps; ++i)
      out += text("<rect x='%g' y='%.2f' width='%g' height='%.2f' fill='%s'/>\n", left,
                  top + height * (kSteps - 1 - i) / kSteps, kLegendBar, height / kSteps + 0.3,
                  hex(color_at((i + 0.5) / kSteps)).c_str());
    for (int i = 0; i <= 4; ++i) {
      const double value = low_ + (high_ - low_) * i / 4;
      out += text("<text class='tick' x='%g' y='%.1f'>%s%s</text>\n", left + kLegendBar + 6,
                  top + height * (4 - i) / 4 + 4, i == 0 && lowest_ < low_ ? "≤ " : "",
                  number_text(value, map_.number_format).c_str());
    }
    return out;
  }

  const HeatMap& map_;
  double low_ = 0, high_ = 1, lowest_ = 0;
};

}  // namespace

std::string heat_map_svg(const HeatMap& map) { return Drawing(map).draw(); }

Report heat_map_report(const HeatMap& map) {
  Report report;
  report.add(format("{}: rows {}, columns {}\n", map.values_title, map.rows_title, map.columns_title));
  for (size_t first = 0; first < map.panels.size(); first += map.panels_in_line) {
    const size_t last = std::min(map.panels.size(), first + map.panels_in_line);
    std::vector<std::string> heading = {""};
    std::string titles;
    for (size_t i = first; i < last; ++i) {
      if (i > first) heading.push_back("|");
      heading.insert(heading.end(), map.column_names.begin(), map.column_names.end());
      titles += (i == first ? "  " : "; ") + map.panels[i].title;
    }
    Table table(heading);
    for (size_t r = 0; r < map.row_names.size(); ++r) {
      std::vector<std::string> row = {map.row_names[r]};
      for (size_t i = first; i < last; ++i) {
        if (i > first) row.push_back("|");
        for (double value : map.panels[i].values[r]) row.push_back(number_text(value, map.number_format));
      }
      table.add(row);
    }
    report.add(titles + "\n");
    report.add(table);
  }
  return report;
}

}  // namespace mollify::experiments
