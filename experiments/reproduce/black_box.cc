// Test functions of which a method sees single values: gradients of Gaussian populations (PGPE: Sehnke et al. 2010;
// with ClipUp: Toklu et al. 2020) by the evaluations that they need, beside SGD with exact gradients.
#include <mollify/experiments/reproduce/black_box_search.h>
#include <mollify/experiments/reproduce/experiment.h>
#include <mollify/experiments/reproduce/experiments.h>
#include <mollify/experiments/training/curves.h>

#include <algorithm>
#include <cmath>

namespace mollify::experiments {
namespace {

using namespace black_box_search;
using Optimizer = Method::Optimizer;

constexpr Method kMethods[] = {{"pgpe-adam", Optimizer::adam},
                               {"pgpe-clipup", Optimizer::clip_up},
                               {"pgpe-clipup-learned", Optimizer::clip_up, /*learned=*/true},
                               {"pgpe-ranks", Optimizer::adam, false, /*ranks=*/true},
                               {"sgd", Optimizer::sgd}};
constexpr size_t kMethodCount = std::size(kMethods);
constexpr double kLeastShown = 1e-4;  // of the target, in pictures

class BlackBox final : public Experiment {
 public:
  const char* name() const override { return "black-box"; }
  const char* summary() const override {
    return "evaluations that Gaussian populations need on test functions (PGPE, ClipUp; Toklu et al. 2020)";
  }
  std::vector<std::string> files() const override { return {"results.csv", "curves.svg"}; }
  Options options() override;
  void resolve() override;
  void load() override;
  Report run(Grid& grid, const std::filesystem::path& folder) override;

 private:
  using Seeds = std::vector<Results>;
  using Finished = std::vector<std::vector<Seeds>>;  // [problem][method][seed]

  std::vector<int64_t> dimensions() const;
  std::string settings_text() const;
  Report tables(const Finished& finished) const;
  std::string picture(const Finished& finished) const;
  std::string csv(const Finished& finished) const;

  int64_t seeds_ = 0;
  Setting setting_{.budget = 0, .pairs = 10, .gradient_cost = 4, .target = 0.01};
  std::string function_;
  std::vector<Problem> problems_;  // by function, then by dimension
};

Options BlackBox::options() {
  Options all = options_without_data();
  std::vector<std::string> names;
  for (const smoothing::TestFunction& function : smoothing::test_functions()) names.push_back(function.name);
  add(all, {
               {{"seeds", "Run", "seeds of starts and populations", "tiny 2, quick 9, paper 25"}, &seeds_, at_least(1)},
               {{"function", "Search", "test function", "all"}, &function_, one_of(names)},
               {{"budget", "Search", "evaluations of a search", "tiny 2000, quick 20000, paper 100000"},
                &setting_.budget,
                at_least(1)},
               {{"pairs", "Search", "pairs of points in a population", nullptr}, &setting_.pairs, at_least(2)},
               {{"target", "Search", "value that counts as reached, as a share of the mean over the box", nullptr},
                &setting_.target,
                above(0)},
               {{"gradient-cost", "Search", "evaluations that a gradient counts as, besides its value", nullptr},
                &setting_.gradient_cost,
                at_least(0)},
           });
  return all;
}

void BlackBox::resolve() {
  if (out.empty()) out = format("runs/{}-{}", name(), scale);
  choose(seeds_, 2, 9, 25);
  choose(setting_.budget, 2000, 20000, 100000);
}

std::vector<int64_t> BlackBox::dimensions() const {
  if (is("tiny")) return {2};
  if (is("quick")) return {2, 10, 30};
  return {2, 10, 30, 100};
}

void BlackBox::load() {
  for (const smoothing::TestFunction& function : smoothing::test_functions())
    for (int64_t d : dimensions())
      if (function_.empty() || function_ == function.name) problems_.emplace_back(function, d);
}

std::string BlackBox::settings_text() const {
  return format(
             "Gaussian populations on test functions, beside SGD with exact gradients. Scale {}, {} seeds, {} "
             "evaluations a search.\n"
             "Starts are uniform in the function's box, the same for all methods. The box is the unit cube to them, "
             "and values\n"
             "are shares of the mean over the box (10,000 points), so that one setting serves all functions.\n",
             scale, seeds_, setting_.budget) +
         format(
             "pgpe: {} pairs w ± s·z a step; s falls from 0.1 to 0.0001 along the search, but where it is learned "
             "(from 0.1, rate 0.003);\n"
             "learning rates fall to a thousandth, too: Adam from 0.02, ClipUp from 0.01·√d, SGD (momentum 0.9) from "
             "0.005·d.\n"
             "-ranks: losses count by their rank, with Adam.\n",
             setting_.pairs) +
         format(
             "One evaluation is one value; a step of SGD counts as 1 + {}, its value and the gradient (reverse mode "
             "takes at most about\n"
             "four times as long as the value). The target is a value below {} of the mean over the box (of "
             "Rosenbrock\n"
             "at the start of its valley, of two numbers often at the first point).\n",
             setting_.gradient_cost, setting_.target);
}

Report BlackBox::tables(const Finished& finished) const {
  std::vector<std::string> heading = {"function", "d"};
  for (const Method& method : kMethods) heading.push_back(method.name);
  Table reached(heading), best(heading);
  std::vector<int64_t> successes(kMethodCount);
  for (size_t p = 0; p < problems_.size(); ++p) {
    std::vector<std::string> first = {problems_[p].name(), std::to_string(problems_[p].dimension())}, second = first;
    for (size_t m = 0; m < kMethodCount; ++m) {
      std::vector<double> evaluations, values;
      int64_t count = 0;
      for (const Results& results : finished[p][m]) {
        const double at = results.at(kReached);
        count += std::isfinite(at);
        evaluations.push_back(std::isfinite(at) ? at : INFINITY);
        values.push_back(results.at(kBest));
      }
      const double median = quantile(evaluations, 0.5);
      first.push_back(format("{} ({} %)", std::isfinite(median) ? number_text(median, "%.0f") : "-",
                             std::lround(100 * static_cast<double>(count) / static_cast<double>(seeds_))));
      second.push_back(number_text(quantile(values, 0.5), "%.2g"));
      successes[m] += count;
    }
    reached.add(first);
    best.add(second);
  }
  std::vector<std::string> all = {"all", ""};
  for (const int64_t count : successes)
    all.push_back(format("{} %", std::lround(100 * static_cast<double>(count) /
                                             static_cast<double>(seeds_ * static_cast<int64_t>(problems_.size())))));
  reached.add(all);
  Report report;
  report.add(
      "Evaluations until the target, median over the seeds, a search that does not reach it counting as infinite (-), "
      "and the share of\n"
      "searches that reach it.\n");
  report.add(reached);
  report.add("Best value after all evaluations, as a share of the mean over the box, median over the seeds.\n");
  report.add(best);
  return report;
}

// A panel for each function, at 10 numbers where there are searches of them.
std::string BlackBox::picture(const Finished& finished) const {
  const int64_t shown = dimensions()[std::min<size_t>(1, dimensions().size() - 1)];
  const std::vector<int64_t> evaluations = counts(setting_.budget);
  std::vector<CurvePanel> panels;
  for (size_t p = 0; p < problems_.size(); ++p) {
    if (problems_[p].dimension() != shown) continue;
    CurvePanel panel{format("{}, d = {}", problems_[p].name(), shown), "evaluations", "", {}, 0, 0};
    for (size_t m = 0; m < kMethodCount; ++m) {
      Curve curve{kMethods[m].name, m, {}, {}};
      for (size_t i = 0; i < evaluations.size(); ++i) {
        std::vector<double> values;
        for (const Results& results : finished[p][m])
          if (const auto& series = results.series_at(kBestSoFar); i < series.size() && std::isfinite(series[i]))
            values.push_back(series[i]);
        curve.x.push_back(static_cast<double>(evaluations[i]));
        curve.y.push_back(quantile(values, 0.5));
        curve.low.push_back(quantile(values, 0.25));
        curve.high.push_back(quantile(values, 0.75));
      }
      panel.curves.push_back(curve);
    }
    const auto [low, high] = range_of(panel.curves);
    panel.logarithmic = panel.logarithmic_x = true;
    panel.low = std::max(low, kLeastShown * setting_.target);
    panel.high = std::max(high, panel.low);
    panels.push_back(panel);
  }
  return curves_svg(format("Best value, as a share of the mean over the box: median and quartiles of {} {}", seeds_,
                           seeds_ == 1 ? "seed" : "seeds"),
                    panels);
}

std::string BlackBox::csv(const Finished& finished) const {
  std::string out = "function,dimension,method,seed,mean_over_box,evaluations_to_target,best_value\n";
  for (size_t p = 0; p < problems_.size(); ++p)
    for (size_t m = 0; m < kMethodCount; ++m)
      for (size_t seed = 0; seed < finished[p][m].size(); ++seed) {
        const Results& results = finished[p][m][seed];
        out += format("{},{},{},{},{},{},{}\n", problems_[p].name(), problems_[p].dimension(), kMethods[m].name, seed,
                      csv_number(problems_[p].unit()), csv_number(results.at(kReached)),
                      csv_number(results.at(kBest) * problems_[p].unit()));
      }
  return out;
}

Report BlackBox::run(Grid& grid, const std::filesystem::path& folder) {
  std::vector<Cell> cells;
  for (const Problem& problem : problems_)
    for (const Method& method : kMethods)
      for (int64_t seed = 0; seed < seeds_; ++seed)
        cells.push_back({format("{} d={} {} seed={}", problem.name(), problem.dimension(), method.name, seed),
                         [&, seed](const auto& own) {
                           return search(method, problem, static_cast<uint64_t>(seed), setting_,
                                         CellCheckpoint(own, checkpoint_minutes));
                         }});
  const std::vector<Results> results = grid.run("searches", cells);
  Finished finished(problems_.size());
  auto next = results.begin();
  for (auto& of_problem : finished)
    for (size_t m = 0; m < kMethodCount; ++m, next += seeds_) of_problem.emplace_back(next, next + seeds_);
  write_text(folder / "results.csv", csv(finished));
  write_text(folder / "curves.svg", picture(finished));
  Report report;
  report.add(settings_text());
  report.add(tables(finished));
  return report;
}

}  // namespace

std::shared_ptr<Experiment> black_box() { return std::make_shared<BlackBox>(); }

}  // namespace mollify::experiments
