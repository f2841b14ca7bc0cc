// Votes of a classifier under Gaussian noise, and what they prove.
#include "bindings.h"

#include <mollify/smoothing/randomized/noise.h>
#include <mollify/smoothing/randomized/statistics.h>
#include <mollify/smoothing/randomized/votes.h>

#include <nanobind/stl/vector.h>

#include "callbacks.h"

using namespace mollify::smoothing;  // for the tables of names
MOLLIFY_CHOICES(Claim, "claim", "'top_class', 'top_of_two', 'in_top', 'in_set'", {"top_class", Claim::top_class},
                {"top_of_two", Claim::top_of_two}, {"in_top", Claim::in_top}, {"in_set", Claim::in_set});
MOLLIFY_CHOICES(NoiseUse, "use",
                "'selection', 'estimation', 'prediction', 'training', 'attack', 'projection', 'evaluation'",
                {"selection", NoiseUse::selection}, {"estimation", NoiseUse::estimation},
                {"prediction", NoiseUse::prediction}, {"training", NoiseUse::training}, {"attack", NoiseUse::attack},
                {"projection", NoiseUse::projection}, {"evaluation", NoiseUse::evaluation});

namespace mollify::python {
namespace {

NumberedImages numbered(const Operand& images, const OptionalOperand& numbers) {
  const Tensor& rows = images.tensor();
  require(rows.rank() >= 1, "votes: an image without an axis of rows given; needs [N, …]");
  return {rows, numbers.given ? numbers.tensor() : arange(rows.shape()[0], DType::i32, rows.device())};
}

void bind_votes(nb::module_& m) {
  nb::class_<NoisyClassifier>(m, "NoisyClassifier", "g(x) = the class that f most often gives x + σz.")
      .def(
          "__init__",
          [](NoisyClassifier* self, nb::callable f, double sigma, uint64_t seed, int64_t batch) {
            new (self) NoisyClassifier{interruptible(tensor_function(f, "classifier")), {sigma, seed}, batch};
          },
          "f"_a, "sigma"_a, "seed"_a = 0, "batch"_a = 256,
          "f maps rows [B, …] to [B, classes], each apart from the others; batch: noisy rows that it gets at once.")
      .def_prop_ro("sigma", [](const NoisyClassifier& g) { return g.noise.sigma; });
  m.def("captured", captured, "g"_a,
        "The same classifier, whose batches are captured and replayed: for an f that can be.");
  m.def(
      "votes",
      [](const NoisyClassifier& g, const Operand& images, const OptionalOperand& numbers, NoiseUse use, int64_t first,
         int64_t count) {
        const std::vector<Counts> found =
            compute([&, x = numbered(images, numbers)] { return votes(g, x, use, first, count); });
        std::vector<int32_t> all;
        for (const Counts& one : found) all.insert(all.end(), one.begin(), one.end());
        const auto rows = static_cast<int64_t>(found.size());
        return Tensor::from(all, {rows, rows ? static_cast<int64_t>(found[0].size()) : 0});
      },
      "g"_a, "images"_a, "numbers"_a = nb::none(), "use"_a = NoiseUse::evaluation, "first"_a = 0, "count"_a = 100,
      "How many of the draws first … first + count − 1 give each class: i32 [N, classes]. numbers: the images' among "
      "the data.");
  nb::class_<Certificate>(m, "Certificate", "What an image's votes prove.")
      .def_ro("predicted", &Certificate::predicted, "The class; −1: nothing is proven.")
      .def_ro("radius", &Certificate::radius, "In l2; above 0 where something is.")
      .def_ro("successes", &Certificate::successes)
      .def_ro("draws", &Certificate::draws)
      .def_ro("subject", &Certificate::subject, "The class, label or set that it is about.")
      .def("__repr__", [](const Certificate& c) {
        return format("Certificate(predicted={}, radius={}, successes={}, draws={})", c.predicted, c.radius,
                      c.successes, c.draws);
      });
  m.def(
      "certify",
      [](const NoisyClassifier& g, const Operand& images, const OptionalOperand& numbers, const OptionalOperand& labels,
         Claim claim, int64_t k, bool clean_class, int64_t selections, int64_t trials, double alpha, double radius) {
        const CertifyOptions how{claim, k, clean_class, selections, trials, alpha, radius};
        return compute([&, x = numbered(images, numbers), y = labels.tensor()] { return certify(g, x, how, y); });
      },
      "g"_a, "images"_a, "numbers"_a = nb::none(), "labels"_a = nb::none(), "claim"_a = Claim::top_class, "k"_a = 1,
      "clean_class"_a = false, "selections"_a = 100, "trials"_a = 10000, "alpha"_a = 0.001, "radius"_a = 0.0,
      "CERTIFY (Cohen et al. 2019) of every image: wrong with probability alpha at most.");
  m.def(
      "predict",
      [](const NoisyClassifier& g, const Operand& images, const OptionalOperand& numbers, int64_t trials,
         double alpha) {
        const auto found = compute([&, x = numbered(images, numbers)] { return predict(g, x, trials, alpha); });
        nb::list all;
        for (const Prediction& one : found) all.append(nb::make_tuple(one.predicted, one.first, one.second));
        return all;
      },
      "g"_a, "images"_a, "numbers"_a = nb::none(), "trials"_a = 1000, "alpha"_a = 0.001,
      "PREDICT: of every image (class or −1, votes for it, votes for the next).",
      nb::sig("def predict(g: NoisyClassifier, images: mollify.typing.TensorLike, numbers: mollify.typing.TensorLike | "
              "None = None, trials: int = 1000, alpha: float = 0.001) -> list[tuple[int, int, int]]"));
  m.def(
      "gaussian_noise",
      [](const Shape& shape, double sigma, uint64_t seed, const Operand& images, const Operand& draws, NoiseUse use,
         DType dtype) {
        return compute([&, i = images.tensor(), d = draws.of(DType::i32)] {
          return gaussian_noise(shape, {sigma, seed}, use, i, d, dtype);
        });
      },
      "shape"_a, "sigma"_a, "seed"_a, "images"_a, "draws"_a, "use"_a = NoiseUse::evaluation, "dtype"_a = DType::f32,
      "Row r is number draws[r] for image images[r], both i32.");
}

void bind_statistics(nb::module_& m) {
  m.def("clopper_pearson_lower", clopper_pearson_lower, "successes"_a, "trials"_a, "alpha"_a);
  m.def("clopper_pearson_upper", clopper_pearson_upper, "successes"_a, "trials"_a, "alpha"_a);
  m.def("equal_shares_p_value", equal_shares_p_value, "first"_a, "second"_a);
  m.def("fewest_predicting_draws", fewest_predicting_draws, "alpha"_a);
  m.def("certified_radius", certified_radius, "lower"_a, "sigma"_a, "σ·Φ⁻¹(p)");
  m.def("certified_radius_of_two", certified_radius_of_two, "lower"_a, "runner_up_upper"_a, "sigma"_a);
  m.def("certified_radius_in_top", certified_radius_in_top, "lower"_a, "k"_a, "sigma"_a);
  m.def("largest_certified_radius", largest_certified_radius, "trials"_a, "alpha"_a, "sigma"_a);
  m.def("average_radius", average_radius, "label"_a, "other"_a, "sigma"_a);
  m.def("tighter_average_radius", tighter_average_radius, "label"_a, "other"_a, "sigma"_a);
}

}  // namespace

void bind_randomized(nb::module_& m) {
  bind_votes(m);
  bind_statistics(m);
}

}  // namespace mollify::python
