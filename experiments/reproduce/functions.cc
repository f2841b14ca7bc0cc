// Test functions smoothed with noise of seven laws, their niceness, and graduated optimisation of them (Sato & Iiduka,
// arXiv 2311.08745 and 2412.11501; σ-niceness: Hazan et al. 2016).
#include <mollify/experiments/reproduce/experiment.h>
#include <mollify/experiments/reproduce/experiments.h>
#include <mollify/experiments/reproduce/functions_cells.h>
#include <mollify/experiments/reproduce/functions_report.h>

#include <algorithm>
#include <cmath>

namespace mollify::experiments {
namespace {

using namespace functions_study;

// Learning rates over δ of the published code.
constexpr struct {
  const char* function;
  double rate;
} kRates[] = {{"sphere", 1}, {"rosenbrock", 5e-5}, {"rastrigin", 0.01}, {"drop_wave", 0.1}, {"ackley", 10}};

class Functions final : public Experiment {
 public:
  const char* name() const override { return "functions"; }
  const char* summary() const override {
    return "test functions under seven noises, their niceness, graduated optimisation (Sato & Iiduka)";
  }
  std::vector<std::string> files() const override { return functions_files(); }
  Options options() override;
  void resolve() override;
  void load() override;
  double estimated_seconds() const override;
  Report run(Grid& grid, const std::filesystem::path& folder) override;

 private:
  Setting setting(const TestFunction& function) const;
  std::vector<Cell> cells() const;
  bool has_niceness(const SmoothedFunction& f) const;
  std::string heading() const;

  int64_t seeds_ = 0, dimension_ = 0, levels_ = 0, steps_ = 0, gradients_ = 0, nice_levels_ = 0, chains_ = 0;
  double sgd_delta_ = 0.6, sgd_rate_ = 0.01;
  std::string function_;
  Profiling profiling_{{}, 0, 0};
  std::vector<TestFunction> functions_;
};

Options Functions::options() {
  Options all = options_without_data();
  std::vector<std::string> names;
  for (const TestFunction& function : smoothing::test_functions()) names.push_back(function.name);
  add(all, {{{"function", "Functions", "test function", "all"}, &function_, one_of(names)},
            {{"points", "Functions", "of a profile from -5 to 5", "tiny 41, quick 401, paper 1001"},
             &profiling_.points,
             at_least(2)},
            {{"draws", "Functions", "of a sampled mean", "tiny 200, quick 10000, paper 100000"},
             &profiling_.samples,
             at_least(2)},
            {{"nice-levels", "Functions", "levels of δ, from 2 by 1/√2, whose niceness is looked at",
              "tiny 4, quick 14, paper 20"},
             &nice_levels_,
             at_least(2)},
            {{"seeds", "Descent", "starts", "tiny 1, quick 5, paper 25"}, &seeds_, at_least(1)},
            {{"dimension", "Descent", "numbers of x", "tiny 3, else 50"}, &dimension_, at_least(2)},
            {{"levels", "Descent", "levels of δ", "tiny 6, else 51"}, &levels_, at_least(2)},
            {{"steps", "Descent", "steps of a level", "tiny 4, else 20"}, &steps_, at_least(1)},
            {{"samples", "Descent", "gradients of a sampled step, whole pairs", "tiny 4, else 100"},
             &gradients_,
             at_least(2)},
            {{"chains", "Descent", "courses of SGD that are compared with descent", "tiny 50, quick 1000, paper 10000"},
             &chains_,
             at_least(1)},
            {{"sgd-delta", "Descent", "its degree of smoothing", nullptr}, &sgd_delta_, above(0)},
            {{"sgd-lr", "Descent", "its learning rate", nullptr}, &sgd_rate_, above(0)}});
  return all;
}

void Functions::resolve() {
  if (out.empty()) out = format("runs/{}-{}", name(), scale);
  choose(seeds_, 1, 5, 25);
  choose(dimension_, 3, 50, 50);
  choose(levels_, 6, 51, 51);
  choose(steps_, 4, 20, 20);
  choose(gradients_, 4, 100, 100);
  choose(nice_levels_, 4, 14, 20);
  choose(chains_, 50, 1000, 10000);
  choose(profiling_.points, 41, 401, 1001);
  choose(profiling_.samples, 200, 10000, 100000);
  require<UsageError>(gradients_ % 2 == 0, "mollify reproduce {}: --samples: {} given; needs whole pairs", name(),
                      gradients_);
}

void Functions::load() {
  profiling_.deltas = is("tiny") ? std::vector<double>{0.5} : std::vector<double>{0.1, 0.25, 0.5, 1, 2};
  for (const TestFunction& function : smoothing::test_functions())
    if (function_.empty() || function_ == function.name) functions_.push_back(function);
}

Setting Functions::setting(const TestFunction& function) const {
  const auto* published = std::find_if(std::begin(kRates), std::end(kRates),
                                       [&](const auto& one) { return one.function == std::string(function.name); });
  const TestFunction* lasting = &smoothing::test_function(function.name);
  return {lasting, published->rate, dimension_, levels_, steps_, gradients_};
}

// By quadrature it takes seconds a level: not at tiny.
bool Functions::has_niceness(const SmoothedFunction& f) const {
  using Way = SmoothedFunction::Way;
  return is_of_one_number(f.function()) && (f.way() == Way::form || (f.way() == Way::quadrature && !is("tiny")));
}

std::vector<Cell> Functions::cells() const {
  std::vector<Cell> all;
  for (const TestFunction& function : functions_) {
    for (const NamedNoise& noise : noises()) {
      const SmoothedFunction f(function, noise.noise);
      all.push_back({smoothed_key(function, noise), [=, this](const auto&) { return smoothed(f, profiling_); }});
      if (has_niceness(f))
        all.push_back({niceness_key(function, noise),
                       [=, this](const auto&) { return nice_levels(f, nice_deltas(nice_levels_)); }});
    }
    for (const Descent& how : descents_of(function))
      for (int64_t seed = 0; seed < seeds_; ++seed)
        all.push_back({descent_key(function, how, seed), [=, this](const auto&) {
                         return descend(how, setting(function), static_cast<uint64_t>(seed));
                       }});
  }
  if (function_.empty() || function_ == "rastrigin")
    all.push_back({kSgd, [this](const auto&) {
                     return sgd_beside_descent(sgd_delta_, sgd_rate_, chains_, is("tiny") ? 50 : 1000);
                   }});
  return all;
}

std::string Functions::heading() const {
  return format(
      "Smoothed test functions (Sato & Iiduka, arXiv 2311.08745 and 2412.11501). Scale {}.\n"
      "f_δ(x) = E f(x − δu), u of each coordinate by one of seven laws as the authors' demonstration has them; "
      "centred: "
      "brought to mean 0 and deviation 1.\n"
      "Descent: {} levels of {} steps, learning rates l·δ with their l, {} samples a step, from uniform starts in the "
      "box. Their order of δ falls from 1 by 1/{} a level, the geometric one to 0.01.\n",
      scale, levels_, steps_, gradients_, levels_);
}

Report Functions::run(Grid& grid, const std::filesystem::path& folder) {
  const std::vector<Cell> all = cells();
  const std::vector<Results> results = grid.run("cells", all);
  Findings findings{heading(), functions_, profiling_, seeds_, dimension_, sgd_delta_, sgd_rate_, {}};
  for (size_t i = 0; i < all.size(); ++i) findings.results[all[i].key] = results[i];
  write_files(findings, folder);
  return report_of(findings);
}

// As measured on a core of a busy shared machine: quadratures of the two functions without forms, and descents by
// sampled gradients and by differences; the rest is little.
double Functions::estimated_seconds() const {
  const double steps = static_cast<double>(levels_ * steps_ * gradients_ * dimension_ * seeds_),
               d = static_cast<double>(dimension_);
  const double points =
      static_cast<double>(static_cast<int64_t>(noises().size() * profiling_.deltas.size()) * profiling_.points);
  const double nice = is("tiny") ? 0 : static_cast<double>(static_cast<int64_t>(noises().size()) * nice_levels_);
  double seconds = 0;
  for (const TestFunction& function : functions_) {
    const std::string of = function.name;
    seconds += 3 * steps * 2e-8;
    if (of == "ackley") seconds += points * 5e-4 + nice * 1.7;
    if (of == "drop_wave") seconds += points * 1.2e-4 + nice * 0.08;
    if (of == "rastrigin") seconds += 2 * steps * d * 6.4e-9;
  }
  return seconds;
}

}  // namespace

std::shared_ptr<Experiment> functions() { return std::make_shared<Functions>(); }

}  // namespace mollify::experiments
