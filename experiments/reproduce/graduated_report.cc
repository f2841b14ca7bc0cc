#include <mollify/experiments/reproduce/graduated_report.h>

#include <mollify/engine/error.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <iterator>
#include <set>

namespace mollify::experiments {
namespace {

using Findings = GraduatedFindings;

// A training of every seed.
struct Kind {
  std::string course;
  int64_t batch;
};

Summary of(const Findings& findings, const Kind& kind, const std::function<double(const Results&)>& number) {
  std::vector<double> numbers;
  for (int64_t seed = 0; seed < findings.seeds; ++seed) {
    const auto found = findings.results.find(graduated_key(kind.course, kind.batch, seed));
    numbers.push_back(found == findings.results.end() ? NAN : number(found->second));
  }
  return summary_of(numbers);
}

Summary number(const Findings& findings, const Kind& kind, const char* which) {
  return of(findings, kind, [&](const Results& results) { return results.at(which); });
}

// Against a < b, too, speaks only what is beyond two standard errors.
Verdict smaller(const Summary& a, const Summary& b) {
  if (below(b, a) == Verdict::holds) return Verdict::fails;
  return below(a, b) == Verdict::holds ? Verdict::holds : Verdict::undecided;
}

// Test accuracy after that many updates, linear between the epochs' ends.
double accuracy_at(const Results& results, double updates) {
  const std::vector<double>&at = results.series_at("updates"), &accuracy = results.series_at("test_accuracy");
  const auto next = static_cast<size_t>(std::lower_bound(at.begin(), at.end(), updates) - at.begin());
  if (next == at.size()) return NAN;
  if (next == 0) return accuracy[0];
  const double share = (updates - at[next - 1]) / (at[next] - at[next - 1]);
  return accuracy[next - 1] + share * (accuracy[next] - accuracy[next - 1]);
}

// A row of a table of claims: the first ends with the smaller loss, and the higher accuracy, also after as many updates
// as the one with fewer makes in all.
void add_claim(const Findings& findings, Table& table, const std::string& text, const Kind& better, const Kind& worse) {
  const Summary losses[] = {number(findings, better, "train_loss"), number(findings, worse, "train_loss")};
  const Summary accuracies[] = {number(findings, better, "test_accuracy"), number(findings, worse, "test_accuracy")};
  const double updates = std::min(number(findings, better, "updates").mean, number(findings, worse, "updates").mean);
  const auto early = [&](const Kind& kind) {
    return of(findings, kind, [&](const Results& results) { return accuracy_at(results, updates); });
  };
  const Summary early_better = early(better), early_worse = early(worse);
  table.add({text, difference_text(losses[0], losses[1], "%.4f"), to_string(smaller(losses[0], losses[1])),
             difference_text(accuracies[0], accuracies[1], "%.2f"), to_string(smaller(accuracies[1], accuracies[0])),
             difference_text(early_better, early_worse, "%.2f"), to_string(smaller(early_worse, early_better))});
}

Table claims_table() {
  return Table({"claim", "training loss", "", "test accuracy, %", "", "at equal updates, %", ""});
}

std::set<int64_t> batches(const Findings& findings) { return {findings.batch, findings.published_batch}; }

// The paper's methods, from the worst to the best, by the first batch that each has.
std::vector<Kind> compared(const std::function<int64_t(const GraduatedCourse&)>& batch) {
  std::vector<Kind> kinds;
  for (const GraduatedCourse& method : graduated_methods())
    if (std::string(method.name) != "halved") kinds.push_back({method.name, batch(method)});
  return kinds;
}

std::vector<Kind> published(const Findings& findings) {
  return compared([&](const GraduatedCourse& method) {
    return method.batch_share > 0 ? findings.batch : findings.published_batch;
  });
}

std::string title_of(const std::string& name) {
  for (const auto* list : {&graduated_methods(), &graduated_decays()})
    for (const GraduatedCourse& course : *list)
      if (name == course.name) return course.title;
  return name;
}

void add_order(const Findings& findings, Table& table, const std::string& where, const std::vector<Kind>& kinds) {
  for (size_t i = kinds.size(); i-- > 1;)
    add_claim(findings, table, format("{}: {} better than {}", where, kinds[i].course, kinds[i - 1].course), kinds[i],
              kinds[i - 1]);
  add_claim(findings, table, format("{}: {} better than {}", where, kinds.back().course, kinds[0].course), kinds.back(),
            kinds[0]);
}

void add_row(const Findings& findings, Table& table, const GraduatedCourse& course, int64_t batch) {
  const Kind kind{course.name, batch};
  const auto last = [&](const char* series) {
    return of(findings, kind, [&](const Results& results) {
      const std::vector<double>& values = results.series_at(series);
      return values.empty() ? NAN : values.back();
    });
  };
  table.add({course.title, std::to_string(batch), number_text(last("batch").mean, "%.0f"),
             number_text(last("rate").mean, "%.3g"), number_text(number(findings, kind, "updates").mean, "%.0f"),
             with_deviation(number(findings, kind, "train_loss"), "%.4f"),
             with_deviation(number(findings, kind, "train_accuracy"), "%.2f"),
             with_deviation(number(findings, kind, "test_accuracy"), "%.2f")});
}

Table results_table() {
  return Table({"", "first batch", "last", "last rate", "updates", "training loss", "training, %", "test, %"});
}

Report methods_report(const Findings& findings) {
  Report report;
  report.add(
      "Methods: the smoothing rate/√batch falls by 0.7071 a round in all but the first and the last. Loss of all "
      "training images at the final weights, mean ± deviation over the seeds.\n");
  Table table = results_table();
  for (const int64_t batch : batches(findings))
    for (const GraduatedCourse& method : graduated_methods()) add_row(findings, table, method, batch);
  report.add(table);
  report.add(
      "What the paper says: the hybrid is best, then the growing batch, then the falling rate, and constant ones are "
      "worst. Differences seed by seed and their standard errors; a claim holds, or does not, beyond two of them.\n");
  Table claims = claims_table();
  for (const int64_t batch : batches(findings))
    add_order(findings, claims, format("from batch {}", batch), compared([&](const auto&) { return batch; }));
  if (findings.batch != findings.published_batch)
    add_order(findings, claims, format("as published, from {} and {}", findings.published_batch, findings.batch),
              published(findings));
  report.add(claims);
  report.add(
      "What doubling the batch is equal to: the rate divided by √2 has the same smoothing rate/√batch, the rate halved "
      "the same rate/batch. Distance of the final training losses (claim: the first is the smaller).\n");
  Table equal({"", "from the same smoothing", "from the same rate/batch", "difference", ""});
  for (const int64_t batch : batches(findings)) {
    const Summary doubled = number(findings, {"batch", batch}, "train_loss");
    const auto distance = [&](const char* other) {
      const Summary loss = number(findings, {other, batch}, "train_loss");
      std::vector<double> distances;
      for (size_t i = 0; i < loss.numbers.size(); ++i)
        distances.push_back(std::abs(loss.numbers[i] - doubled.numbers[i]));
      return summary_of(distances);
    };
    const Summary smoothing = distance("rate"), ratio = distance("halved");
    equal.add({format("batch doubled from {}", batch), with_deviation(smoothing, "%.4f"), with_deviation(ratio, "%.4f"),
               difference_text(smoothing, ratio, "%.4f"), to_string(smaller(smoothing, ratio))});
  }
  report.add(equal);
  return report;
}

Report decays_report(const Findings& findings) {
  Report report;
  const auto& decays = graduated_decays();
  const auto known = [&](const GraduatedCourse& decay) {
    return findings.results.contains(graduated_key(decay.name, findings.batch, 0));
  };
  if (std::none_of(decays.begin(), decays.end(), known)) return report;
  report.add(
      "Decays of the rate, epoch by epoch: a power p of what is left of the run, half a cosine, and an exponential "
      "that falls by 7e-10 in all.\n");
  Table table = results_table();
  for (const GraduatedCourse& decay : decays) add_row(findings, table, decay, findings.batch);
  report.add(table);
  report.add("What the paper says: the training loss rises in the order p ≤ 1, 2, 4, 8, exponential.\n");
  Table claims = claims_table();
  const auto better = [&](const char* first, const char* second) {
    add_claim(findings, claims, format("{} better than {}", title_of(first), title_of(second)), {first, findings.batch},
              {second, findings.batch});
  };
  better("power-0.5", "power-2");
  better("power-1", "power-2");
  better("power-2", "power-4");
  better("power-4", "power-8");
  better("power-8", "exponential");
  better("cosine", "exponential");
  better("power-1", "constant");
  report.add(claims);
  return report;
}

// Numbers at the last step, over the initial weights.
Report descent_report(const Findings& findings) {
  Report report;
  if (findings.descent_heading.empty()) return report;
  const auto last = [&](const std::string& name) {
    std::vector<double> numbers;
    for (int64_t seed = 0; seed < findings.seeds; ++seed) {
      const auto found = findings.results.find(descent_key(seed));
      numbers.push_back(found == findings.results.end() ? NAN : found->second.at(name));
    }
    return summary_of(numbers);
  };
  report.add(findings.descent_heading +
             "Root mean square distance of SGD's weights from the descent's, of their mean from it, and of the descent "
             "from the start; f at the descent's weights, and the noise's deviation on a weight, at the last step.\n");
  Table table({"", "apart", "mean apart", "moved", "f", "deviation"});
  for (size_t i = 0; i < std::size(kDescentMultiples); ++i) {
    const auto of_descent = [&](const char* name) { return with_deviation(last(format("{}_{}", name, i)), "%.4g"); };
    const double multiple = kDescentMultiples[i];
    table.add({multiple == 0   ? "descent on f"
               : multiple == 1 ? "descent on f smoothed by δ"
                               : format("descent on f smoothed by {}δ", multiple),
               of_descent("apart"), of_descent("mean"), of_descent("moved"), of_descent("loss"),
               of_descent("deviation")});
  }
  table.add({"SGD (its distances: from its mean)", with_deviation(last("spread"), "%.4g"), "-", "-",
             with_deviation(last("loss_sgd"), "%.4g"), "-"});
  report.add(table);
  report.add("What the paper builds on: SGD on f is, on average, descent on f smoothed by δ.\n");
  Table claims({"claim", "difference", ""});
  const auto claim = [&](const char* text, const Summary& less, const Summary& more) {
    claims.add({text, difference_text(less, more, "%.4g"), to_string(smaller(less, more))});
  };
  const auto from_sgd = [&](int i) {
    std::vector<double> distances;
    const Summary sgd = last("loss_sgd"), descent = last(format("loss_{}", i));
    for (size_t seed = 0; seed < sgd.numbers.size(); ++seed)
      distances.push_back(std::abs(descent.numbers[seed] - sgd.numbers[seed]));
    return summary_of(distances);
  };
  claim("SGD ends nearer to descent on the smoothed loss than to descent on f", last("apart_1"), last("apart_0"));
  claim("so does the mean of its runs", last("mean_1"), last("mean_0"));
  claim("its loss is nearer to that of descent on the smoothed loss", from_sgd(1), from_sgd(0));
  claim("the mean of its runs is nearer to that descent than its runs are to their mean", last("mean_1"),
        last("spread"));
  report.add(claims);
  return report;
}

}  // namespace

const std::vector<GraduatedCourse>& graduated_methods() {
  static const std::vector<GraduatedCourse> methods = {
      {"constant", "rate and batch constant", "constant", 0, 0},
      {"rate", "rate falls by 0.7071", "step", 0, 0},
      {"batch", "batch doubles", "step", 1, 0},
      {"hybrid", "rate falls by 0.866, batch grows by half", "step", 0.585, 0},
      {"halved", "rate halves", "step", 0, 0.5},
  };
  return methods;
}

const std::vector<GraduatedCourse>& graduated_decays() {
  static const std::vector<GraduatedCourse> decays = {
      {"power-0.5", "p = 0.5", "polynomial", 0, 0.5},
      {"power-1", "p = 1", "polynomial", 0, 1},
      {"cosine", "cosine", "cosine", 0, 0},
      {"power-2", "p = 2", "polynomial", 0, 2},
      {"power-4", "p = 4", "polynomial", 0, 4},
      {"power-8", "p = 8", "polynomial", 0, 8},
      {"exponential", "exponential", "exponential", 0, 0.9},
  };
  return decays;
}

std::string graduated_key(const std::string& course, int64_t batch, int64_t seed) {
  return format("{} batch={} seed={}", course, batch, seed);
}

std::string descent_key(int64_t seed) { return format("descent seed={}", seed); }

Report report_of(const Findings& findings) {
  Report report;
  report.add(findings.heading);
  report.add(methods_report(findings));
  report.add(decays_report(findings));
  report.add(descent_report(findings));
  const auto diverged = std::count_if(findings.results.begin(), findings.results.end(),
                                      [](const auto& cell) { return cell.second.at("diverged") == 1; });
  if (diverged > 0) report.add(format("{} trainings diverged and are left out.\n", diverged));
  return report;
}

}  // namespace mollify::experiments
