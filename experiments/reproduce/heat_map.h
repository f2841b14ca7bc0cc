// Tables of numbers over two quantities, several side by side: as a picture and in a report.
#pragma once

#include <mollify/experiments/reproduce/report.h>

#include <string>
#include <vector>

namespace mollify::experiments {

struct HeatMap {
  struct Panel {
    std::string title;
    std::vector<std::vector<double>> values;  // [row][column]; NaN: none
  };
  std::string heading, rows_title, columns_title, values_title;
  std::vector<std::string> row_names, column_names;
  std::vector<Panel> panels;  // from left to right, then the next line of panels
  size_t panels_in_line = 1;
  const char* number_format = "%.1f";
};

// An SVG document with the numbers printed in the cells. One colour scale for all panels, from the 5 % quantile of the
// numbers to the largest: a few outliers at the bottom do not bleach the rest.
std::string heat_map_svg(const HeatMap& map);

Report heat_map_report(const HeatMap& map);

}  // namespace mollify::experiments
