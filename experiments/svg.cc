#include <mollify/experiments/svg.h>

#include <algorithm>
#include <cmath>

namespace mollify::experiments::svg {
namespace {

constexpr const char* kStyle =
    "<style>text{font-family:'DejaVu Sans',Helvetica,Arial,sans-serif;fill:#222}.heading{font-size:17px;font-weight:bold}"
    ".title{font-size:14px;font-weight:bold}.tick{font-size:12px;fill:#444}.grid{stroke:#e4e4e4;stroke-width:1}"
    ".axis{stroke:#666;stroke-width:1}.curve{fill:none;stroke-width:2.5;stroke-linejoin:round;stroke-linecap:round}"
    ".legend{fill:#fff;fill-opacity:.85;stroke:#ccc}</style>\n";

}  // namespace

std::string escaped(const std::string& words) {
  std::string out;
  for (char c : words) out += c == '<' ? "&lt;" : c == '>' ? "&gt;" : c == '&' ? "&amp;" : std::string(1, c);
  return out;
}

std::string start(double width, double height, double heading_x, const std::string& heading) {
  std::string out = text("<svg xmlns='http://www.w3.org/2000/svg' width='%g' height='%g' viewBox='0 0 %g %g'>\n", width, height, width, height);
  out += kStyle;
  out += "<rect width='100%' height='100%' fill='#fff'/>\n";
  return out + text("<text class='heading' x='%g' y='38'>", heading_x) + escaped(heading) + "</text>\n";
}

Ticks ticks_between(double low, double high, int count, double smallest) {
  const double rough = std::max({(high - low) / count, std::max(std::abs(high), std::abs(low)) * 1e-6, smallest, 1e-300});
  const double power = std::pow(10, std::floor(std::log10(rough)));
  double step = 10 * power;
  for (double multiple : {5.0, 2.0, 1.0})
    if (multiple * power >= rough * (1 - 1e-9)) step = multiple * power;
  return {std::floor(low / step + 1e-9) * step, std::ceil(high / step - 1e-9) * step, step};
}

}  // namespace mollify::experiments::svg
