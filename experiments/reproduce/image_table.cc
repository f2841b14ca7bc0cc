#include <mollify/experiments/reproduce/image_table.h>

#include <mollify/experiments/svg.h>

#include <algorithm>
#include <cmath>
#include <map>

namespace mollify::experiments {
namespace {

using svg::text;

constexpr double kPixel = 4, kLeft = 24, kTop = 84, kGap = 12, kBelow = 20;

int shade_of(float value) { return static_cast<int>(std::lround(std::clamp(value, 0.0f, 1.0f) * 15)) * 17; }

// One path for all pixels of a colour.
std::string drawn(const Tensor& image, double x, double y) {
  const std::vector<float> values = image.to_vector<float>();
  const int64_t height = image.dim(1), width = image.dim(2), channels = image.dim(3);
  std::map<std::string, std::string> pixels;
  for (int64_t row = 0; row < height; ++row)
    for (int64_t column = 0; column < width; ++column) {
      const float* at = values.data() + (row * width + column) * channels;
      const std::string color = text("#%02x%02x%02x", shade_of(at[0]), shade_of(at[channels == 3 ? 1 : 0]),
                                     shade_of(at[channels == 3 ? 2 : 0]));
      pixels[color] += text("M%d %dh1v1h-1z", static_cast<int>(column), static_cast<int>(row));
    }
  std::string out = text("<g transform=\"translate(%g %g) scale(%g)\" shape-rendering=\"crispEdges\">\n", x, y, kPixel);
  for (const auto& [color, path] : pixels) out += "<path fill=\"" + color + "\" d=\"" + path + "\"/>\n";
  return out + "</g>\n";
}

}  // namespace

std::string image_table_svg(const ImageTable& table) {
  const Tensor& first = table.rows.at(0).at(0);
  const double high = kPixel * static_cast<double>(first.dim(1)) + kGap,
               wide = kPixel * static_cast<double>(first.dim(2)) + kGap;
  const double width = std::max(2 * kLeft + wide * static_cast<double>(table.column_names.size()),
                                48 + 10.5 * static_cast<double>(table.heading.size()));
  std::string out =
      svg::start(width, kTop + high * static_cast<double>(table.rows.size()) + kBelow, kLeft, table.heading);
  for (size_t c = 0; c < table.column_names.size(); ++c)
    out += text("<text x=\"%g\" y=\"%g\">", kLeft + wide * static_cast<double>(c), kTop - 10) +
           svg::escaped(table.column_names[c]) + "</text>\n";
  for (size_t r = 0; r < table.rows.size(); ++r)
    for (size_t c = 0; c < table.rows[r].size(); ++c)
      out += drawn(table.rows[r][c], kLeft + wide * static_cast<double>(c), kTop + high * static_cast<double>(r));
  return out + svg::kEnd;
}

}  // namespace mollify::experiments
