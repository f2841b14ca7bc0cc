// The loss of the images as they are: of the network, or of the network smoothed in closed form.
#include <mollify/experiments/evaluate.h>
#include <mollify/experiments/training/objectives/closed_form.h>

namespace mollify::experiments {
namespace {

class Natural final : public Objective {
 public:
  const char* name() const override { return "natural"; }
  Options options() override { return smoothing_.options(); }
  void resolve(RunOptions& run) override {
    Objective::resolve(run);
    smoothing_.resolve(run);
  }
  void prepare(const Setting& setting) override {
    Objective::prepare(setting);
    if (smoothing_.active()) smoothing_.prepare(setting);
  }
  void advance(int64_t step) override {
    if (smoothing_.active()) smoothing_.advance(setting().timetable.epoch_of(step));
  }
  bool is_traceable() const override { return !smoothing_.active(); }
  Result operator()(const Tensor& weights, const Tensor& state, const Tensors& inputs,
                    const Tensor& number) const override {
    if (smoothing_.active()) return smoothing_(weights, state, inputs);
    const nn::Network::Result result =
        setting().network(weights, state, inputs[0], nn::Mode::train, {.seed = setting().seed}, number);
    return {setting().loss(result.output, inputs[1]), result.output.detach(), result.state.detach()};
  }
  OutputsOf smoothed_outputs(const Tensor& weights, const Tensor& state, int64_t epoch) const override {
    if (!smoothing_.active()) return {};
    return smoothed_outputs_of(setting().network, weights, state, smoothing_.sigma(epoch));
  }
  std::map<std::string, std::string> metadata(int64_t epoch) const override {
    if (!smoothing_.active()) return {};
    return {{"sigma", format("{}", smoothing_.sigma(epoch))}};
  }

 private:
  ClosedFormSmoothing smoothing_;
};

}  // namespace

std::unique_ptr<Objective> natural_objective() { return std::make_unique<Natural>(); }

}  // namespace mollify::experiments
