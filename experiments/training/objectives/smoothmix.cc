// SmoothMix (Jeong et al. 2021): cross-entropy over draws, plus η·KL between the answers at a point on the way to an
// unrestricted attack and the mean answer at the image, mixed with the uniform one in proportion to the way.
#include <mollify/experiments/training/objectives/noisy.h>

#include <mollify/engine/grad.h>
#include <mollify/engine/ops.h>

#include <algorithm>

namespace mollify::experiments {
namespace {

class SmoothMix final : public NoisyObjective {
 public:
  SmoothMix()
      : NoisyObjective("smoothmix", 2, {150, 256, 0.1, 1e-4, {1.0 / 3, 2.0 / 3}, 0.1}), warm_weight_(zeros({})) {}

  Options options() override {
    Options all = NoisyObjective::options();
    add(all,
        {{{"smoothmix-eta", "Objective", "weight of smoothmix's mixed images", nullptr}, &eta_, at_least(0)},
         {{"smoothmix-step", "Objective", "l2 length of the steps of its attack, of pixels from 0 to 1", nullptr},
          &step_size_,
          above(0)},
         {{"smoothmix-steps", "Objective", "gradient steps of its attack", nullptr}, &steps_, at_least(1)},
         {{"smoothmix-warmup", "Objective", "epochs over which that weight grows", nullptr}, &warmup_, at_least(0)}});
    return all;
  }
  std::vector<std::string> terms() const override { return {"cross_entropy", "mixed"}; }

  void prepare(const Setting& setting) override {
    NoisyObjective::prepare(setting);
    warm_weight_ = zeros({}, DType::f32, setting.device);
  }
  void advance(int64_t step) override {
    const auto epochs = static_cast<double>(setting().timetable.epoch_of(step) + 1);
    assign(warm_weight_, warmup_ == 0 ? eta_ : eta_ * std::min(1.0, epochs / static_cast<double>(warmup_)));
  }

  Result operator()(const Tensor& weights, const Tensor& state, const Tensors& inputs,
                    const Tensor& number) const override {
    const Tensor &images = inputs[0], &labels = inputs[1];
    const auto found = train_mode(weights, state, noisy(images, inputs[2], number), number);
    const Tensor loss = setting().loss(found.output, copies(labels));
    const Tensor answer = log_mean_softmax(by_draw(found.output.detach())), classes = zeros_like(answer);
    // Half a uniform number for each image: how far it goes, and how much of its answer becomes the uniform one.
    const Tensor w = uniform_rows({images.dim(0), 1}, {setting().seed, stream_of(Purpose::smoothing_noise, kShares)},
                                  inputs[2], number) *
                     0.5;
    const Tensor far = ascended(weights, state, images, labels, inputs[2], number);
    const Tensor mixed = images + (far - images) * reshape(w, {images.dim(0), 1, 1, 1});
    const Tensor target = exp(answer) * (1 - w) + (classes + 1.0 / static_cast<double>(answer.dim(1))) * w;
    const auto at_mixed = train_mode(weights, found.state, noisy(mixed, inputs[2], number), number);
    const Tensor log_mixed = log_mean_softmax(by_draw(at_mixed.output));
    const Tensor divergence = sum(target * (log(target) - log_mixed), {1});
    const Tensor right = cast(equal(argmax(answer), labels), divergence.dtype());
    const Tensor mixed_loss = mean(divergence * right);
    Result out = result(loss + mixed_loss * warm_weight_, found, {loss, mixed_loss});
    out.state = at_mixed.state.detach();
    return out;
  }

 private:
  static constexpr uint64_t kShares = uint64_t{0xFF} << 32;  // beyond the uses of noise

  // Steps up the loss of the mean probabilities under the step's draws, in pixels, without a ball or a range.
  Tensor ascended(const Tensor& weights, const Tensor& state, const Tensor& images, const Tensor& labels,
                  const Tensor& indices, const Tensor& number) const {
    const Tensor fixed = weights.detach(), kept = state.detach();
    const auto loss = [&](const Tensor& x) {
      const Tensor outputs = setting().network(fixed, kept, noisy(x, indices, number), nn::Mode::evaluate).output;
      return sum(cross_entropy(log_mean_softmax(by_draw(outputs)), labels));
    };
    Tensor x = images.detach();
    for (int64_t step = 0; step < steps_; ++step) x = x + unit_way(grad(loss)(x).detach()) * step_size_;
    return x;
  }

  double eta_ = 5, step_size_ = 1;
  int64_t steps_ = 4, warmup_ = 10;
  Tensor warm_weight_;  // 0-d
};

}  // namespace

std::unique_ptr<Objective> smoothmix_objective() { return std::make_unique<SmoothMix>(); }

}  // namespace mollify::experiments
