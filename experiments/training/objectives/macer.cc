// Certified radii made larger (MACER, Zhai et al. 2020): −log of the label's mean probability over draws, plus
// λ·(σ/2)·max(γ − (Φ⁻¹(q₁) − Φ⁻¹(q₂)), 0)-like terms of images that are right, q₁ ≥ q₂ being the two largest mean
// probabilities of β times the outputs. As in the authors' code a term counts only where |Φ⁻¹(q₂) − Φ⁻¹(q₁)| ≤ γ.
#include <mollify/experiments/training/objectives/noisy.h>

#include <mollify/engine/ops.h>

namespace mollify::experiments {
namespace {

class Macer final : public NoisyObjective {
 public:
  Macer() : NoisyObjective("macer", 16, {440, 64, 0.01, 1e-4, {200.0 / 440, 400.0 / 440}, 0.1}) {}

  Options options() override {
    Options all = NoisyObjective::options();
    add(all,
        {{{"macer-lambda", "Objective", "weight of macer's robustness", nullptr}, &lambda_, at_least(0)},
         {{"macer-gamma", "Objective", "margin between macer's Gaussian quantiles beyond which nothing is gained",
           nullptr},
          &gamma_,
          above(0)},
         {{"macer-beta", "Objective", "factor on the outputs before macer's quantiles", nullptr}, &beta_, above(0)}});
    return all;
  }
  std::vector<std::string> terms() const override { return {"cross_entropy", "robustness"}; }

  Result operator()(const Tensor& weights, const Tensor& state, const Tensors& inputs,
                    const Tensor& number) const override {
    const auto found = train_mode(weights, state, noisy(inputs[0], inputs[2], number), number);
    const Tensor outputs = by_draw(found.output), labels = reshape(inputs[1], {inputs[1].size(), 1});
    const Tensor mean_softmax = mollify::mean(softmax(outputs), {0});
    const Tensor natural = -mean(log(gather(mean_softmax, labels) + 1e-10));
    const Tensor robustness = mean(gains(outputs, labels));
    return result(natural + robustness * lambda_, found, {natural, robustness});
  }

 private:
  // (σ/2)·(Φ⁻¹(q₂) − Φ⁻¹(q₁) + γ) of images that count, else 0, [B, 1].
  Tensor gains(const Tensor& outputs, const Tensor& labels) const {
    const ValuesAndIndices two = top_k(mollify::mean(softmax(outputs * beta_), {0}), 2);
    const auto place = [&](const Tensor& t, int64_t i) { return slice(t, 1, i, i + 1); };
    const Tensor first = place(two.values, 0), second = place(two.values, 1);
    const Tensor gap = normal_quantile(second.detach()) - normal_quantile(first.detach());
    const Tensor counts =
        logical_and(equal(place(two.indices, 0), labels), less_equal(abs(gap), Tensor::scalar(gamma_, gap.dtype())));
    const auto quantile = [&](const Tensor& q) {  // without infinite derivatives of what does not count
      return normal_quantile(where(counts, q, Tensor::scalar(0.5, q.dtype())));
    };
    const Tensor gain = (quantile(second) - quantile(first) + gamma_) * (sigma() / 2);
    return where(counts, gain, zeros_like(gain));
  }

  double lambda_ = 12, gamma_ = 8, beta_ = 16;
};

}  // namespace

std::unique_ptr<Objective> macer_objective() { return std::make_unique<Macer>(); }

}  // namespace mollify::experiments
