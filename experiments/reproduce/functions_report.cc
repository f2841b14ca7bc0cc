#include <mollify/experiments/reproduce/functions_report.h>

#include <mollify/engine/error.h>

#include <algorithm>
#include <cmath>

namespace mollify::experiments::functions_study {
namespace {

using Way = SmoothedFunction::Way;

std::string short_text(double value) { return number_text(value, "%.2g"); }
std::string joined(const std::vector<double>& numbers, const char* between, const char* number_format) {
  std::string text;
  for (const double number : numbers) text += (text.empty() ? "" : between) + number_text(number, number_format);
  return text;
}

bool is_infinite(const Results& results) { return results.at("way") == static_cast<double>(Way::infinite); }

Report smoothed_report(const Findings& f) {
  Report report;
  report.add(format(
      "f_δ by closed form or quadrature. |form − quadrature| over 1 + |value|; how many standard errors the mean of {} "
      "draws is off, at worst;\nlocal minima on [−5, 5] at δ = 0, {}. Where f_δ is infinite: that mean, and that of "
      "100 times as many draws.\n",
      f.profiling.samples, joined(f.profiling.deltas, ", ", "%g")));
  Table table({"function", "noise", "f_δ", "form − quadrature", "sampled", "minima", "means"});
  for (const TestFunction& function : f.functions)
    for (const NamedNoise& noise : noises()) {
      const Results& found = f.of(function, noise);
      table.add(
          {function.name, noise.name, way_text(found.at("way")), short_text(found.at("form_error")),
           number_text(found.at("sampled_errors"), "%.1f"), joined(found.series_at("minima"), " ", "%.0f"),
           is_infinite(found) ? format("{}, {}", short_text(found.at("few")), short_text(found.at("many"))) : ""});
    }
  report.add(table);
  return report;
}

// "0.0837–0.517": where f_δ is not strictly convex within 3δ; the ends of the levels' range stand for what is beyond.
std::string edges_text(const Results& found) {
  const std::vector<double>& edges = found.series_at("edges");
  return edges.empty() ? "-" : joined(edges, ", ", "%.4f");
}

Report niceness_report(const Findings& f) {
  Report report;
  report.add(
      "Niceness, δ falling by 1/√2 from 2: levels at which f_δ is strictly convex within 3δ of its minimiser and the "
      "next level's minimiser\nis within that level's δ; the least curvature σ_m; where the minimisers go; the largest "
      "step as a share of δ; for closed forms the δ at\nwhich convexity within 3δ ends or begins.\n");
  Table table({"function", "noise", "nice levels", "least σ_m", "minimisers", "step/δ", "edges"});
  for (const TestFunction& function : f.functions)
    for (const NamedNoise& noise : noises()) {
      const Results& found = f.result(niceness_key(function, noise));
      const auto &nice = found.series_at("nice"), &delta = found.series_at("delta"), &steps = found.series_at("step"),
                 &curvature = found.series_at("curvature"), &at = found.series_at("minimiser");
      if (nice.empty()) continue;
      double share = 0;
      for (size_t m = 0; m + 1 < steps.size(); ++m) share = std::max(share, steps[m] / delta[m + 1]);
      table.add({function.name, noise.name, format("{} of {}", std::count(nice.begin(), nice.end(), 1.0), nice.size()),
                 number_text(*std::min_element(curvature.begin(), curvature.end()), "%.3g"),
                 format("{} to {}", short_text(at.front()), short_text(at.back())), short_text(share),
                 edges_text(found)});
    }
  report.add(table);
  return report;
}

Report descent_report(const Findings& f) {
  Report report;
  report.add(format("Graduated optimisation in {} dimensions, {} starts: the value at the end, median and worst.\n",
                    f.dimension, f.seeds));
  Table table({"function", "by", "gradients", "values", "median", "worst", "distance"});
  for (const TestFunction& function : f.functions)
    for (const Descent& how : descents_of(function)) {
      const std::vector<double> ends = f.over_seeds(function, how, "value");
      table.add({function.name, how.title, number_text(f.over_seeds(function, how, "gradients")[0], "%.0f"),
                 number_text(f.over_seeds(function, how, "values")[0], "%.0f"), short_text(quantile(ends, 0.5)),
                 short_text(quantile(ends, 1)), short_text(quantile(f.over_seeds(function, how, "distance"), 0.5))});
    }
  report.add(table);
  return report;
}

// What the papers say (arXiv 2311.08745 and 2412.11501), one function each: what was found, and whether it holds.
class Claims {
 public:
  explicit Claims(const Findings& f) : f_(f), table_({"claim", "found", ""}) {}

  Report report() {
    light_tails();
    heavy_tails();
    for (const TestFunction& function : f_.functions) {
      fewer_minima(function);
      near(function);
      if (function.name == std::string("rastrigin")) rastrigin(function);
      beats_descent(function);
    }
    sgd();
    Report report;
    report.add("What the papers say. Where starts are compared a claim holds beyond two standard errors.\n");
    report.add(table_);
    return report;
  }

 private:
  void add(const std::string& text, const std::string& found, Verdict verdict) {
    table_.add({text, found, to_string(verdict)});
  }
  void add(const std::string& text, const std::string& found, bool holds) {
    add(text, found, holds ? Verdict::holds : Verdict::fails);
  }

  void light_tails() {
    int64_t finite = 0, all = 0;
    double errors = 0;
    for (const TestFunction& function : f_.functions)
      for (const NamedNoise& noise : noises()) {
        const Results& found = f_.of(function, noise);
        if (noise.heavy()) continue;
        ++all;
        finite += !is_infinite(found);
        errors = std::max(errors, found.at("sampled_errors"));
      }
    add("light tails: f_δ exists", format("{} of {}, sampling within {} errors", finite, all, short_text(errors)),
        finite == all);
  }
  void heavy_tails() {
    for (const TestFunction& function : f_.functions) {
      double light = 0, heavy = INFINITY;
      int64_t infinite = 0;
      for (const NamedNoise& noise : noises()) {
        const Results& found = f_.of(function, noise);
        const auto& minima = found.series_at("minima");
        infinite += noise.heavy() && is_infinite(found);
        if (minima.size() < 2 || noise.centred) continue;
        const double count = minima[1 + f_.profiling.deltas.size() / 2];
        noise.heavy() ? heavy = std::min(heavy, count) : light = std::max(light, count);
      }
      const std::string text = format("heavy tails do not smooth {}", function.name);
      if (infinite > 0)
        add(text, format("f_δ is infinite under {} of 3", infinite), infinite == 3);
      else
        add(text,
            format("at δ {} at least {} minima, light ones at most {}",
                   f_.profiling.deltas[f_.profiling.deltas.size() / 2], heavy, light),
            heavy > light);
    }
  }
  void fewer_minima(const TestFunction& function) {
    if (!is_of_one_number(function)) return;
    std::string against;
    for (const NamedNoise& noise : noises()) {
      const auto& minima = f_.of(function, noise).series_at("minima");
      if (!noise.heavy() && !std::is_sorted(minima.rbegin(), minima.rend()))
        against += (against.empty() ? "" : "; ") + noise.name + " " + joined(minima, " ", "%.0f");
    }
    add(format("{} has fewer minima the larger δ (light tails)", function.name), against.empty() ? "all" : against,
        against.empty());
  }
  void near(const TestFunction& function) {
    double most = 0;
    for (const NamedNoise& noise : noises())
      if (noise.centred) most = std::max(most, f_.of(function, noise).at("distance"));
    const bool lipschitz = !std::isnan(f_.of(function, noises().back()).at("distance"));
    if (lipschitz) add(format("{}: |f_δ − f| ≤ δL", function.name), format("{} δL", short_text(most)), most <= 1);
  }
  void rastrigin(const TestFunction& function) {
    const Results& nice = f_.result(niceness_key(function, noises()[0]));
    const auto& curvature = nice.series_at("curvature");
    const double least = curvature.empty() ? NAN : *std::min_element(curvature.begin(), curvature.end());
    add("rastrigin is new 2-nice (Gaussian noise)",
        format("least σ_m {}, not convex between δ {}", number_text(least, "%.3g"), edges_text(nice)), least >= 2);
    for (const Descent& how : descents()) {
      if (how.gradients == Descent::Gradients::own) continue;
      const double worst = quantile(f_.over_seeds(function, how, "value"), 1);
      const double limit = how.gradients == Descent::Gradients::form ? 1e-8 : 0.01;
      add(format("graduated optimisation minimises it: {}", how.title),
          format("at most {} from {} starts", short_text(worst), f_.seeds), worst < limit);
    }
    below_of("its published order ends below the geometric one from 1", function, "sampled-published",
             "sampled-geometric-1");
  }
  void beats_descent(const TestFunction& function) {
    if (function.name == std::string("sphere")) return;  // both end at its minimum
    below_of(format("graduated optimisation of {} ends below descent on f", function.name), function,
             "sampled-published", "own-published");
  }
  void below_of(const std::string& text, const TestFunction& function, const std::string& less,
                const std::string& more) {
    const auto ends = [&](const std::string& name) {
      for (const Descent& how : descents())
        if (name == how.name) return summary_of(f_.over_seeds(function, how, "value"));
      return summary_of({});
    };
    const Summary a = ends(less), b = ends(more);
    add(text, difference_text(a, b, "%.2g"), below(a, b));
  }
  void sgd() {
    const Results& found = f_.result(kSgd);
    if (found.numbers.empty()) return;
    add("SGD's course is that of descent on f_δ",
        format("rastrigin, one number, δ {}, rate {}: root mean square {}, of descent {}", f_.sgd_delta, f_.sgd_rate,
               short_text(found.at("sgd")), short_text(found.at("smoothed"))),
        found.at("sgd") < 2 * found.at("smoothed"));
  }

  const Findings& f_;
  Table table_;
};

}  // namespace

std::string smoothed_key(const TestFunction& function, const NamedNoise& noise) {
  return format("smoothed {} {}", function.name, noise.name);
}
std::string niceness_key(const TestFunction& function, const NamedNoise& noise) {
  return format("nice {} {}", function.name, noise.name);
}
std::string descent_key(const TestFunction& function, const Descent& how, int64_t seed) {
  return format("descent {} {} seed={}", function.name, how.name, seed);
}

const Results& Findings::result(const std::string& key) const {
  static const Results none;
  const auto found = results.find(key);
  return found == results.end() ? none : found->second;
}

const Results& Findings::of(const TestFunction& function, const NamedNoise& noise) const {
  return result(smoothed_key(function, noise));
}

std::vector<double> Findings::over_seeds(const TestFunction& function, const Descent& how, const char* number) const {
  std::vector<double> numbers;
  for (int64_t seed = 0; seed < seeds; ++seed) numbers.push_back(result(descent_key(function, how, seed)).at(number));
  return numbers;
}

const char* way_text(double way) {
  if (std::isnan(way)) return "-";
  return way == static_cast<double>(Way::form)         ? "form"
         : way == static_cast<double>(Way::quadrature) ? "quadrature"
                                                       : "infinite";
}

std::vector<Descent> descents_of(const TestFunction& function) {
  if (function.name == std::string("rastrigin")) return descents();
  std::vector<Descent> some;
  for (const Descent& how : descents())
    if (how.gradients == Descent::Gradients::sampled || how.gradients == Descent::Gradients::own) some.push_back(how);
  return some;
}

Report report_of(const Findings& findings) {
  Report report;
  report.add(findings.heading);
  report.add(smoothed_report(findings));
  report.add(niceness_report(findings));
  report.add(descent_report(findings));
  report.add(Claims(findings).report());
  return report;
}

}  // namespace mollify::experiments::functions_study
