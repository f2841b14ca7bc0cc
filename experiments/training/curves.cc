#include <mollify/experiments/training/curves.h>

#include <mollify/experiments/svg.h>

#include <algorithm>

namespace mollify::experiments {
namespace {

using svg::text;
using svg::Ticks;

constexpr double kTop = 84, kBottom = 364;  // of the plotting areas
constexpr double kPanelWidth = 384, kMargin = 72, kPanelDistance = 480;
constexpr double kLegend = kBottom + 62, kLegendLine = 20;  // below the axis, where it covers no curve
constexpr double kInset = 12;                               // between an area's sides and its outer points
constexpr size_t kMarks = 24;                               // about as many points of a curve get marks

// Numbers on an axis, by their magnitude where it is logarithmic.
double on_axis(double value, bool logarithmic) { return logarithmic ? std::log10(value) : value; }

// The numbers at ticks of an axis, 0 where it is meant.
std::vector<double> shown_between(const Ticks& ticks, bool logarithmic) {
  std::vector<double> shown;
  for (double v = ticks.first; v <= ticks.last + ticks.step / 2; v += ticks.step)
    shown.push_back(logarithmic ? std::pow(10, v) : std::abs(v) < ticks.step / 2 ? 0 : v);
  return shown;
}

// The y axis: where a number lies from 0, at its lower end, to 1, and the numbers that get a line.
class Scale {
 public:
  explicit Scale(const CurvePanel& panel) : logarithmic_(panel.logarithmic) {
    const double high =
        panel.high > panel.low ? panel.high : panel.low + (panel.low == 0 ? 1 : std::abs(panel.low) / 2);
    Ticks ticks = svg::ticks_between(at(panel.low), at(high), 5, logarithmic_ ? 1 : 0);
    if (ticks.last <= ticks.first) ticks.last = ticks.first + ticks.step;
    ticks.last = std::min(ticks.last, at(panel.highest));
    first_ = ticks.first;
    last_ = ticks.last;
    shown_ = shown_between(ticks, logarithmic_);
  }
  bool shows(double value) const { return std::isfinite(at(value)); }
  double share(double value) const { return std::clamp((at(value) - first_) / (last_ - first_), 0.0, 1.0); }
  const std::vector<double>& shown() const { return shown_; }

 private:
  double at(double value) const { return on_axis(value, logarithmic_); }

  const bool logarithmic_;
  double first_, last_;
  std::vector<double> shown_;
};

// The band at a point; NaN where there is none.
struct Band {
  double low, high;
};
Band band_at(const Curve& curve, size_t i) {
  if (i < curve.low.size() && i < curve.high.size()) return {curve.low[i], curve.high[i]};
  const double deviation = i < curve.deviation.size() ? curve.deviation[i] : NAN;
  return {curve.y[i] - deviation, curve.y[i] + deviation};
}

class PanelDrawing {
 public:
  PanelDrawing(double left, const CurvePanel& panel) : left_(left), panel_(panel), scale_(panel) {
    for (const Curve& curve : panel.curves)
      for (double x : curve.x) {
        if (!std::isfinite(along(x))) continue;
        first_ = std::min(first_, along(x));
        last_ = std::max(last_, along(x));
      }
  }

  std::string draw() const {
    std::string out =
        text("<text class='title' x='%g' y='%g'>", left_, kTop - 14) + svg::escaped(panel_.title) + "</text>\n";
    for (double v : scale_.shown()) {
      out += text("<line class='grid' x1='%g' y1='%.1f' x2='%g' y2='%.1f'/>", left_, y(v), left_ + kPanelWidth, y(v));
      out += text("<text class='tick' x='%g' y='%.1f' text-anchor='end'>%g%s</text>\n", left_ - 8, y(v) + 4, v,
                  panel_.unit.c_str());
    }
    out += x_axis();
    for (const Curve& curve : panel_.curves) out += curve.points ? bars(curve) : band(curve);
    for (const Curve& curve : panel_.curves) out += line(curve);
    return out + legend();
  }

 private:
  static bool is_whole(const Curve& curve) {
    return std::all_of(curve.x.begin(), curve.x.end(), [](double x) { return x == std::floor(x); });
  }
  double along(double x) const { return on_axis(x, panel_.logarithmic_x); }
  double x(double value) const {
    if (last_ <= first_) return left_ + kPanelWidth / 2;
    return left_ + kInset + (kPanelWidth - 2 * kInset) * (along(value) - first_) / (last_ - first_);
  }
  bool shows(const Curve& curve, size_t i) const {
    return scale_.shows(curve.y[i]) && std::isfinite(along(curve.x[i]));
  }
  double y(double value) const { return kBottom - (kBottom - kTop) * scale_.share(value); }

  std::string x_axis() const {
    std::string out =
        text("<line class='axis' x1='%g' y1='%g' x2='%g' y2='%g'/>", left_, kBottom, left_ + kPanelWidth, kBottom);
    const auto tick = [&](double v, const std::string& name) {
      out += text("<line class='axis' x1='%.1f' y1='%g' x2='%.1f' y2='%g'/>", x(v), kBottom, x(v), kBottom + 5);
      out += text("<text class='tick' x='%.1f' y='%g' text-anchor='middle'>", x(v), kBottom + 20) + svg::escaped(name) +
             "</text>\n";
    };
    // Epochs and decades are whole.
    const bool whole = panel_.logarithmic_x || std::all_of(panel_.curves.begin(), panel_.curves.end(), is_whole);
    const Ticks ticks = svg::ticks_between(first_, whole ? std::max(last_, first_ + 1) : last_, 8, whole ? 1 : 0);
    if (panel_.x_names.empty())
      for (double v : shown_between(ticks, panel_.logarithmic_x))
        if (along(v) >= first_ && along(v) <= last_) tick(v, text("%g", v));
    for (size_t i = 0; i < panel_.x_names.size(); ++i) tick(static_cast<double>(i), panel_.x_names[i]);
    return out + text("<text class='tick' x='%g' y='%g' text-anchor='middle'>", left_ + kPanelWidth / 2, kBottom + 40) +
           svg::escaped(panel_.x_title) + "</text>\n";
  }

  std::string band(const Curve& curve) const {
    std::string above, below;
    for (size_t i = 0; i < curve.y.size(); ++i) {
      const auto [low, high] = band_at(curve, i);
      if (!std::isfinite(high - low) || !shows(curve, i)) continue;
      above += text("%.1f,%.1f ", x(curve.x[i]), y(high));
      below = text("%.1f,%.1f ", x(curve.x[i]), scale_.shows(low) ? y(low) : kBottom) + below;
    }
    return above.empty() ? ""
                         : text("<polygon class='band' fill='%s' points='", svg::style(curve.series).color) + above +
                               below + "'/>\n";
  }

  std::string bars(const Curve& curve) const {
    std::string out;
    for (size_t i = 0; i < curve.y.size(); ++i) {
      const auto [low, high] = band_at(curve, i);
      if (!std::isfinite(high - low) || !shows(curve, i)) continue;
      const double px = x(curve.x[i]);
      out += text("<line class='bar' stroke='%s' stroke-width='1.6' x1='%.1f' y1='%.1f' x2='%.1f' y2='%.1f'/>\n",
                  svg::style(curve.series).color, px, scale_.shows(low) ? y(low) : kBottom, px, y(high));
    }
    return out;
  }

  std::string line(const Curve& curve) const {
    const size_t every = curve.points ? 1 : 1 + curve.y.size() / (2 * kMarks);
    std::string points, marks;
    for (size_t i = 0; i < curve.y.size(); ++i) {
      if (!shows(curve, i)) continue;
      const double px = x(curve.x[i]), py = y(curve.y[i]);
      points += text("%s%.1f,%.1f", points.empty() ? "" : " ", px, py);
      if (i % every == 0) marks += svg::mark(curve.series, px, py);
    }
    if (curve.points) return marks + "\n";
    const svg::Style style = svg::style(curve.series);
    return text("<polyline class='curve' stroke='%s' stroke-dasharray='%s' points='", style.color, style.dash) +
           points + "'/>" + marks + "\n";
  }

  // A line a curve: its line and mark, name, and last number.
  std::string legend() const {
    std::string out;
    double y0 = kLegend;
    for (const Curve& curve : panel_.curves) {
      const svg::Style style = svg::style(curve.series);
      if (!curve.points)
        out += text("<line x1='%g' y1='%g' x2='%g' y2='%g' stroke='%s' stroke-width='2.5' stroke-dasharray='%s'/>",
                    left_, y0 - 4, left_ + 40, y0 - 4, style.color, style.dash);
      out += svg::mark(curve.series, left_ + 20, y0 - 4);
      out += text("<text class='tick' x='%g' y='%g'>", left_ + 48, y0) + svg::escaped(curve.name) + "</text>";
      if (panel_.x_names.empty() && !curve.points && !curve.y.empty() && std::isfinite(curve.y.back()))
        out += text("<text class='tick' x='%g' y='%g' text-anchor='end'>last: %.4g%s</text>", left_ + kPanelWidth, y0,
                    curve.y.back(), panel_.unit.c_str());
      out += "\n";
      y0 += kLegendLine;
    }
    return out;
  }

  const double left_;
  const CurvePanel& panel_;
  const Scale scale_;
  double first_ = INFINITY, last_ = -INFINITY;  // of x, on its axis
};

enum Series : size_t { kTrain, kTest, kCertified, kValidation, kSmoothed = kCertified };  // never both

std::vector<Curve> curves_of(const std::vector<EpochMetrics>& epochs, double Score::*field, double scale,
                             const LossNames& names) {
  std::vector<Curve> curves = {{names.train, kTrain, {}, {}}, {names.held_out, kTest, {}, {}}};
  const size_t validation = curves.size();
  if (epochs[0].validation) curves.push_back({"validation", kValidation, {}, {}});
  const size_t smoothed = curves.size();
  if (epochs[0].smoothed_test) curves.push_back({"test, smoothed", kSmoothed, {}, {}});
  if (epochs[0].noisy_test) curves.push_back({"test, under noise", kSmoothed, {}, {}});
  const auto add = [&](Curve& curve, const EpochMetrics& epoch, const Score& score) {
    curve.x.push_back(static_cast<double>(epoch.epoch));
    curve.y.push_back(scale * score.*field);
  };
  for (const EpochMetrics& epoch : epochs) {
    add(curves[0], epoch, epoch.train);
    add(curves[1], epoch, epoch.test);
    if (validation < smoothed && epoch.validation) add(curves[validation], epoch, *epoch.validation);
    if (smoothed < curves.size() && epoch.smoothed_test) add(curves[smoothed], epoch, *epoch.smoothed_test);
    if (smoothed < curves.size() && epoch.noisy_test) add(curves.back(), epoch, *epoch.noisy_test);
  }
  return curves;
}

void add_certified(const std::vector<EpochMetrics>& epochs, std::vector<Curve>& curves) {
  Curve curve{"test, certified", kCertified, {}, {}};
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
    for (size_t i = 0; i < curve.y.size(); ++i) {
      if (!std::isfinite(curve.y[i])) continue;
      const auto [least, most] = band_at(curve, i);
      const bool has_band = std::isfinite(most - least);
      low = std::min(low, has_band ? std::min(least, curve.y[i]) : curve.y[i]);
      high = std::max(high, has_band ? std::max(most, curve.y[i]) : curve.y[i]);
    }
  return low <= high ? std::pair{low, high} : std::pair{0.0, 1.0};
}

bool spans_decades(double low, double high) { return low > 0 && high >= 100 * low; }

std::string curves_svg(const std::string& title, const std::vector<CurvePanel>& panels) {
  const double width = kPanelDistance * static_cast<double>(std::max<size_t>(2, panels.size()));
  size_t most = 0;
  for (const CurvePanel& panel : panels) most = std::max(most, panel.curves.size());
  std::string out = svg::start(width, kLegend + kLegendLine * static_cast<double>(most), kMargin, title);
  double left = kMargin;
  for (const CurvePanel& panel : panels) {
    out += PanelDrawing(left, panel).draw();
    left += kPanelDistance;
  }
  return out + svg::kEnd;
}

std::string curves_svg(const std::string& title, const std::vector<EpochMetrics>& epochs, const LossNames& names) {
  if (epochs.empty()) return curves_svg(title, std::vector<CurvePanel>{});
  CurvePanel losses{"Loss", "epoch", "", curves_of(epochs, &Score::loss, 1, names), 0, 0};
  CurvePanel accuracies{"Accuracy", "epoch", " %", curves_of(epochs, &Score::accuracy, 100, {}), 0, 0, 100};
  add_certified(epochs, accuracies.curves);
  const auto [least, most] = range_of(losses.curves);
  losses.logarithmic = spans_decades(least, most);
  losses.low = losses.logarithmic ? least : 0;
  losses.high = most;
  const auto [low, high] = range_of(accuracies.curves);
  accuracies.low = std::max(0.0, low - 0.1 * (100 - low));
  accuracies.high = high;
  return curves_svg(title, {losses, accuracies});
}

}  // namespace mollify::experiments
