#include <mollify/experiments/reproduce/noise_tails_report.h>

#include <mollify/engine/error.h>
#include <mollify/experiments/training/curves.h>
#include <mollify/experiments/training/metrics.h>
#include <mollify/optim/graduated.h>

#include <algorithm>
#include <cmath>
#include <tuple>

namespace mollify::experiments::noise_tails_study {
namespace {

constexpr double kCutOff = 20;  // of quantiles in pictures
constexpr double kHeavy = 4;    // Hill's index below which there is no finite fourth moment

// Courses of δ of arXiv 2311.08745: learning rate and batch at their start and end.
constexpr struct {
  const char* method;
  struct {
    double learning_rate;
    int64_t batch;
  } first, last;
} kCourses[] = {{"constant", {0.1, 128}, {0.1, 128}},
                {"learning rate by 1/√2", {0.1, 128}, {0.025, 128}},
                {"batch by 2", {0.1, 16}, {0.1, 256}},
                {"hybrid, √3/2 and 1.5", {0.1, 32}, {0.05625, 162}}};

const Results& result(const Findings& f, const std::string& key) {
  static const Results none;
  const auto found = f.results.find(key);
  return found == f.results.end() ? none : found->second;
}

template <class Number>
Summary over_seeds(const Findings& f, int64_t stage, int64_t batch, const Number& number) {
  std::vector<double> numbers;
  for (int64_t seed = 0; seed < f.seeds; ++seed) numbers.push_back(number(result(f, noise_key(stage, batch, seed))));
  return summary_of(numbers);
}
Summary over_seeds(const Findings& f, int64_t stage, int64_t batch, const char* which) {
  return over_seeds(f, stage, batch, [&](const Results& r) { return r.at(which); });
}
Summary constant(const Findings& f, double number) {
  return summary_of(std::vector<double>(static_cast<size_t>(f.seeds), number));
}

std::string stage_text(int64_t stage) {
  return stage == 0 ? "start" : stage == 1 ? "1 epoch" : format("{} epochs", stage);
}
std::string short_text(const Summary& s) { return with_deviation(s, "%.3g"); }

Table tails_table(const Findings& f) {
  Table table(
      {"after", "batch", "kurtosis", "median", "pooled", "pooled, if normal", "Hill", "its error", "Hill, if normal"});
  for (const int64_t stage : f.stages)
    for (const int64_t batch : f.batches) {
      const auto of = [&](const char* which) { return over_seeds(f, stage, batch, which); };
      table.add({stage_text(stage), std::to_string(batch), short_text(of("kurtosis")),
                 short_text(of("median_kurtosis")), short_text(of("raw_kurtosis")), short_text(of("mixture_kurtosis")),
                 short_text(of("hill")), number_text(of("hill_error").mean, "%.2g"),
                 number_text(of("normal_hill").mean, "%.3g")});
    }
  return table;
}

Table noise_table(const Findings& f) {
  Table table({"after", "batch", "C²", "its error", "‖∇f‖²", "C²/‖∇f‖²", "weights", "without noise"});
  for (const int64_t stage : f.stages)
    for (const int64_t batch : f.batches) {
      const auto of = [&](const char* which) { return over_seeds(f, stage, batch, which); };
      const Summary scale =
          over_seeds(f, stage, batch, [](const Results& r) { return r.at("c2") / r.at("squared_gradient"); });
      table.add({stage_text(stage), std::to_string(batch), short_text(of("c2")),
                 number_text(of("c2_error").mean, "%.2g"), short_text(of("squared_gradient")), short_text(scale),
                 number_text(of("weights").mean, "%.0f"), number_text(of("constant").mean, "%.0f")});
    }
  return table;
}

// By the C² of the largest batch.
Table degree_table(const Findings& f) {
  std::vector<std::string> heading = {"course of δ"};
  for (const int64_t stage : f.stages) heading.push_back(format("C of {}", stage_text(stage)));
  Table table(heading);
  for (const auto& course : kCourses) {
    std::vector<std::string> row = {course.method};
    for (const int64_t stage : f.stages) {
      const double deviation = std::sqrt(over_seeds(f, stage, f.batches.back(), "c2").mean);
      const auto degree = [&](const auto& at) {
        return number_text(optim::sgd_degree(at.learning_rate, at.batch, std::isnan(deviation) ? 0 : deviation),
                           "%.3g");
      };
      row.push_back(degree(course.first) + " to " + degree(course.last));
    }
    table.add(row);
  }
  return table;
}

class Claims {
 public:
  explicit Claims(const Findings& f) : f_(f), table_({"claim", "after", "batch", "difference", ""}) {}

  Table table() {
    for (const int64_t stage : f_.stages)
      for (const int64_t batch : f_.batches) {
        const auto of = [&](const char* which) { return over_seeds(f_, stage, batch, which); };
        compare("light tails: Hill's index is above 4", stage, batch, constant(f_, kHeavy), of("hill"));
        equal("normal: the median excess kurtosis is 0", stage, batch, of("median_kurtosis"), constant(f_, 0));
        equal("normal: Hill's index is that of normal noise", stage, batch, of("hill"), of("normal_hill"));
        compare("pooling as it is looks heavier than it is", stage, batch, of("median_kurtosis"), of("raw_kurtosis"));
      }
    for (const int64_t stage : f_.stages)
      if (f_.batches.size() > 1)
        compare("larger batches are nearer to normal", stage, f_.batches.back(),
                over_seeds(f_, stage, f_.batches.back(), "median_kurtosis"),
                over_seeds(f_, stage, f_.batches.front(), "median_kurtosis"));
    for (const int64_t stage : f_.stages)
      if (stage > 0)
        equal("C² is that of the start", stage, f_.batches.back(), over_seeds(f_, stage, f_.batches.back(), "c2"),
              over_seeds(f_, 0, f_.batches.back(), "c2"));
    return table_;
  }

 private:
  void add(const char* claim, int64_t stage, int64_t batch, const Summary& a, const Summary& b, Verdict verdict) {
    table_.add({claim, stage_text(stage), std::to_string(batch), difference_text(a, b, "%.3g"), to_string(verdict)});
  }
  void compare(const char* claim, int64_t stage, int64_t batch, const Summary& less, const Summary& more) {
    add(claim, stage, batch, more, less, below(less, more));
  }
  // Seeds can tell two numbers apart, but not that they are one.
  void equal(const char* claim, int64_t stage, int64_t batch, const Summary& a, const Summary& b) {
    const bool apart = below(a, b) == Verdict::holds || below(b, a) == Verdict::holds;
    add(claim, stage, batch, a, b, apart ? Verdict::fails : Verdict::undecided);
  }

  const Findings& f_;
  Table table_;
};

std::vector<double> mean_series(const Findings& f, int64_t stage, int64_t batch, const char* which) {
  std::vector<double> sum;
  for (int64_t seed = 0; seed < f.seeds; ++seed) {
    const auto& one = result(f, noise_key(stage, batch, seed)).series_at(which);
    if (sum.empty()) sum.resize(one.size());
    for (size_t i = 0; i < std::min(sum.size(), one.size()); ++i) sum[i] += one[i] / static_cast<double>(f.seeds);
  }
  return sum;
}

}  // namespace

std::string training_key(int64_t seed) { return format("network seed={}", seed); }
std::string noise_key(int64_t stage, int64_t batch, int64_t seed) {
  return format("noise epoch={} batch={} seed={}", stage, batch, seed);
}

Report report_of(const Findings& f) {
  Report report;
  report.add(f.heading);
  report.add(
      "Tails. Excess kurtosis, mean and median over the weights; that of all numbers pooled as they are, and what it "
      "would be "
      "of normal noise with\neach weight's own deviation; Hill's index of numbers over their weight's deviation (below "
      "4: heavy). Mean ± deviation over the seeds.\n");
  report.add(tails_table(f));
  report.add("Size. C² = b(N − 1)/(N − b)·E‖G_b − ∇f‖², which is the same for every b but for its error.\n");
  report.add(noise_table(f));
  report.add(
      "Degrees of smoothing δ = ηC/√b of the published courses, from their start to their end, by this C. The paper's "
      "networks tested best at δ\nfrom 0.1 to 1. As noise of each of d weights its deviation is δ/√d.\n");
  report.add(degree_table(f));
  report.add(
      "What the paper says: the noise of minibatch gradients has light tails, is normal, and its C² is a constant. A "
      "claim holds beyond two\nstandard errors over the seeds; of equality, which they can only refute, it is "
      "undecided within them.\n");
  report.add(Claims(f).table());
  return report;
}

void write_csv(const Findings& f, const std::filesystem::path& file) {
  constexpr const char* kNumbers[] = {
      "kurtosis", "raw_kurtosis", "mixture_kurtosis", "hill",    "hill_error", "normal_hill",
      "c2",       "c2_error",     "squared_gradient", "weights", "constant",   "median_kurtosis"};
  std::string csv = "epoch,batch,seed";
  for (const char* number : kNumbers) csv += format(",{}", number);
  csv += "\n";
  for (const int64_t stage : f.stages)
    for (const int64_t batch : f.batches)
      for (int64_t seed = 0; seed < f.seeds; ++seed) {
        csv += format("{},{},{}", stage, batch, seed);
        for (const char* number : kNumbers)
          csv += "," + csv_number(result(f, noise_key(stage, batch, seed)).at(number));
        csv += "\n";
      }
  write_text(file, csv);
}

std::string quantiles_picture(const Findings& f) {
  std::vector<CurvePanel> panels;
  for (const int64_t stage : f.stages) {
    CurvePanel panel{stage_text(stage), "of the normal distribution, in deviations", "", {}, 0, 0};
    for (size_t i = 0; i < f.batches.size(); ++i) {
      const std::vector<double> normal = mean_series(f, stage, f.batches[i], "normal");
      if (i == 0) panel.curves.push_back({"normal noise", 0, normal, normal});
      panel.curves.push_back(
          {format("batch {}", f.batches[i]), i + 1, normal, mean_series(f, stage, f.batches[i], "empirical")});
      panel.curves.back().points = true;
    }
    for (Curve& curve : panel.curves)
      for (double& y : curve.y) y = std::clamp(y, -kCutOff, kCutOff);
    std::tie(panel.low, panel.high) = range_of(panel.curves);
    panels.push_back(panel);
  }
  return curves_svg(format("Quantiles of gradients' noise, cut off at ±{}: {}", kCutOff, f.title), panels);
}

std::string tails_picture(const Findings& f) {
  CurvePanel kurtosis{"Median excess kurtosis", "batch", "", {}, 0, 0}, hill{"Hill's index", "batch", "", {}, 0, 0};
  for (CurvePanel* panel : {&kurtosis, &hill}) {
    for (size_t i = 0; i < f.stages.size(); ++i) {
      Curve curve{stage_text(f.stages[i]), i, {}, {}};
      for (const int64_t batch : f.batches) {
        const Summary all = over_seeds(f, f.stages[i], batch, panel == &hill ? "hill" : "median_kurtosis");
        curve.x.push_back(static_cast<double>(batch));
        curve.y.push_back(all.mean);
        curve.deviation.push_back(all.count > 1 ? all.deviation : 0);
      }
      panel->curves.push_back(curve);
    }
    panel->logarithmic_x = true;
    std::tie(panel->low, panel->high) = range_of(panel->curves);
  }
  kurtosis.logarithmic = spans_decades(kurtosis.low, kurtosis.high);
  return curves_svg(format("Tails of gradients' noise: {}", f.title), {kurtosis, hill});
}

}  // namespace mollify::experiments::noise_tails_study
