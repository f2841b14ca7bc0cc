#include <mollify/experiments/training/objectives/closed_form.h>

#include <mollify/experiments/training/settings.h>

#include <cmath>

namespace mollify::experiments {

Options ClosedFormSmoothing::options() {
  return {{{"sigma", "Smoothing",
            "train the network smoothed in closed form with noise of deviation sigma/sqrt(2); needs --loss "
            "squared_error. Evaluated are both networks",
            nullptr},
           &sigma_,
           at_least(0)},
          {{"sigma-decay", "Smoothing", "factor on sigma after each epoch", nullptr},
           &decay_,
           Rule{.low = 0, .high = 1, .above_low = true}},
          {{"penalty", "Smoothing", "weight of every layer's penalty on variances", nullptr}, &penalty_, at_least(0)},
          {{"penalty-form", "Smoothing", "an activation is one term with the layer after it, or a term of its own",
            nullptr},
           &form_,
           one_of({"joint", "split"})}};
}

void ClosedFormSmoothing::resolve(const RunOptions& run) {
  require<UsageError>(!active() || run.loss == "squared_error",
                      "mollify train: --sigma: {} given with --loss {}; needs --loss squared_error, which smooths in "
                      "closed form",
                      sigma_, run.loss);
  const ClosedFormSmoothing otherwise;
  require<UsageError>(
      active() || (penalty_ == otherwise.penalty_ && form_ == otherwise.form_ && decay_ == otherwise.decay_),
      "mollify train: --penalty, --penalty-form or --sigma-decay: given without --sigma; needs a smoothed network");
}

double ClosedFormSmoothing::sigma(int64_t epoch) const { return sigma_ * std::pow(decay_, static_cast<double>(epoch)); }

void ClosedFormSmoothing::prepare(const Setting& setting) {
  require<UsageError>(setting.network.statistics().empty(),
                      "mollify train: --sigma: {} given with {}, whose batch norm cannot be smoothed while its "
                      "statistics move; needs a model without",
                      sigma_, setting.network.name());
  deviation_ = zeros({});
  scale_ = smoothing::Sigma::stddev(deviation_);
  const auto form = form_ == "split" ? smoothing::Form::split : smoothing::Form::joint;
  smoothed_ =
      smooth(setting.network, smoothing::Sigma::paper(sigma_), smoothing::PenaltyWeights::uniform(penalty_, form));
}

void ClosedFormSmoothing::advance(int64_t epoch) {
  assign(deviation_, smoothing::Sigma::paper(sigma(epoch)).stddev());
}

Objective::Result ClosedFormSmoothing::operator()(const Tensor& weights, const Tensor& state,
                                                  const Tensors& inputs) const {
  const auto result = (*smoothed_)(weights, state, inputs[0], *scale_);
  return {smoothed_squared_error(result, inputs[1]), result.output.detach(), state};
}

}  // namespace mollify::experiments
