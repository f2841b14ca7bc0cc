// Training steps of every model, captured: the bits of the eager ones, also after many replays.
#include "../devices.h"

#include <mollify/engine/plan.h>
#include <mollify/nn/losses.h>
#include <mollify/nn/models.h>
#include <mollify/optim/optimizer.h>

namespace mollify::nn {
namespace {

Shape image_of(const std::string& model) {
  return model.starts_with("resnet") || model.starts_with("wrn") ? Shape{8, 8, 3} : Shape{12, 12, 1};
}

struct Trained {
  std::vector<double> losses;
  std::vector<float> weights, state;
  bool operator==(const Trained&) const = default;
};

std::unique_ptr<optim::Optimizer> adam(int steps) {
  return optim::adam(optim::cosine(0.01, steps, 0.001), {.weight_decay = 0.01, .clip_norm = 5});
}

// `steps` steps on drawn batches; the last of every ten has fewer images.
Trained train(const std::string& model, int steps, bool captured, Device device,
              std::unique_ptr<optim::Optimizer> optimizer) {
  const Shape image = image_of(model);
  const Network network = make(model, image, 10);
  const Tensor weights = to(network.initial_weights(Initialization::fan_in_uniform, 1), device),
               state = to(network.initial_state(), device);
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
  const bool large = GetParam().starts_with("wrn") || GetParam() == "resnet50" || GetParam() == "resnet34" ||
                     GetParam() == "cifar_resnet110";
  const int steps = large ? 3 : 12;
  EXPECT_EQ(train(GetParam(), steps, true, Device::cpu, adam(steps)),
            train(GetParam(), steps, false, Device::cpu, adam(steps)));
}

TEST(Captured, TrainsToTheSameBitsOverAThousandSteps) {
  EXPECT_EQ(train("cnn3_tiny", 1000, true, Device::cpu, adam(1000)),
            train("cnn3_tiny", 1000, false, Device::cpu, adam(1000)));
}

TEST(CapturedOnCuda, TrainsToTheSameBitsAndNearTheCpu) {
  MOLLIFY_SKIP_WITHOUT_CUDA();
  for (const char* model : {"cnn3_tiny", "lenet_300_100"}) {
    SCOPED_TRACE(model);
    EXPECT_EQ(train(model, 12, true, Device::cuda, adam(12)), train(model, 12, false, Device::cuda, adam(12)));
    if (std::string(model) == "lenet_300_100") continue;  // batch norm of three images magnifies rounding
    // Adam divides by gradients that may be rounding alone: the devices are compared by steps that are continuous in
    // the gradient.
    const auto sgd = [] { return optim::sgd(optim::constant(0.01), {.momentum = 0.9}); };
    const Trained cuda = train(model, 12, true, Device::cuda, sgd()), cpu = train(model, 12, true, Device::cpu, sgd());
    for (size_t i = 0; i < cpu.losses.size(); ++i)
      EXPECT_NEAR(cuda.losses[i], cpu.losses[i], 1e-4 * (1 + cpu.losses[i])) << "step " << i;
  }
}

}  // namespace
}  // namespace mollify::nn
