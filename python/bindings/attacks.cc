// Attacks on classifiers.
#include "bindings.h"

#include <mollify/smoothing/attacks/apgd.h>
#include <mollify/smoothing/attacks/attack.h>
#include <mollify/smoothing/attacks/ddn.h>
#include <mollify/smoothing/attacks/fab.h>
#include <mollify/smoothing/attacks/pgd.h>
#include <mollify/smoothing/attacks/square.h>
#include <mollify/smoothing/attacks/suites.h>

#include <nanobind/stl/optional.h>
#include <nanobind/stl/vector.h>

#include "callbacks.h"

using namespace mollify::smoothing;  // for the tables of names
MOLLIFY_CHOICES(Norm, "norm", "'linf', 'l2'", {"linf", Norm::linf}, {"l2", Norm::l2});
MOLLIFY_CHOICES(Objective, "objective", "'cross_entropy', 'margin', 'dlr', 'targeted_margins', 'targeted_dlr'",
                {"cross_entropy", Objective::cross_entropy}, {"margin", Objective::margin}, {"dlr", Objective::dlr},
                {"targeted_margins", Objective::targeted_margins}, {"targeted_dlr", Objective::targeted_dlr});
MOLLIFY_CHOICES(Average, "average", "'log_of_mean', 'mean_of_losses'", {"log_of_mean", Average::log_of_mean},
                {"mean_of_losses", Average::mean_of_losses});

namespace mollify::python {
namespace {

Threat threat_of(double epsilon, Norm norm, const OptionalOperand& lower, const OptionalOperand& upper, int64_t top,
                 bool targeted, uint64_t seed, const OptionalOperand& rows, std::optional<double> noise, int64_t draws,
                 uint64_t noise_seed, Average average, bool fresh, DType dtype) {
  const auto end = [&](const OptionalOperand& one) { return one.given ? one.of(dtype) : Tensor(); };
  Threat threat{.norm = norm,
                .epsilon = epsilon,
                .box = {end(lower), end(upper)},
                .goal = {top, targeted},
                .draws = {},
                .seed = seed,
                .rows = rows.tensor()};
  if (noise)
    threat.draws = NoiseDraws{.noise = {*noise, noise_seed}, .count = draws, .average = average, .fresh = fresh};
  return threat;
}

void bind_threat(nb::module_& m) {
  nb::class_<Threat>(m, "Threat", "What an attacker may do, and to what end.")
      .def(
          "__init__",
          [](Threat* self, double epsilon, Norm norm, const OptionalOperand& lower, const OptionalOperand& upper,
             int64_t top, bool targeted, uint64_t seed, const OptionalOperand& rows, std::optional<double> noise,
             int64_t draws, uint64_t noise_seed, Average average, bool fresh, DType dtype) {
            new (self) Threat(threat_of(epsilon, norm, lower, upper, top, targeted, seed, rows, noise, draws,
                                        noise_seed, average, fresh, dtype));
          },
          "epsilon"_a, "norm"_a = Norm::linf, "lower"_a = nb::none(), "upper"_a = nb::none(), "top"_a = 1,
          "targeted"_a = false, "seed"_a = 0, "rows"_a = nb::none(), "noise"_a = nb::none(), "draws"_a = 20,
          "noise_seed"_a = 0, "average"_a = Average::log_of_mean, "fresh"_a = true, "dtype"_a = DType::f32,
          "Radius and norm of the ball; the data's range (numbers are of `dtype`); success: the label is not among the "
          "`top` "
          "largest, or, targeted, the largest. rows: the images' numbers among the data. noise: of a classifier under "
          "N(0, "
          "noise²), attacked through `draws`.")
      .def_prop_ro("epsilon", [](const Threat& t) { return t.epsilon; })
      .def_prop_ro("norm", [](const Threat& t) { return t.norm; });
  nb::class_<Adversarial>(m, "Adversarial", "What an attack found: inputs in ball and box in exact arithmetic.")
      .def_ro("inputs", &Adversarial::inputs)
      .def_ro("success", &Adversarial::success, "u8 [N]")
      .def_ro("margins", &Adversarial::margins, "[N]: how far the goal is reached.")
      .def_ro("distances", &Adversarial::distances, "f64 [N]; NaN without success.");
}

// Of f, x, labels and threat as every attack takes them.
template <class Options>
Adversarial attacked(Adversarial (*attack)(const Function&, const Tensor&, const Tensor&, const Threat&,
                                           const Options&),
                     nb::handle f, const Operand& x, const Operand& labels, const Threat& threat, const Options& how) {
  return compute([&, g = interruptible(tensor_function(f, "attack")), t = x.tensor(), y = labels.tensor()] {
    return attack(g, t, y, threat, how);
  });
}

void bind_single_attacks(nb::module_& m) {
  m.def(
      "fgsm",
      [](nb::callable f, const Operand& x, const Operand& labels, const Threat& threat) {
        return compute([&, g = tensor_function(f, "attack"), t = x.tensor(), y = labels.tensor()] {
          return fgsm(g, t, y, threat);
        });
      },
      "f"_a, "x"_a, "labels"_a, "threat"_a, "One step of length epsilon from x.");
  m.def(
      "pgd",
      [](nb::callable f, const Operand& x, const Operand& labels, const Threat& threat, Objective objective,
         int64_t steps, double step_size, int64_t restarts, int64_t targets, bool random_start, bool stop) {
        return attacked<PgdOptions>(pgd, f, x, labels, threat,
                                    {objective, steps, step_size, restarts, targets, random_start, stop});
      },
      "f"_a, "x"_a, "labels"_a, "threat"_a, "objective"_a = Objective::cross_entropy, "steps"_a = 20,
      "step_size"_a = 0.0, "restarts"_a = 1, "targets"_a = 0, "random_start"_a = true, "stop_at_success"_a = true,
      "Projected gradient descent (Madry et al. 2018).");
  m.def(
      "apgd",
      [](nb::callable f, const Operand& x, const Operand& labels, const Threat& threat, Objective objective,
         int64_t steps, int64_t restarts, int64_t targets, bool stop) {
        return attacked<ApgdOptions>(apgd, f, x, labels, threat, {objective, steps, restarts, targets, stop});
      },
      "f"_a, "x"_a, "labels"_a, "threat"_a, "objective"_a = Objective::cross_entropy, "steps"_a = 100, "restarts"_a = 1,
      "targets"_a = 9, "stop_at_success"_a = true, "Auto-PGD (Croce & Hein 2020).");
  m.def(
      "ddn",
      [](nb::callable f, const Operand& x, const Operand& labels, const Threat& threat, int64_t steps,
         double first_norm, double gamma, int64_t levels) {
        return attacked<DdnOptions>(ddn, f, x, labels, threat, {steps, first_norm, gamma, levels});
      },
      "f"_a, "x"_a, "labels"_a, "threat"_a, "steps"_a = 100, "first_norm"_a = 1.0, "gamma"_a = 0.05, "levels"_a = 0,
      "The nearest input in l2 that is classified wrongly (Rony et al. 2019).");
  m.def(
      "fab",
      [](nb::callable f, const Operand& x, const Operand& labels, const Threat& threat, int64_t steps, int64_t restarts,
         int64_t targets) {
        return attacked<FabOptions>(fab, f, x, labels, threat, {steps, restarts, targets});
      },
      "f"_a, "x"_a, "labels"_a, "threat"_a, "steps"_a = 100, "restarts"_a = 1, "targets"_a = 0,
      "The nearest input by fast adaptive boundary steps.");
  m.def(
      "square_attack",
      [](nb::callable f, const Operand& x, const Operand& labels, const Threat& threat, int64_t queries,
         int64_t restarts, double share) {
        return attacked<SquareOptions>(square_attack, f, x, labels, threat, {queries, restarts, share});
      },
      "f"_a, "x"_a, "labels"_a, "threat"_a, "queries"_a = 5000, "restarts"_a = 1, "share"_a = 0.8,
      "Random search that asks for outputs alone.");
}

void bind_suites(nb::module_& m) {
  m.def("attack_names", attack_names);
  m.def(
      "attack",
      [](const std::string& name, nb::callable f, const Operand& x, const Operand& labels, const Threat& threat,
         std::optional<int64_t> steps, std::optional<int64_t> restarts, std::optional<int64_t> targets,
         std::optional<int64_t> queries) {
        const std::vector<Attack> all =
            attacks_named(name, {.steps = steps, .restarts = restarts, .targets = targets, .queries = queries});
        SequenceResult result = compute([&, g = interruptible(tensor_function(f, "attack")), t = x.tensor(),
                                         y = labels.tensor()] { return in_sequence(all, g, t, y, threat); });
        return nb::make_tuple(result.found, result.broken_by);
      },
      "name"_a, "f"_a, "x"_a, "labels"_a, "threat"_a, "steps"_a = nb::none(), "restarts"_a = nb::none(),
      "targets"_a = nb::none(), "queries"_a = nb::none(),
      "An attack by its name, or a sequence such as 'standard': (Adversarial, which attack broke each row; −1: none).",
      nb::sig("def attack(name: str, f: collections.abc.Callable[[mollify._core.Tensor], mollify._core.Tensor], x: "
              "mollify.typing.TensorLike, labels: mollify.typing.TensorLike, threat: Threat, steps: int | None = None, "
              "restarts: int | None = None, targets: int | None = None, queries: int | None = None) -> "
              "tuple[Adversarial, list[int]]"));
  m.def(
      "attack_warnings",
      [](nb::callable f, const Operand& x, const Operand& labels) {
        return compute([&, g = tensor_function(f, "attack"), t = x.tensor(), y = labels.tensor()] {
          return attack_warnings(g, t, y);
        });
      },
      "f"_a, "x"_a, "labels"_a, "What makes attacks look weaker than they are: a line each.");
  m.def(
      "judged",
      [](nb::callable f, const Operand& x, const Operand& labels, const Operand& points, const Threat& threat) {
        return compute([&, g = tensor_function(f, "attack"), t = x.tensor(), y = labels.tensor(), p = points.tensor()] {
          return judged(g, t, y, p, threat);
        });
      },
      "f"_a, "x"_a, "labels"_a, "points"_a, "threat"_a, "What an attack of one's own found, by the same rules.");
}

}  // namespace

void bind_attacks(nb::module_& m) {
  bind_threat(m);
  bind_single_attacks(m);
  bind_suites(m);
}

}  // namespace mollify::python
