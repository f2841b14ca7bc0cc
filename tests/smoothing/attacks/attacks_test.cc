// What holds of every attack, and what each finds where the answer is known.
#include <mollify/engine/cpu/threads.h>
#include <mollify/engine/grad.h>
#include <mollify/smoothing/attacks/suites.h>

#include "../../errors.h"
#include "attacked.h"

namespace mollify::smoothing {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

// Short ones of every kind.
AttackOptions brief() { return {.steps = 8, .restarts = 2, .targets = 2, .queries = 30}; }
const char* const kSingle[] = {"fgsm", "pgd", "ddn", "apgd-ce", "apgd-dlr", "apgd-t", "fab", "fab-t", "square"};

bool goes_with(const std::string& name, Norm norm) { return norm == Norm::l2 || name != "ddn"; }
Adversarial run(const std::string& name, const Images& on, const Threat& threat, const AttackOptions& how = brief()) {
  return attacks_named(name, how)[0].run(on.f, on.x, on.labels, threat);
}
int64_t count(const Tensor& truths) { return static_cast<int64_t>(sum(cast(truths, DType::f64)).item()); }

// Of a linear classifier of two classes o_1 − o_0 = w·x + b, how far x is from the other class within the box: z(t) =
// clip(x − t·dir) reaches the plane at a t that bisection finds, dir being w (l2) or its signs (linf).
double distance_in_box(const std::vector<double>& x, const std::vector<double>& w, double b, Norm norm, double low,
                       double high) {
  double value = b;
  for (size_t i = 0; i < x.size(); ++i) value += w[i] * x[i];
  const auto at = [&](double t) {
    std::vector<double> z(x.size());
    for (size_t i = 0; i < x.size(); ++i) {
      const double dir = norm == Norm::l2 ? w[i] : w[i] > 0 ? 1.0 : w[i] < 0 ? -1.0 : 0.0;
      z[i] = std::clamp(x[i] - (value > 0 ? t : -t) * dir, low, high);
    }
    return z;
  };
  const auto rest = [&](double t) {
    double sum = b;
    const std::vector<double> z = at(t);
    for (size_t i = 0; i < x.size(); ++i) sum += w[i] * z[i];
    return value > 0 ? sum : -sum;
  };
  double less = 0, more = 1e3;
  if (rest(more) > 0) return kInfinity;
  for (int i = 0; i < 200; ++i) (rest((less + more) / 2) > 0 ? less : more) = (less + more) / 2;
  const std::vector<double> z = at(more);
  double squares = 0, largest = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    squares += (z[i] - x[i]) * (z[i] - x[i]);
    largest = std::max(largest, std::abs(z[i] - x[i]));
  }
  return norm == Norm::l2 ? std::sqrt(squares) : largest;
}

TEST(Attacks, StayInBallAndBoxAndSayWhatTheyFound) {
  for (const DType dtype : {DType::f32, DType::f64}) {
    const Images images(dtype, 6);
    for (const Norm norm : {Norm::linf, Norm::l2})
      for (const double epsilon : {0.0, 1e-9, 8.0 / 255, 0.3, 3.0})
        for (const Box& box : {Box{}, unit_box(dtype)})
          for (const std::string name : kSingle) {
            if (!goes_with(name, norm)) continue;
            SCOPED_TRACE(format("{}, norm {}, epsilon {}", name, static_cast<int>(norm), epsilon));
            const Adversarial found = run(name, images, {.norm = norm, .epsilon = epsilon, .box = box});
            ASSERT_EQ(found.inputs.shape(), images.x.shape());
            ASSERT_EQ(found.inputs.dtype(), dtype);
            expect_within(images.x, found.inputs, norm, epsilon, box.lower.defined());
            const Tensor outputs = images.f(found.inputs), own = one_hot(images.labels, 5, dtype);
            const Tensor margins = max(outputs - own * 1e9, {1}) - sum(outputs * own, {1});
            EXPECT_LT(max(abs(margins - found.margins)).item(), dtype == DType::f32 ? 1e-4 : 1e-12);
            EXPECT_EQ(numbers(found.success), numbers(found.margins >= 0.0));
            const Tensor moved = reshape(cast(found.inputs, DType::f64) - cast(images.x, DType::f64), {6, 64});
            const std::vector<double> distances = numbers(found.distances), success = numbers(found.success),
                                      exact =
                                          numbers(norm == Norm::l2 ? mollify::norm(moved, {1}) : max(abs(moved), {1}));
            for (size_t i = 0; i < 6; ++i) {
              if (success[i] != 0)
                EXPECT_NEAR(distances[i], exact[i], 1e-12);
              else
                EXPECT_TRUE(std::isnan(distances[i])) << "no distance of what is not broken";
            }
          }
  }
}

TEST(Attacks, WithoutABallToMoveInLeaveCleanAccuracy) {
  const Images images(DType::f32);
  const Tensor labels = where(arange(12, DType::i32) < 4.0, images.labels,
                              (images.labels + Tensor::scalar(1, DType::i32)) * cast(images.labels < 4.0, DType::i32));
  for (const std::string name : kSingle) {
    const Adversarial found = attacks_named(name, brief())[0].run(images.f, images.x, labels, {.norm = Norm::l2});
    EXPECT_EQ(numbers(found.success), numbers(not_equal(argmax(images.f(images.x)), labels))) << name;
    EXPECT_EQ(found.inputs.to_vector<float>(), images.x.to_vector<float>()) << name;
  }
}

// Distances to the other class, with a box around and without; the attack starts at neither.
TEST(Attacks, ThatLookForTheNearestPointFindItOfLinearClassifiers) {
  const int64_t rows = 20, d = 30;
  const Tensor w = normals({d}, 7), weight = stack(Tensors{zeros_like(w), w});
  const Tensor bias = list({0, -0.2 * sum(w).item()}), x = uniforms({rows, d}, 9);
  const Function f = linear(weight, bias);
  const Tensor labels = argmax(f(x));
  for (const bool boxed : {false, true})
    for (const auto& [name, norm] :
         {std::pair{"ddn", Norm::l2}, {"fab", Norm::l2}, {"fab", Norm::linf}, {"fab-t", Norm::l2}}) {
      const Threat threat{.norm = norm, .epsilon = kInfinity, .box = boxed ? unit_box(DType::f64) : Box{}};
      const Adversarial found = attacks_named(name)[0].run(f, x, labels, threat);
      const std::vector<double> distances = numbers(found.distances);
      for (int64_t i = 0; i < rows; ++i) {
        const double exact = distance_in_box(numbers(x[i]), numbers(w), bias.to_vector<double>()[1], norm,
                                             boxed ? 0 : -1e9, boxed ? 1 : 1e9);
        const double got = distances[static_cast<size_t>(i)];
        EXPECT_GE(got, exact * (1 - 1e-9)) << name;
        EXPECT_LE(got, exact * 1.01) << name << (boxed ? " in the box" : "") << ", row " << i;
      }
    }
}

TEST(Attacks, WithManyClassesFindTheNearestBoundary) {
  const int64_t rows = 15, d = 12, classes = 6;
  const Tensor weight = normals({classes, d}, 17), bias = normals({classes}, 18), x = normals({rows, d}, 19);
  const Function f = linear(weight, bias);
  const Tensor labels = argmax(f(x));
  const Tensor w =
      expand(reshape(weight, {1, classes, d}), {rows, classes, d}) - reshape(take(weight, labels), {rows, 1, d});
  const Tensor outputs = f(x), gap = gather(outputs, reshape(labels, {rows, 1})) - outputs;
  for (const Norm norm : {Norm::l2, Norm::linf}) {
    const Tensor slope = norm == Norm::l2 ? sqrt(sum(square(w), {2})) : sum(abs(w), {2});
    const Tensor own = one_hot(labels, classes, DType::f64);
    const std::vector<double> exact = numbers(min(gap / (slope + own) + own * 1e9, {1}));
    for (const std::string name : {"fab", "fab-t", "ddn"}) {
      if (!goes_with(name, norm)) continue;
      const Adversarial found = attacks_named(name)[0].run(f, x, labels, {.norm = norm, .epsilon = kInfinity});
      const std::vector<double> distances = numbers(found.distances);
      for (size_t i = 0; i < distances.size(); ++i) {
        EXPECT_GE(distances[i], exact[i] * (1 - 1e-9));
        if (name != "ddn")  // whose gradient may lead to another class
        {
          EXPECT_LE(distances[i], exact[i] * 1.01) << name << ", row " << i;
        }
      }
    }
    // In a ball: what is beyond is broken, and nothing nearer.
    const double epsilon = exact[7];
    for (const std::string name : {"apgd-t", "apgd-dlr", "fab", "standard"})
      for (const double share : {0.98, 1.02}) {
        const Threat threat{.norm = norm, .epsilon = epsilon * share};
        const Adversarial found = in_sequence(attacks_named(name, {.queries = 50}), f, x, labels, threat).found;
        const std::vector<double> success = numbers(found.success);
        for (size_t i = 0; i < success.size(); ++i) {
          if (exact[i] > epsilon * share * (1 + 1e-9)) { EXPECT_EQ(success[i], 0) << name << i; }
          if (exact[i] < epsilon * share * 0.99) { EXPECT_EQ(success[i], 1) << name << i; }
        }
      }
  }
}

TEST(Attacks, RowsDependNeitherOnOthersNorOnThreads) {
  const Images images(DType::f32, 7);
  const int threads = num_threads();
  for (const Norm norm : {Norm::linf, Norm::l2})
    for (const bool noisy : {false, true})
      for (const std::string name : kSingle) {
        if (!goes_with(name, norm)) continue;
        Threat threat{
            .norm = norm, .epsilon = norm == Norm::linf ? 0.06 : 0.5, .box = unit_box(DType::f32), .seed = 11};
        if (noisy) threat.draws = NoiseDraws{{.sigma = 0.1, .seed = 3}, 2};
        const auto attack = [&](const std::vector<int32_t>& rows) {
          const Tensor list = Tensor::from(rows, {static_cast<int64_t>(rows.size())});
          threat.rows = list;
          return attacks_named(name, {.steps = 4, .restarts = 2, .targets = 2, .queries = 10})[0].run(
              images.f, take(images.x, list), take(images.labels, list), threat);
        };
        const Adversarial together = attack({0, 1, 2, 3, 4, 5, 6});
        set_num_threads(threads == 1 ? 2 : 1);
        EXPECT_EQ(together.inputs.to_vector<float>(), attack({0, 1, 2, 3, 4, 5, 6}).inputs.to_vector<float>()) << name;
        set_num_threads(threads);
        for (const int32_t i : {0, 3, 6}) {
          const Adversarial alone = attack({i});
          EXPECT_EQ(alone.inputs.to_vector<float>(), together.inputs[i].to_vector<float>()) << name << ", row " << i;
          EXPECT_EQ(alone.margins.item(), together.margins[i].item()) << name << ", row " << i;
        }
      }
}

TEST(Attacks, InSequenceAreNeverWeakerThanOneOfThem) {
  const Images images(DType::f32, 24);
  for (const Norm norm : {Norm::linf, Norm::l2})
    for (const std::string suite : {"standard", "plus"}) {
      const Threat threat{.norm = norm, .epsilon = norm == Norm::linf ? 0.02 : 0.2, .box = unit_box(DType::f32)};
      const std::vector<Attack> attacks = attacks_named(suite, {.steps = 6, .targets = 2, .queries = 20});
      const SequenceResult all = in_sequence(attacks, images.f, images.x, images.labels, threat);
      const std::vector<double> success = numbers(all.found.success);
      for (size_t number = 0; number < attacks.size(); ++number) {
        const std::vector<double> one = numbers(attacks[number].run(images.f, images.x, images.labels, threat).success);
        for (size_t i = 0; i < one.size(); ++i) {
          EXPECT_LE(one[i], success[i]) << attacks[number].name;
          if (all.broken_by[i] == static_cast<int32_t>(number)) { EXPECT_EQ(one[i], 1); }
          if (one[i] == 1) { EXPECT_LE(all.broken_by[i], static_cast<int32_t>(number)); }
        }
      }
      expect_within(images.x, all.found.inputs, norm, threat.epsilon, true);
      EXPECT_TRUE(count(all.found.success) > 0 && count(all.found.success) < 24) << "the test needs both kinds";
    }
}

// The label leaves the k largest outputs, or the target becomes the largest: exact distances are those of the k-th
// boundary only where one class is to be passed, so that what is checked is the claim itself.
TEST(Attacks, ReachTheGoalThatTheyAreGiven) {
  const Images images(DType::f64, 10);
  const Tensor targets = where(images.labels < 2.0, full({10}, 3, DType::i32), zeros({10}, DType::i32));
  for (const std::string name : kSingle)
    for (const Goal& goal : {Goal{.top = 2}, Goal{.top = 1, .targeted = true}}) {
      const Threat threat{.norm = Norm::l2, .epsilon = 1.5, .box = unit_box(DType::f64), .goal = goal};
      const Tensor& labels = goal.targeted ? targets : images.labels;
      const Adversarial found =
          attacks_named(name, {.steps = 30, .restarts = 1, .queries = 200})[0].run(images.f, images.x, labels, threat);
      const Tensor outputs = images.f(found.inputs);
      const std::vector<int32_t> order = top_k(outputs, 5).indices.to_vector<int32_t>(),
                                 wanted = labels.to_vector<int32_t>();
      const std::vector<double> success = numbers(found.success);
      for (size_t i = 0; i < 10; ++i) {
        const bool among = order[5 * i] == wanted[i] || (!goal.targeted && order[5 * i + 1] == wanted[i]);
        EXPECT_EQ(success[i] == 1, goal.targeted ? among : !among) << name << ", row " << i;
      }
      if (name != "square" && name != "fgsm") { EXPECT_GT(count(found.success), 0) << name; }
    }
}

// Under noise the margins are those of mean probabilities of draws that no search saw.
TEST(Attacks, UnderNoiseCountByDrawsOfTheirOwn) {
  const Images images(DType::f64, 5);
  const int64_t draws = 3;
  for (const Average average : {Average::log_of_mean, Average::mean_of_losses})
    for (const bool fresh : {false, true})
      for (const std::string name : {"pgd", "apgd-ce", "ddn", "fab", "square"}) {
        const Threat threat{.norm = Norm::l2,
                            .epsilon = 0.4,
                            .box = unit_box(DType::f64),
                            .draws = NoiseDraws{{.sigma = 0.25, .seed = 5}, draws, average, fresh}};
        const Adversarial found = run(name, images, threat);
        Tensor mean;
        for (int64_t j = 0; j < draws; ++j) {
          const Tensor number = Tensor::scalar(static_cast<double>((int64_t{1} << 30) + j), DType::i32);
          const Tensor z =
              gaussian_noise(images.x.shape(), {0.25, 5}, NoiseUse::attack, arange(5, DType::i32), number, DType::f64);
          const Tensor p = softmax(images.f(found.inputs + z)) / static_cast<double>(draws);
          mean = j == 0 ? p : mean + p;
        }
        const Tensor own = one_hot(images.labels, 5, DType::f64), scores = log(mean);
        const Tensor margins = max(scores - own * 1e9, {1}) - sum(scores * own, {1});
        EXPECT_LT(max(abs(margins - found.margins)).item(), 1e-9) << name;
        EXPECT_EQ(numbers(found.success), numbers(found.margins >= 0.0));
      }
}

// The two averages differ, and each is climbed by its own gradient: a step of FGSM from x follows the signs that
// finite differences of the averaged loss over the same draws have.
TEST(Attacks, ClimbTheAverageThatTheyAreAskedFor) {
  const Images images(DType::f64, 1);
  const int64_t draws = 4;
  for (const Average average : {Average::log_of_mean, Average::mean_of_losses}) {
    const auto loss = [&](const Tensor& x) {
      Tensor mean_probability, mean_loss;
      for (int64_t j = 0; j < draws; ++j) {
        const Tensor z = gaussian_noise(x.shape(), {0.5, 5}, NoiseUse::attack, arange(1, DType::i32),
                                        Tensor::scalar(static_cast<double>(j), DType::i32), DType::f64);
        const Tensor outputs = images.f(x + z);
        const Tensor p = flatten(gather(softmax(outputs), reshape(images.labels, {1, 1})));
        mean_probability = j == 0 ? p : mean_probability + p;
        mean_loss = j == 0 ? -log(p) : mean_loss - log(p);
      }
      return average == Average::mean_of_losses ? mean_loss.item() / draws : -std::log(mean_probability.item() / draws);
    };
    const double epsilon = 1e-3;
    const Adversarial found =
        attacks_named("fgsm")[0].run(images.f, images.x, images.labels,
                                     {.norm = Norm::l2,
                                      .epsilon = epsilon,
                                      .draws = NoiseDraws{{.sigma = 0.5, .seed = 5}, draws, average, /*fresh=*/false}});
    const Tensor step = found.inputs - images.x;
    std::vector<double> differences(64);
    for (int64_t i = 0; i < 64; ++i) {
      const Tensor unit = reshape(
          one_hot(Tensor::from(std::vector<int32_t>{static_cast<int32_t>(i)}, {1}), 64, DType::f64), images.x.shape());
      differences[static_cast<size_t>(i)] = (loss(images.x + unit * 1e-5) - loss(images.x - unit * 1e-5)) / 2e-5;
    }
    const Tensor gradient = reshape(list(differences), images.x.shape());
    const double cosine = (sum(gradient * step) / (norm(gradient) * norm(step))).item();
    EXPECT_GT(cosine, 1 - 1e-6) << static_cast<int>(average);
  }
}

TEST(Attacks, WarnOfWhatMakesThemLookWeak) {
  const Images images(DType::f32);
  EXPECT_TRUE(attack_warnings(images.f, images.x, images.labels).empty());
  const auto warning = [&](const Function& f) {
    const auto all = attack_warnings(f, images.x, images.labels);
    return all.empty() ? "" : all[0];
  };
  int calls = 0;
  expect_names(warning([&](const Tensor& x) { return images.f(x) + static_cast<double>(++calls); }), "change");
  expect_names(warning([&](const Tensor& x) { return softmax(images.f(x)); }), "probabilities");
  expect_names(warning([&](const Tensor& x) { return sign(images.f(x)) * 3.0; }), "no gradient at 12 of 12");
}

TEST(Attacks, NameWhatTheyCannotUse) {
  const Images images(DType::f32, 2);
  const auto fault = [&](const std::string& name, const Threat& threat, const AttackOptions& how = brief()) {
    return text_of([&] { run(name, images, threat, how); });
  };
  expect_names(fault("ddn", {.epsilon = 1}), "ddn is of l2 alone");
  expect_names(fault("apgd-ce", {.epsilon = kInfinity}), "epsilon inf");
  expect_names(fault("square", {.epsilon = kInfinity}), "epsilon inf");
  expect_names(fault("pgd", {.epsilon = 0.1, .goal = {.top = 5}}), "top 5 of 5 classes");
  expect_names(fault("pgd", {.epsilon = 0.1, .goal = {.top = 2, .targeted = true}}), "top 2");
  expect_names(fault("pgd", {.epsilon = 0.1, .draws = NoiseDraws{{.sigma = 0.1}, 0}}), "0 draws of noise");
  expect_names(fault("pgd", {.epsilon = 0.1, .draws = NoiseDraws{{.sigma = -1}, 2}}), "-1");
  expect_names(fault("apgd-ce", {.epsilon = 0.1}, {.steps = 0}), "steps 0");
  expect_names(fault("fab", {.epsilon = 0.1}, {.restarts = 0}), "restarts 0");
  expect_names(fault("ddn", {.norm = Norm::l2, .epsilon = 1}, {.levels = 255}), "255 levels without a box");
  expect_names(text_of([] { attacks_named("autoattack"); }), "'autoattack' given");
  const Function two = linear(ones({2, 64}), {});
  expect_names(text_of([&] {
                 attacks_named("apgd-dlr")[0].run(two, ones({1, 64}), zeros({1}, DType::i32), {.epsilon = 1});
               }),
               "2 classes; this objective needs at least 3");
}

}  // namespace
}  // namespace mollify::smoothing
