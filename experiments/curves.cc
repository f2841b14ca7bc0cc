#include <mollify/experiments/curves.h>

#include <algorithm>
#include <cmath>
#include <cstdio>

namespace mollify::experiments {
namespace {

constexpr double kWidth = 960, kHeight = 420;
constexpr double kTop = 84, kBottom = 364, kPanelWidth = 384;  // of the plotting areas
constexpr double kLossLeft = 72, kAccuracyLeft = 552;

struct Curve { const char *name, *color; std::vector<double> values; };

// Tick marks at multiples of 1, 2 or 5 times a power of ten, about `count` of them from low to high.
struct Ticks { double first, last, step; };
Ticks ticks_between(double low, double high, int count, double smallest = 0) {
  const double rough = std::max((high - low) / count, std::max(1e-6, smallest)), power = std::pow(10, std::floor(std::log10(rough)));
  double step = 10 * power;
  for (double multiple : {5.0, 2.0, 1.0})
    if (multiple * power >= rough * (1 - 1e-9)) step = multiple * power;
  return {std::floor(low / step + 1e-9) * step, std::ceil(high / step - 1e-9) * step, step};
}

std::string text(const char* pattern, auto... values) {
  char buffer[512];
  std::snprintf(buffer, sizeof buffer, pattern, values...);
  return buffer;
}

std::string escaped(const std::string& words) {
  std::string out;
  for (char c : words) out += c == '<' ? "&lt;" : c == '>' ? "&gt;" : c == '&' ? "&amp;" : std::string(1, c);
  return out;
}

// One panel: y runs over the ticks, x over epochs 1 … count.
class Panel {
 public:
  Panel(double left, size_t count, const Ticks& y) : left_(left), count_(count), y_(y) {}

  std::string draw(const char* title, const char* unit, const std::vector<Curve>& curves, bool legend_on_top) const {
    std::string out = text("<text class='title' x='%g' y='%g'>%s</text>\n", left_, kTop - 14, title);
    for (double v = y_.first; v <= y_.last + y_.step / 2; v += y_.step) {
      const double shown = std::abs(v) < y_.step / 2 ? 0 : v;
      out += text("<line class='grid' x1='%g' y1='%.1f' x2='%g' y2='%.1f'/>", left_, y(v), left_ + kPanelWidth, y(v));
      out += text("<text class='tick' x='%g' y='%.1f' text-anchor='end'>%g%s</text>\n", left_ - 8, y(v) + 4, shown, unit);
    }
    const Ticks epochs = ticks_between(1, static_cast<double>(std::max<size_t>(count_, 2)), 8, 1);
    for (double e = epochs.first; e <= static_cast<double>(count_); e += epochs.step) {
      if (e < 1) continue;
      out += text("<line class='axis' x1='%.1f' y1='%g' x2='%.1f' y2='%g'/>", x(e), kBottom, x(e), kBottom + 5);
      out += text("<text class='tick' x='%.1f' y='%g' text-anchor='middle'>%g</text>\n", x(e), kBottom + 20, e);
    }
    out += text("<line class='axis' x1='%g' y1='%g' x2='%g' y2='%g'/>", left_, kBottom, left_ + kPanelWidth, kBottom);
    out += text("<text class='tick' x='%g' y='%g' text-anchor='middle'>epoch</text>\n", left_ + kPanelWidth / 2, kBottom + 40);
    for (const Curve& curve : curves) out += line(curve);
    return out + legend(curves, legend_on_top);
  }

 private:
  double x(double epoch) const {
    if (count_ < 2) return left_ + kPanelWidth / 2;
    return left_ + 12 + (kPanelWidth - 24) * (epoch - 1) / (static_cast<double>(count_) - 1);
  }
  double y(double value) const { return kBottom - (kBottom - kTop) * (value - y_.first) / (y_.last - y_.first); }

  std::string line(const Curve& curve) const {
    std::string points, marks;
    for (size_t i = 0; i < curve.values.size(); ++i) {
      const double px = x(static_cast<double>(i + 1)), py = y(curve.values[i]);
      points += text("%s%.1f,%.1f", i ? " " : "", px, py);
      if (count_ <= 40) marks += text("<circle cx='%.1f' cy='%.1f' r='3' fill='%s'/>", px, py, curve.color);
    }
    return text("<polyline class='curve' stroke='%s' points='", curve.color) + points + "'/>" + marks + "\n";
  }

  std::string legend(const std::vector<Curve>& curves, bool on_top) const {
    const double width = 160, height = 20 * static_cast<double>(curves.size()) + 10, x0 = left_ + kPanelWidth - width - 8;
    double y0 = on_top ? kTop + 8 : kBottom - 8 - height;
    std::string out = text("<rect class='legend' x='%g' y='%g' width='%g' height='%g' rx='4'/>\n", x0, y0, width, height);
    for (const Curve& curve : curves) {
      y0 += 20;
      out += text("<line x1='%g' y1='%g' x2='%g' y2='%g' stroke='%s' stroke-width='2.5'/>", x0 + 10, y0 - 5, x0 + 32, y0 - 5, curve.color);
      out += text("<text class='tick' x='%g' y='%g'>%s</text>", x0 + 40, y0 - 1, curve.name);
      out += text("<text class='tick' x='%g' y='%g' text-anchor='end'>%.4g</text>\n", x0 + width - 10, y0 - 1, curve.values.back());
    }
    return out;
  }

  double left_;
  size_t count_;
  Ticks y_;
};

std::vector<Curve> curves_of(const std::vector<EpochMetrics>& epochs, double Score::*field, double scale) {
  std::vector<Curve> curves = {{"train", "#2f6db3", {}}, {"test", "#d1495b", {}}};
  if (epochs[0].validation) curves.insert(curves.begin() + 1, {"validation", "#e39a1f", {}});
  for (const EpochMetrics& epoch : epochs) {
    curves.front().values.push_back(scale * epoch.train.*field);
    if (curves.size() == 3 && epoch.validation) curves[1].values.push_back(scale * (*epoch.validation).*field);
    curves.back().values.push_back(scale * epoch.test.*field);
  }
  return curves;
}

std::pair<double, double> range_of(const std::vector<Curve>& curves) {
  double low = INFINITY, high = -INFINITY;
  for (const Curve& curve : curves)
    for (double value : curve.values) {
      low = std::min(low, value);
      high = std::max(high, value);
    }
  return {low, high};
}

constexpr const char* kStyle =
    "<style>text{font-family:'DejaVu Sans',Helvetica,Arial,sans-serif;fill:#222}.heading{font-size:17px;font-weight:bold}"
    ".title{font-size:14px;font-weight:bold}.tick{font-size:12px;fill:#444}.grid{stroke:#e4e4e4;stroke-width:1}"
    ".axis{stroke:#666;stroke-width:1}.curve{fill:none;stroke-width:2.5;stroke-linejoin:round;stroke-linecap:round}"
    ".legend{fill:#fff;fill-opacity:.85;stroke:#ccc}</style>\n";

}  // namespace

std::string curves_svg(const std::string& title, const std::vector<EpochMetrics>& epochs) {
  std::string out = text("<svg xmlns='http://www.w3.org/2000/svg' width='%g' height='%g' viewBox='0 0 %g %g'>\n", kWidth, kHeight, kWidth, kHeight);
  out += kStyle;
  out += "<rect width='100%' height='100%' fill='#fff'/>\n";
  out += text("<text class='heading' x='%g' y='38'>", kLossLeft) + escaped(title) + "</text>\n";
  if (!epochs.empty()) {
    const std::vector<Curve> losses = curves_of(epochs, &Score::loss, 1), accuracies = curves_of(epochs, &Score::accuracy, 100);
    out += Panel(kLossLeft, epochs.size(), ticks_between(0, range_of(losses).second, 5)).draw("Loss", "", losses, true);
    const auto [low, high] = range_of(accuracies);
    Ticks percent = ticks_between(std::max(0.0, low - 0.1 * (100 - low)), high, 5, 0.1);
    percent.last = std::min(percent.last, 100.0);
    out += Panel(kAccuracyLeft, epochs.size(), percent).draw("Accuracy", " %", accuracies, false);
  }
  return out + "</svg>\n";
}

}  // namespace mollify::experiments
