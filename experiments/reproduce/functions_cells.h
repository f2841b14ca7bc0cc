// What cells of the experiment functions compute: smoothed test functions, their niceness, graduated optimisation of
// them.
#pragma once

#include <mollify/experiments/reproduce/results.h>
#include <mollify/smoothing/smoothed_functions.h>

#include <string>
#include <vector>

namespace mollify::experiments::functions_study {

using smoothing::SmoothedFunction;
using smoothing::TestFunction;

struct NamedNoise {
  std::string name;
  smoothing::CoordinateNoise noise;
  bool centred;

  bool heavy() const { return std::isfinite(noise.tail_index()); }
};
std::vector<NamedNoise> noises();  // the seven as published, then the centred ones of light tails

inline bool is_of_one_number(const TestFunction& function) { return function.dimension == 1; }

// On [−5, 5], where the authors' demonstration looks.
struct Profiling {
  std::vector<double> deltas;  // rising, above 0
  int64_t points, samples;     // of a profile; draws of a mean
};
std::vector<double> profile_points(const Profiling& how);
inline std::string profile_name(double delta) { return format("profile {}", delta); }

// way, as SmoothedFunction::Way; form_error, the largest |form − quadrature| over 1 + |value|; sampled_errors, the
// largest distance of a sampled mean in its standard errors; distance, the largest |f_δ − f|/(δL) for functions with a
// Lipschitz constant L. Series over δ = 0 and deltas: minima, local ones; a profile for each. Where f_δ is infinite:
// few and many, means of `samples` draws and of 100 times as many.
Results smoothed(const SmoothedFunction& f, const Profiling& how);

// Series over levels of δ: delta, minimiser, step (NaN for the last), curvature, nice. And edges: δ where f_δ begins or
// ceases not to be strictly convex within 3δ of its minimiser, between the first and the last level; for functions
// with a form.
std::vector<double> nice_deltas(int64_t levels);  // from 2, by 1/√2
Results nice_levels(const SmoothedFunction& f, const std::vector<double>& deltas);

struct Descent {
  const char *name, *title;
  enum class Gradients { form, sampled, differences, own } gradients;  // own: of f itself
  enum class Course { published, geometric } course;                   // of s; published: linear from 1
  double first = 1;
};
const std::vector<Descent>& descents();

struct Setting {
  const TestFunction* function;
  double rate;  // learning rate over s, as published
  int64_t dimension, levels, steps, samples;
};
inline constexpr int64_t kPublishedLevels = 51;
bool has_form(const TestFunction& function);
// value and distance, of the end from the minimiser; values and gradients, evaluations in all. Series over levels: s,
// best, the value at its end.
Results descend(const Descent& how, const Setting& setting, uint64_t seed);

// SGD on Rastrigin's function of one number with centred Gaussian noise of degree δ, beside descent on f_δ at the same
// rate from the same starts: the root mean square of y = x − η∇f(x) and of the other's points, over `chains`, by step.
Results sgd_beside_descent(double delta, double rate, int64_t chains, int64_t steps);

}  // namespace mollify::experiments::functions_study
