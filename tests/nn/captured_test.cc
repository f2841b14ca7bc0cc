// Training steps of every model, captured: the bits of the eager ones, also after many replays.
#include "../devices.h"

#include <mollify/engine/plan.h>
#include <mollify/nn/losses.h>
#include <mollify/nn/models.h>
#include <mollify/optim/optimizer.h>

namespace mollify::nn {
namespace {

Shape image_of(const std::string& model) { return model.starts_with("resnet") || model.starts_with("wrn") ? Shape{8, 8, 3} : Shape{12, 12, 1}; }

struct Trained {
  std::vector<double> losses;
  std::vector<float> weights, state;
  bool operator==(const Trained&) const = default;
};

// `steps` steps of Adam on drawn batches; the last of every ten has fewer images.
Trained train(const std::string& model, int steps, bool captured, Device device) {
  const Shape image = image_of(model);
  const Network network = make(model, image, 10);
  const Tensor weights = to(network.initial_weights(Initialization::fan_in_uniform, 1), device), state = to(network.initial_state(), device);
  const auto optimizer = optim::adam(optim::cosine(0.01, steps, 0.001), {.weight_decay = 0.01, .clip_norm = 5});
  const auto step = [&](const Tensors& in) -> Tensors {
    Tensor next;
    const Tensor loss = optimizer->update(weights, [&](const Tensor& w) {
      const Network::Result result = network(w, state, in[0], Mode::train);
      next = result.state.detach();
      return mean_cross_entropy(result.output, in[1]);
    });
    if (state.size() > 0) assign(state, next);
    return loss;
  };
  Captured replay = capture(step);
  Trained result;
  for (int i = 0; i < steps; ++i) {
    const int64_t count = i % 10 == 9 ? 2 : 3;
    Shape shape = image;
    shape.insert(0, count);
    const Tensor images = normal(shape, {3, 4}, Tensor::scalar(i, DType::i32), DType::f32, device);
    const Tensor labels = to(cast(uniform({count}, {3, 5}, Tensor::scalar(i, DType::i32)) * 10.0, DType::i32), device);
    optimizer->advance(DType::f32);
    result.losses.push_back((captured ? replay(Tensors{images, labels}) : step({images, labels}))[0].item());
  }
  result.weights = weights.to_vector<float>();
  result.state = state.to_vector<float>();
  return result;
}

class CapturedModel : public ::testing::TestWithParam<std::string> {};
INSTANTIATE_TEST_SUITE_P(Models, CapturedModel, ::testing::ValuesIn(model_names()));

TEST_P(CapturedModel, TrainsToTheSameBits) {
  const bool large = GetParam().starts_with("wrn") || GetParam() == "resnet50" || GetParam() == "resnet34";
  const int steps = large ? 3 : 12;
  EXPECT_EQ(train(GetParam(), steps, true, Device::cpu), train(GetParam(), steps, false, Device::cpu));
}

TEST(Captured, TrainsToTheSameBitsOverAThousandSteps) {
  EXPECT_EQ(train("cnn3_tiny", 1000, true, Device::cpu), train("cnn3_tiny", 1000, false, Device::cpu));
}

TEST(CapturedOnCuda, TrainsToTheSameBitsAndNearTheCpu) {
  MOLLIFY_SKIP_WITHOUT_CUDA();
  for (const char* model : {"cnn3_tiny", "lenet_300_100"}) {
    SCOPED_TRACE(model);
    const Trained eager = train(model, 12, false, Device::cuda), cpu = train(model, 12, false, Device::cpu);
    EXPECT_EQ(train(model, 12, true, Device::cuda), eager);
    for (size_t i = 0; i < cpu.losses.size(); ++i) EXPECT_NEAR(eager.losses[i], cpu.losses[i], 2e-3 * (1 + cpu.losses[i])) << "step " << i;
  }
}

}  // namespace
}  // namespace mollify::nn
