#include <mollify/experiments/reproduce/sharpness_report.h>

#include <mollify/engine/error.h>
#include <mollify/experiments/reproduce/statistics.h>
#include <mollify/experiments/training/curves.h>
#include <mollify/experiments/training/metrics.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <map>
#include <set>
#include <tuple>

namespace mollify::experiments {
namespace {

// What the smoothing by SGD's noise is measured by, and what it is to predict.
constexpr const char* kPredictors[] = {"delta", "by_root", "by_batch"};
constexpr const char* kPredicted[] = {"worst", "average", "eigenvalue", "test_accuracy", "gap", "train_loss"};
constexpr double kBestLow = 0.1, kBestHigh = 1;  // the δ of the best accuracy, as published

std::string title_of(const std::string& name) {
  for (const SharpnessNumber& number : sharpness_numbers())
    if (name == number.name) return number.title;
  return name;
}

// Networks that are compared, and statistics of them whose errors come from drawing settings again, with their seeds.
class Sample {
 public:
  Sample(const SharpnessFindings& findings, bool trained_only) : findings_(findings) {
    std::map<std::pair<double, int64_t>, std::vector<size_t>> settings;
    for (size_t i = 0; i < findings.networks.size(); ++i) {
      const SharpnessNetwork& network = findings.networks[i];
      const double loss = network.at("train_loss");
      if (!std::isfinite(loss) || (trained_only && !(loss < findings.trained_below))) continue;
      settings[{network.rate, network.batch}].push_back(i);
      ++count_;
    }
    for (const auto& [setting, networks] : settings) groups_.push_back(networks);
  }
  size_t count() const { return count_; }

  Bootstrapped of(const PointStatistic& statistic) const { return bootstrap(statistic, groups_, findings_.draws); }
  Bootstrapped tau(const std::string& x, const std::string& y) const {
    return of([=, this](const auto& points) { return tau_at(points, x, y); });
  }
  // Of accuracy over the number's logarithm.
  Parabola parabola_at(const std::vector<size_t>& points, const std::string& x) const {
    std::vector<double> logarithms = numbers(points, x);
    for (double& number : logarithms) number = std::log10(number);
    return parabola_through(logarithms, numbers(points, "test_accuracy"));
  }
  double tau_at(const std::vector<size_t>& points, const std::string& x, const std::string& y) const {
    return kendall_tau(numbers(points, x), numbers(points, y));
  }

 private:
  std::vector<double> numbers(const std::vector<size_t>& points, const std::string& name) const {
    std::vector<double> all;
    for (const size_t i : points) all.push_back(findings_.networks[i].at(name));
    return all;
  }

  const SharpnessFindings& findings_;
  std::vector<std::vector<size_t>> groups_;
  size_t count_ = 0;
};

std::string with_interval(const Bootstrapped& b, const char* digits = "%+.2f") {
  if (std::isnan(b.value)) return "-";
  const std::string value = number_text(b.value, digits);
  if (std::isnan(b.error)) return value;
  return value + " [" + number_text(b.low, digits) + ", " + number_text(b.high, digits) + "]";
}

Table settings_table(const SharpnessFindings& findings) {
  std::vector<std::string> heading = {"rate", "batch"};
  for (const SharpnessNumber& number : sharpness_numbers()) heading.push_back(number.title);
  Table table(heading);
  std::set<std::pair<double, int64_t>> settings;
  for (const SharpnessNetwork& network : findings.networks) settings.emplace(network.rate, network.batch);
  for (const auto& [rate, batch] : settings) {
    std::vector<std::string> row = {format("{}", rate), std::to_string(batch)};
    for (const SharpnessNumber& number : sharpness_numbers()) {
      std::vector<double> values;
      for (const SharpnessNetwork& network : findings.networks)
        if (network.rate == rate && network.batch == batch) values.push_back(network.at(number.name));
      const bool exact = std::string(number.name).starts_with("by_");  // of the setting alone
      row.push_back(exact ? number_text(values[0], "%.3g") : with_deviation(summary_of(values), "%.3g"));
    }
    table.add(row);
  }
  return table;
}

Table tau_table(const Sample& sample) {
  std::vector<std::string> heading = {""};
  for (const char* x : kPredictors) heading.push_back(title_of(x));
  heading.push_back(title_of("worst"));
  Table table(heading);
  for (const char* y : kPredicted) {
    std::vector<std::string> row = {title_of(y)};
    for (const char* x : kPredictors) row.push_back(with_interval(sample.tau(x, y)));
    row.push_back(std::string(y) == "worst" ? "-" : with_interval(sample.tau("worst", y)));
    table.add(row);
  }
  return table;
}

Table parabola_table(const Sample& sample) {
  Table table({"over the logarithm of", "curvature", "its error", "share explained", "highest at"});
  for (const char* x : {"delta", "by_root", "by_batch", "worst"}) {
    const Bootstrapped curvature = sample.of([&](const auto& p) { return sample.parabola_at(p, x).curvature; });
    const Bootstrapped vertex = sample.of([&](const auto& p) {
      const Parabola parabola = sample.parabola_at(p, x);
      return parabola.curvature < 0 ? std::pow(10, parabola.vertex()) : NAN;
    });
    table.add({title_of(x), number_text(curvature.value, "%+.3g"), number_text(curvature.error, "%.2g"),
               with_interval(sample.of([&](const auto& p) { return sample.parabola_at(p, x).r_squared; }), "%.2f"),
               with_interval(vertex, "%.3g")});
  }
  return table;
}

// A claim holds where its number is above 0 beyond two errors.
struct Claim {
  std::string text;
  std::function<double(const Sample& sample, const std::vector<size_t>& points)> number;
};

std::vector<Claim> claims() {
  const auto explained_more = [](const char* x, const char* other) {
    return [=](const Sample& s, const std::vector<size_t>& p) {
      return s.parabola_at(p, x).r_squared - s.parabola_at(p, other).r_squared;
    };
  };
  const auto ranked_better = [](const char* x, const char* other) {
    return [=](const Sample& s, const std::vector<size_t>& p) {
      return std::abs(s.tau_at(p, x, "worst")) - std::abs(s.tau_at(p, other, "worst"));
    };
  };
  const std::string delta = title_of("delta"), root = title_of("by_root"), ratio = title_of("by_batch");
  return {
      {"sharpness falls as " + delta + " grows (τ)",
       [](const Sample& s, const std::vector<size_t>& p) { return 0 - s.tau_at(p, "delta", "worst"); }},
      {"sharpness falls as " + root + " grows (τ)",
       [](const Sample& s, const std::vector<size_t>& p) { return 0 - s.tau_at(p, "by_root", "worst"); }},
      {"test accuracy is concave in the logarithm of " + delta + " (curvature)",
       [](const Sample& s, const std::vector<size_t>& p) { return -s.parabola_at(p, "delta").curvature; }},
      {format("it is highest at {} from {} to {} (decades within)", delta, kBestLow, kBestHigh),
       [](const Sample& s, const std::vector<size_t>& p) {
         const Parabola parabola = s.parabola_at(p, "delta");
         const double best = parabola.curvature < 0 ? parabola.vertex() : NAN;
         return std::min(best - std::log10(kBestLow), std::log10(kBestHigh) - best);
       }},
      {delta + " predicts accuracy better than sharpness does (share explained)", explained_more("delta", "worst")},
      {delta + " predicts accuracy better than " + ratio + " (share explained)", explained_more("delta", "by_batch")},
      {root + " predicts accuracy better than " + ratio + " (share explained)", explained_more("by_root", "by_batch")},
      {delta + " predicts sharpness better than " + ratio + " (|τ|)", ranked_better("delta", "by_batch")},
      {root + " predicts sharpness better than " + ratio + " (|τ|)", ranked_better("by_root", "by_batch")},
  };
}

Table claims_table(const Sample& all, const Sample& trained) {
  Table table({"claim", "all networks", "", "trained ones", ""});
  for (const Claim& claim : claims()) {
    std::vector<std::string> row = {claim.text};
    for (const Sample* sample : {&all, &trained}) {
      const Bootstrapped b = sample->of([&](const auto& points) { return claim.number(*sample, points); });
      const std::string value = number_text(b.value, "%+.3g");
      row.push_back(std::isnan(b.error) ? value : value + " ± " + number_text(b.error, "%.2g"));
      row.push_back(to_string(above_zero(b.value, b.error)));
    }
    table.add(row);
  }
  return table;
}

// A point for each network, those of a batch size in one colour.
CurvePanel panel_of(const SharpnessFindings& findings, const char* x, const char* y, bool logarithmic) {
  CurvePanel panel{.title = title_of(y), .x_title = title_of(x), .unit = "", .curves = {}, .low = 0, .high = 1};
  std::map<int64_t, Curve> curves;
  for (const SharpnessNetwork& network : findings.networks) {
    Curve& curve = curves[network.batch];
    if (!(network.at(x) > 0) || !std::isfinite(network.at(y)) || (logarithmic && !(network.at(y) > 0))) continue;
    curve.x.push_back(network.at(x));
    curve.y.push_back(network.at(y));
  }
  size_t number = 0;
  for (auto& [batch, curve] : curves) {
    curve.name = format("batch {}", batch);
    curve.series = number++;
    curve.points = true;
    if (!curve.x.empty()) panel.curves.push_back(std::move(curve));
  }
  std::tie(panel.low, panel.high) = range_of(panel.curves);
  panel.logarithmic = logarithmic && !panel.curves.empty();
  panel.logarithmic_x = true;
  return panel;
}

}  // namespace

const std::vector<SharpnessNumber>& sharpness_numbers() {
  static const std::vector<SharpnessNumber> numbers = {
      {"by_root", "rate/√batch"},
      {"by_batch", "rate/batch"},
      {"c2", "C²"},
      {"delta", "δ"},
      {"worst", "worst-case sharpness"},
      {"average", "average sharpness"},
      {"eigenvalue", "largest eigenvalue"},
      {"train_loss", "training loss"},
      {"test_accuracy", "test accuracy, %"},
      {"gap", "training − test accuracy, %"},
  };
  return numbers;
}

double SharpnessNetwork::at(const std::string& number) const {
  if (number == "by_root") return rate / std::sqrt(static_cast<double>(batch));
  if (number == "by_batch") return rate / static_cast<double>(batch);
  return results.at(number);
}

Report report_of(const SharpnessFindings& findings) {
  const Sample all(findings, false), trained(findings, true);
  Report report;
  report.add(findings.heading + "Mean ± deviation over the seeds.\n");
  report.add(settings_table(findings));
  const std::string interval =
      format("[the middle 95 % of {} bootstraps, which draw settings with all their seeds]", findings.draws);
  for (const auto& [sample, name] :
       {std::pair{&all, std::string("all")},
        {&trained, format("those with training loss below {}:", findings.trained_below)}}) {
    report.add(format("Kendall's τ of {} {} networks {}.\n", name, sample->count(), interval));
    report.add(tau_table(*sample));
    report.add("Parabolas through their test accuracy, % a squared decade.\n");
    report.add(parabola_table(*sample));
  }
  report.add(
      "What the paper says (figure 3), as numbers that should be above 0, ± their error; a claim holds, or does not, "
      "beyond two of them.\n");
  report.add(claims_table(all, trained));
  const auto diverged = std::count_if(findings.networks.begin(), findings.networks.end(),
                                      [](const auto& network) { return network.results.at("diverged") == 1; });
  if (diverged > 0) report.add(format("{} networks diverged and are left out.\n", diverged));
  return report;
}

std::vector<std::string> sharpness_files() { return {"results.csv", "figure3.svg", "predictors.svg"}; }

void write_files(const SharpnessFindings& findings, const std::filesystem::path& folder) {
  std::string csv = "rate,batch,seed,diverged";
  for (const SharpnessNumber& number : sharpness_numbers()) csv += std::string(",") + number.name;
  csv += ",train_accuracy,test_loss\n";
  for (const SharpnessNetwork& network : findings.networks) {
    csv += format("{},{},{},{}", network.rate, network.batch, network.seed, csv_number(network.at("diverged")));
    for (const SharpnessNumber& number : sharpness_numbers()) csv += "," + csv_number(network.at(number.name));
    csv += "," + csv_number(network.at("train_accuracy")) + "," + csv_number(network.at("test_loss")) + "\n";
  }
  write_text(folder / "results.csv", csv);
  write_text(folder / "figure3.svg", curves_svg(format("Sharpness and smoothing: {}", findings.title),
                                                {panel_of(findings, "delta", "worst", true),
                                                 panel_of(findings, "worst", "test_accuracy", false),
                                                 panel_of(findings, "delta", "test_accuracy", false),
                                                 panel_of(findings, "delta", "train_loss", true)}));
  write_text(folder / "predictors.svg", curves_svg(format("Other predictors: {}", findings.title),
                                                   {panel_of(findings, "by_batch", "worst", true),
                                                    panel_of(findings, "by_batch", "test_accuracy", false),
                                                    panel_of(findings, "by_root", "worst", true),
                                                    panel_of(findings, "by_root", "test_accuracy", false)}));
}

}  // namespace mollify::experiments
