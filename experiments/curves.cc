#include <mollify/experiments/curves.h>

#include <mollify/experiments/svg.h>

#include <algorithm>

namespace mollify::experiments {
namespace {

using svg::text;
using svg::Ticks;

constexpr double kHeight = 420, kTop = 84, kBottom = 364;  // the last two: of the plotting areas
constexpr double kPanelWidth = 384, kMargin = 72, kPanelDistance = 480;
constexpr double kInset = 12;         // between an area's sides and its outer points
constexpr size_t kMostMarked = 40;    // points of a curve that still get marks

Ticks y_ticks(const CurvePanel& panel) {
  Ticks ticks = svg::ticks_between(panel.low, panel.high, 5);
  if (ticks.last <= ticks.first) ticks.last = ticks.first + ticks.step;
  ticks.last = std::min(ticks.last, panel.highest);
  return ticks;
}

class PanelDrawing {
 public:
  PanelDrawing(double left, const CurvePanel& panel) : left_(left), panel_(panel), y_(y_ticks(panel)) {
    for (const Curve& curve : panel.curves)
      for (double x : curve.x) {
        first_ = std::min(first_, x);
        last_ = std::max(last_, x);
      }
  }

  std::string draw() const {
    std::string out = text("<text class='title' x='%g' y='%g'>", left_, kTop - 14) + svg::escaped(panel_.title) + "</text>\n";
    for (double v = y_.first; v <= y_.last + y_.step / 2; v += y_.step) {
      const double shown = std::abs(v) < y_.step / 2 ? 0 : v;
      out += text("<line class='grid' x1='%g' y1='%.1f' x2='%g' y2='%.1f'/>", left_, y(v), left_ + kPanelWidth, y(v));
      out += text("<text class='tick' x='%g' y='%.1f' text-anchor='end'>%g%s</text>\n", left_ - 8, y(v) + 4, shown, panel_.unit.c_str());
    }
    const Ticks along = svg::ticks_between(first_, std::max(last_, first_ + 1), 8, 1);
    for (double v = along.first; v <= last_; v += along.step) {
      if (v < first_) continue;
      out += text("<line class='axis' x1='%.1f' y1='%g' x2='%.1f' y2='%g'/>", x(v), kBottom, x(v), kBottom + 5);
      out += text("<text class='tick' x='%.1f' y='%g' text-anchor='middle'>%g</text>\n", x(v), kBottom + 20, v);
    }
    out += text("<line class='axis' x1='%g' y1='%g' x2='%g' y2='%g'/>", left_, kBottom, left_ + kPanelWidth, kBottom);
    out += text("<text class='tick' x='%g' y='%g' text-anchor='middle'>%s</text>\n", left_ + kPanelWidth / 2, kBottom + 40, panel_.x_title.c_str());
    for (const Curve& curve : panel_.curves) out += line(curve);
    return out + legend();
  }

 private:
  double x(double value) const {
    if (last_ <= first_) return left_ + kPanelWidth / 2;
    return left_ + kInset + (kPanelWidth - 2 * kInset) * (value - first_) / (last_ - first_);
  }
  double y(double value) const { return kBottom - (kBottom - kTop) * (value - y_.first) / (y_.last - y_.first); }

  std::string line(const Curve& curve) const {
    std::string points, marks;
    for (size_t i = 0; i < curve.y.size(); ++i) {
      if (!std::isfinite(curve.y[i])) continue;
      const double px = x(curve.x[i]), py = y(curve.y[i]);
      points += text("%s%.1f,%.1f", points.empty() ? "" : " ", px, py);
      if (curve.y.size() <= kMostMarked) marks += text("<circle cx='%.1f' cy='%.1f' r='3' fill='%s'/>", px, py, curve.color.c_str());
    }
    return text("<polyline class='curve' stroke='%s' points='", curve.color.c_str()) + points + "'/>" + marks + "\n";
  }

  std::string legend() const {
    size_t longest = 0;
    for (const Curve& curve : panel_.curves) longest = std::max(longest, curve.name.size());
    const double width = std::max(160.0, 110 + 8 * static_cast<double>(longest)), height = 20 * static_cast<double>(panel_.curves.size()) + 10;
    const double x0 = left_ + kPanelWidth - width - 8;
    double y0 = panel_.legend_on_top ? kTop + 8 : kBottom - 8 - height;
    std::string out = text("<rect class='legend' x='%g' y='%g' width='%g' height='%g' rx='4'/>\n", x0, y0, width, height);
    for (const Curve& curve : panel_.curves) {
      y0 += 20;
      out += text("<line x1='%g' y1='%g' x2='%g' y2='%g' stroke='%s' stroke-width='2.5'/>", x0 + 10, y0 - 5, x0 + 32, y0 - 5, curve.color.c_str());
      out += text("<text class='tick' x='%g' y='%g'>%s</text>", x0 + 40, y0 - 1, curve.name.c_str());
      if (!curve.y.empty() && std::isfinite(curve.y.back()))
        out += text("<text class='tick' x='%g' y='%g' text-anchor='end'>%.4g</text>", x0 + width - 10, y0 - 1, curve.y.back());
      out += "\n";
    }
    return out;
  }

  const double left_;
  const CurvePanel& panel_;
  const Ticks y_;
  double first_ = INFINITY, last_ = -INFINITY;  // of x
};

std::vector<Curve> curves_of(const std::vector<EpochMetrics>& epochs, double Score::*field, double scale) {
  std::vector<Curve> curves = {{"train", "#2f6db3", {}, {}}, {"test", "#d1495b", {}, {}}};
  if (epochs[0].validation) curves.insert(curves.begin() + 1, {"validation", "#e39a1f", {}, {}});
  const auto add = [&](Curve& curve, const EpochMetrics& epoch, const Score& score) {
    curve.x.push_back(static_cast<double>(epoch.epoch));
    curve.y.push_back(scale * score.*field);
  };
  for (const EpochMetrics& epoch : epochs) {
    add(curves.front(), epoch, epoch.train);
    if (curves.size() == 3 && epoch.validation) add(curves[1], epoch, *epoch.validation);
    add(curves.back(), epoch, epoch.test);
  }
  return curves;
}

void add_certified(const std::vector<EpochMetrics>& epochs, std::vector<Curve>& curves) {
  Curve curve{"certified", "#3a8f5c", {}, {}};
  for (const EpochMetrics& epoch : epochs) {
    if (!epoch.ball.certified_accuracy) continue;
    curve.x.push_back(static_cast<double>(epoch.epoch));
    curve.y.push_back(100 * *epoch.ball.certified_accuracy);
  }
  if (!curve.x.empty()) curves.push_back(curve);
}

}  // namespace

std::pair<double, double> range_of(const std::vector<Curve>& curves) {
  double low = INFINITY, high = -INFINITY;
  for (const Curve& curve : curves)
    for (double value : curve.y) {
      if (!std::isfinite(value)) continue;
      low = std::min(low, value);
      high = std::max(high, value);
    }
  return low <= high ? std::pair{low, high} : std::pair{0.0, 1.0};
}

std::string curves_svg(const std::string& title, const std::vector<CurvePanel>& panels) {
  const double width = kPanelDistance * static_cast<double>(std::max<size_t>(2, panels.size()));
  std::string out = svg::start(width, kHeight, kMargin, title);
  double left = kMargin;
  for (const CurvePanel& panel : panels) {
    out += PanelDrawing(left, panel).draw();
    left += kPanelDistance;
  }
  return out + svg::kEnd;
}

std::string curves_svg(const std::string& title, const std::vector<EpochMetrics>& epochs) {
  if (epochs.empty()) return curves_svg(title, std::vector<CurvePanel>{});
  CurvePanel losses{"Loss", "epoch", "", curves_of(epochs, &Score::loss, 1), 0, 0};
  CurvePanel accuracies{"Accuracy", "epoch", " %", curves_of(epochs, &Score::accuracy, 100), 0, 0, 100, false};
  add_certified(epochs, accuracies.curves);
  losses.high = range_of(losses.curves).second;
  const auto [low, high] = range_of(accuracies.curves);
  accuracies.low = std::max(0.0, low - 0.1 * (100 - low));
  accuracies.high = high;
  return curves_svg(title, {losses, accuracies});
}

}  // namespace mollify::experiments
