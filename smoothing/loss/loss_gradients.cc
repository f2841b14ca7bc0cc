#include <mollify/smoothing/loss/loss_gradients.h>

#include <mollify/engine/grad.h>
#include <mollify/engine/ops.h>
#include <mollify/smoothing/loss/perturbed_loss.h>
#include <mollify/smoothing/loss/population_gradient.h>

#include <algorithm>
#include <optional>

namespace mollify::smoothing {
namespace {

void require_few_processes(const char* name, int64_t pairs, const std::shared_ptr<const Exchange>& exchange) {
  require<ValueError>(!exchange || exchange->count() <= pairs, "{}: {} processes for {} pairs; needs at most as many",
                      name, exchange ? exchange->count() : 1, pairs);
}

class Values final : public PopulationGradient {
 public:
  Values(const Sigma& s, const FromValues& how) : PopulationGradient("gradient_from_values", s, how) {
    require_few_processes("gradient_from_values", how.pairs, how.exchange);
  }

  optim::Evaluations evaluations() const override {
    return {.values = 1 + how().pairs * (both() ? 2 : 1), .pairs = how().pairs};
  }

 private:
  bool both() const { return how().sides == Population::Sides::two; }

  Members evaluate(const PopulationEstimate& estimate, const Tensor& weights, const optim::Loss& loss,
                   const Tensor& s) override {
    const Tensor center = loss(weights);
    std::optional<PerturbedLoss> shared;
    if (how().share_linear_parts) shared.emplace(loss, weights);
    const bool each = s.rank() > 0;
    const Tensor plus_scale = each ? Tensor::scalar(1, s.dtype()) : s, minus_scale = -plus_scale;
    const Share share = share_of(how().pairs, how().exchange);
    std::vector<Tensor> plus, minus;
    for (int64_t j = share.first; j < share.last; ++j) {
      Tensor z = reshape(estimate.direction(j), weights.shape());
      if (each) z = z * s;
      if (shared) shared->turn_to(z);
      const auto at = [&](const Tensor& scale) {
        const Tensor value = shared ? (*shared)(scale) : loss(weights + z * scale);
        return reshape(value, {1});
      };
      plus.push_back(at(plus_scale));
      if (both()) minus.push_back(at(minus_scale));
    }
    return {of_all(plus, share, weights), both() ? of_all(minus, share, weights) : Tensor(), center};
  }

  // The values of all processes' pairs. Those who have fewer fill up.
  Tensor of_all(std::vector<Tensor>& mine, const Share& share, const Tensor& weights) const {
    while (static_cast<int64_t>(mine.size()) < share.most)
      mine.push_back(zeros({1}, weights.dtype(), weights.device()));
    return slice(flatten(gathered(concat(mine), how().exchange)), 0, 0, how().pairs);
  }
};

class Gradients final : public optim::Gradient {
 public:
  Gradients(const Sigma& s, const FromGradients& how)
      : how_(how), schedule_(schedule_of("gradient_from_gradients", s)) {
    require<ValueError>(how.samples >= 1 && (!how.antithetic || how.samples % 2 == 0),
                        "gradient_from_gradients: {} samples{}; needs at least 1, and an even number for pairs",
                        how.samples, how.antithetic ? " in pairs" : "");
    require_few_processes("gradient_from_gradients", directions(), how.exchange);
  }

  void attach(optim::Numbers& numbers) override {
    numbers_ = &numbers;
    scheduled_ = numbers.add(schedule_);
  }

  Estimate operator()(const Tensor& weights, const optim::Loss& loss) override {
    const Tensor s = (*numbers_)[scheduled_], center = no_grad([&] { return loss(weights); });
    const Population population{.pairs = directions(), .seed = how_.seed};
    const PopulationEstimate estimate(population, numbers_->step(), weights.size(), s, weights.device());
    const int64_t processes = how_.exchange ? how_.exchange->count() : 1;
    const int64_t rank = how_.exchange ? how_.exchange->rank() : 0;
    Tensor sum = zeros_like(weights);
    for (int64_t round = 0; round < directions(); round += processes) {  // each process has one direction of a round
      const Tensor all = gathered(gradients(estimate, round + rank, weights, loss, s), how_.exchange);
      for (int64_t i = 0; i < std::min(processes, directions() - round); ++i)
        for (int64_t side = 0; side < sides(); ++side)
          sum = sum + reshape(slice(slice(all, 0, i, i + 1), 1, side, side + 1), weights.shape());
    }
    return {center, sum / static_cast<double>(how_.samples)};
  }

  optim::Evaluations evaluations() const override { return {.values = 1, .gradients = how_.samples}; }

 private:
  int64_t sides() const { return how_.antithetic ? 2 : 1; }
  int64_t directions() const { return how_.samples / sides(); }

  // Along a direction, [sides, weights]; zeros where there is none of that number.
  Tensor gradients(const PopulationEstimate& estimate, int64_t direction, const Tensor& weights,
                   const optim::Loss& loss, const Tensor& s) const {
    if (direction >= directions()) return zeros({sides(), weights.size()}, weights.dtype(), weights.device());
    const Tensor noise = reshape(estimate.direction(direction), weights.shape()) * s;
    std::vector<Tensor> all = {flatten(grad(loss)(weights + noise))};
    if (how_.antithetic) all.push_back(flatten(grad(loss)(weights - noise)));
    return stack(std::span<const Tensor>(all));
  }

  FromGradients how_;
  optim::Schedule schedule_;
  optim::Numbers* numbers_ = nullptr;
  size_t scheduled_ = 0;
};

}  // namespace

std::unique_ptr<optim::Gradient> gradient_from_values(const Sigma& s, const FromValues& how) {
  return std::make_unique<Values>(s, how);
}

std::unique_ptr<optim::Gradient> gradient_from_gradients(const Sigma& s, const FromGradients& how) {
  return std::make_unique<Gradients>(s, how);
}

}  // namespace mollify::smoothing
