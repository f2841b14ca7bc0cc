#include <mollify/experiments/svg.h>

#include <algorithm>
#include <cmath>
#include <iterator>

namespace mollify::experiments::svg {
namespace {

constexpr const char* kStyle =
    "<style>text{font-family:'DejaVu "
    "Sans',Helvetica,Arial,sans-serif;fill:#222}.heading{font-size:17px;font-weight:bold}"
    ".title{font-size:14px;font-weight:bold}.tick{font-size:12px;fill:#444}.grid{stroke:#e4e4e4;stroke-width:1}"
    ".axis{stroke:#666;stroke-width:1}.curve{fill:none;stroke-width:2.5;stroke-linejoin:round;stroke-linecap:round}"
    ".band{stroke:none;fill-opacity:.18}</style>\n";

}  // namespace

std::string escaped(const std::string& words) {
  std::string out;
  for (char c : words) out += c == '<' ? "&lt;" : c == '>' ? "&gt;" : c == '&' ? "&amp;" : std::string(1, c);
  return out;
}

Style style(size_t series) {
  static constexpr Style kStyles[] = {{"#0072B2", ""},         {"#D55E00", "8 4"}, {"#009E73", "2 4"},
                                      {"#CC79A7", "10 4 2 4"}, {"#E69F00", "5 3"}, {"#56B4E9", "14 4"},
                                      {"#000000", "1 3"}};
  return kStyles[series % std::size(kStyles)];
}

std::string mark(size_t series, double x, double y) {
  const char* color = style(series).color;
  switch (series % 5) {
    case 0: return text("<circle cx='%.1f' cy='%.1f' r='3.2' fill='%s'/>", x, y, color);
    case 1: return text("<rect x='%.1f' y='%.1f' width='6' height='6' fill='%s'/>", x - 3, y - 3, color);
    case 2: return text("<path d='M%.1f %.1fl4 7h-8z' fill='%s'/>", x, y - 4, color);
    case 3: return text("<path d='M%.1f %.1fl4 4l-4 4l-4 -4z' fill='%s'/>", x, y - 4, color);
    default:
      return text("<path d='M%.1f %.1fl6 6m0 -6l-6 6' stroke='%s' stroke-width='2' fill='none'/>", x - 3, y - 3, color);
  }
}

std::string start(double width, double height, double heading_x, const std::string& heading) {
  std::string out = text("<svg xmlns='http://www.w3.org/2000/svg' width='%g' height='%g' viewBox='0 0 %g %g'>\n", width,
                         height, width, height);
  out += kStyle;
  out += "<rect width='100%' height='100%' fill='#fff'/>\n";
  return out + text("<text class='heading' x='%g' y='38'>", heading_x) + escaped(heading) + "</text>\n";
}

Ticks ticks_between(double low, double high, int count, double smallest) {
  const double rough =
      std::max({(high - low) / count, std::max(std::abs(high), std::abs(low)) * 1e-6, smallest, 1e-300});
  const double power = std::pow(10, std::floor(std::log10(rough)));
  double step = 10 * power;
  for (double multiple : {5.0, 2.0, 1.0})
    if (multiple * power >= rough * (1 - 1e-9)) step = multiple * power;
  return {std::floor(low / step + 1e-9) * step, std::ceil(high / step - 1e-9) * step, step};
}

}  // namespace mollify::experiments::svg
