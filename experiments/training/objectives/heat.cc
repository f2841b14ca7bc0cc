// HeatSmoothing (Campbell, Finlay & Oberman 2020, algorithm 1): a network that is an average of its teacher over
// Gaussian noise, without any noise: v minimises E ½‖v − f‖² + c·‖∇v‖², an implicit step of the heat equation. A step
// of time h diffuses by σ²h; it needs c = hσ²/4, and the paper's is λ·hσ²/2: λ = ½ averages over σ, λ over
// σ√(2λ).
//
// The gradient's squared norm is a mean over projections w of (w·v(x + δl) − w·v(x))²/δ², l being the unit direction of
// ∇(w·v) at x, which counts as constant: O(δ) too small or large.
#include <mollify/experiments/training/objectives/noisy.h>

#include <mollify/engine/grad.h>
#include <mollify/engine/node.h>
#include <mollify/engine/ops.h>
#include <mollify/experiments/training/settings.h>
#include <mollify/nn/weights_file.h>
#include <mollify/smoothing/randomized/noise.h>

#include <cmath>

namespace mollify::experiments {
namespace {

class Heat final : public NoisyObjective {
 public:
  Heat() : NoisyObjective("heat", 1, {200, 100, 0.1, 0, {0.3, 0.6, 0.8}, 0.2}) {}

  Options options() override {
    Options all = NoisyObjective::options();
    add(all,
        {{{"teacher", "Objective", "heat: weights (.safetensors) of the network whose average is trained", ""},
          &teacher_file_,
          {}},
         {{"heat-rounds", "Objective",
           "runs of --epochs each, one after the other, whose teacher is the last one's network", nullptr},
          &rounds_,
          at_least(1)},
         {{"heat-time", "Objective", "time step of a round; all of them together make 1", "1/rounds"},
          &time_,
          Rule{.low = 0, .high = 1, .above_low = true}},
         {{"heat-student", "Objective", "how a round starts: from initial weights, or from its teacher's", nullptr},
          &student_,
          one_of({"fresh", "warm"})},
         {{"heat-lambda", "Objective",
           "weight of the gradient's penalty; 0.5 averages over --noise, and L over the square root of 2L times it",
           nullptr},
          &lambda_,
          above(0)},
         {{"heat-projections", "Objective",
           "whose gradients are penalised: standard normal ones (unbiased), the paper's (their sum over the classes' "
           "number), or every class's own (exact)",
           nullptr},
          &projections_,
          one_of({"gaussian", "paper", "basis"})},
         {{"heat-repeats", "Objective", "projections a step", nullptr}, &repeats_, at_least(1)},
         {{"heat-delta", "Objective", "length of the finite difference, of pixels from 0 to 1", nullptr},
          &delta_,
          above(0)},
         {{"heat-distance", "Objective", "to the teacher: squared, or the divergence of probabilities", nullptr},
          &distance_,
          one_of({"squared", "kl"})},
         {{"heat-outputs", "Objective", "what is averaged", nullptr}, &outputs_, one_of({"logits", "probabilities"})}});
    add(all, attack_options(epsilon_, steps_));
    return all;
  }
  void resolve(RunOptions& run) override {
    NoisyObjective::resolve(run);
    require<UsageError>(!teacher_file_.empty(),
                        "mollify train: --teacher: not given; --objective heat averages a network that there is");
    if (time_ == 0) time_ = 1 / static_cast<double>(rounds_);
    require<UsageError>(draws() == 1, "mollify train: --noise-draws: {} given; heat has no draws", draws());
  }
  std::string about() const override {
    return format("objective heat, noise {} of pixels from 0 to 1: the average of {} with lambda {}, time step {}",
                  sigma(), teacher_file_, lambda_, time_);
  }
  std::string tag() const override { return format("heat-{}-{}", sigma(), lambda_); }
  std::vector<std::string> terms() const override { return {"distance", "squared_gradient"}; }
  const char* uncaptured() const override { return epsilon_ > 0 ? "attacks run as they are, without capture" : ""; }

  int64_t rounds() const override { return rounds_; }
  std::map<std::string, std::string> round_options(const std::string& weights) const override {
    return {{"heat-rounds", "1"},
            {"heat-time", format("{}", time_)},
            {"teacher", weights.empty() ? teacher_file_ : weights}};
  }

  void prepare(const Setting& setting) override {
    NoisyObjective::prepare(setting);
    const nn::Loaded loaded = nn::load(teacher_file_, setting.network);
    teacher_ = {to(loaded.weights, setting.device), to(loaded.state, setting.device)};
  }
  std::optional<Start> start() const override { return student_ == "warm" ? std::optional(teacher_) : std::nullopt; }
  std::optional<double> noise() const override { return std::nullopt; }  // it needs none

  void advance(int64_t step) override { step_ = step; }
  Tensors inputs(const Tensor& weights, const Tensor& state, const Sample& sample) const override {
    if (epsilon_ == 0) return Objective::inputs(weights, state, sample);
    return {attacked(weights, state, sample, {.epsilon = epsilon_, .seed = seed_of(step_)}, Attacker::pgd, steps_),
            sample.labels, sample.indices};
  }

  Result operator()(const Tensor& weights, const Tensor& state, const Tensors& inputs,
                    const Tensor& number) const override {
    const NoGrad recording(/*record=*/true);  // directions are gradients, whoever asks for the loss
    const auto student = [&](const Tensor& x) { return train_mode(weights, state, x, number); };
    const Tensor x = variable(inputs[0]);
    const nn::Network::Result at_x = student(x);
    const Tensor of_teacher = teacher_outputs(inputs[0]), v = averaged(at_x.output);
    const Tensor distance = mean(distance_ == "kl" ? divergence(of_teacher, at_x.output)
                                                   : sum(square(v - averaged(of_teacher)), {1}) * 0.5);
    Tensor penalty = zeros({v.dim(0)}, v.dtype(), v.device());
    const int64_t count = projections_ == "basis" ? v.dim(1) : repeats_;
    for (int64_t i = 0; i < count; ++i) {
      const Tensor w = projection(v, inputs[2], number, i);
      const auto along = [&](const Tensor& y) { return sum(w * averaged(y), {1}); };
      const Tensor from = along(at_x.output);
      const Tensor ahead = along(student(inputs[0] + direction(from, x) * delta_).output);
      penalty = penalty + square((ahead - from) / delta_);
    }
    if (projections_ == "gaussian") penalty = penalty / static_cast<double>(count);
    if (projections_ == "paper") penalty = penalty / static_cast<double>(v.dim(1));
    const Tensor squared_gradient = mean(penalty);
    const double weight = lambda_ * time_ * sigma() * sigma() / 2;
    return result(distance + squared_gradient * weight, at_x, {distance, squared_gradient});
  }

 private:
  Tensor averaged(const Tensor& outputs) const { return outputs_ == "logits" ? outputs : softmax(outputs); }

  Tensor teacher_outputs(const Tensor& images) const {
    const NoGrad quiet;
    return setting().network(teacher_.weights, teacher_.state, images.detach(), nn::Mode::evaluate).output;
  }

  static Tensor divergence(const Tensor& teacher, const Tensor& student) {
    const Tensor log_p = log_softmax(teacher);
    return sum(exp(log_p) * (log_p - log_softmax(student)), {1});
  }

  Tensor projection(const Tensor& v, const Tensor& indices, const Tensor& number, int64_t i) const {
    if (projections_ == "basis")
      return expand(reshape(one_hot(reshape(whole(i), {1}), v.dim(1), v.dtype()), {1, v.dim(1)}), v.shape());
    return smoothing::gaussian_noise(v.shape(), {1, setting().seed}, smoothing::NoiseUse::projection, indices,
                                     number * whole(repeats_) + whole(i), v.dtype());
  }

  // Along the gradient of each row's number, a constant.
  Tensor direction(const Tensor& along, const Tensor& x) const {
    const Tensor gradient =
        vjp_of(Tensors{along}, Tensors{ones_like(along).detach()}, Tensors{x}, /*create_graph=*/false)[0].detach();
    return unit_way(gradient).detach();
  }

  std::string teacher_file_, student_ = "fresh", projections_ = "gaussian", distance_ = "squared", outputs_ = "logits";
  int64_t rounds_ = 5, repeats_ = 10, steps_ = 4, step_ = 0;
  double lambda_ = 5, time_ = 0, delta_ = 0.1, epsilon_ = 0;
  Start teacher_;
};

}  // namespace

std::unique_ptr<Objective> heat_objective() { return std::make_unique<Heat>(); }

}  // namespace mollify::experiments
