// Published networks and properties with known answers, from the folder vnn of the data.
#include <mollify/nn/formats/npy.h>
#include <mollify/nn/formats/onnx.h>

#ifdef MOLLIFY_ONNX

#include "../../cases.h"
#include "../verification_data.h"
#include "verify_problems.h"

#include <mollify/smoothing/attacks/falsify.h>

namespace mollify::nn::bounds {
namespace {

// A witness must convince the network in f32, too, which is how it was published.
void expect_verdict(const std::string& network, const std::string& property_file, Verdict expected) {
  SCOPED_TRACE(network + ", " + property_file);
  const formats::OnnxModel model = formats::read_onnx(verification_data() / network);
  const Property property = formats::read_vnnlib(verification_data() / property_file);
  const Tensor weights = cast(model.weights, DType::f64);
  const Graph graph([&](const Tensor& x) { return model.network(weights, x); }, model.network.input(), DType::f64);
  Shape row = model.network.input();
  row.insert(0, 1);
  VerifyOptions options{.seconds = 600};
  if (property.inputs <= 16)
    options.attack = [&](const formats::Case& box, const formats::Halfspaces& unsafe, double seconds) {
      const auto flat = [&](const Tensor& x) { return flatten(graph(x), 1); };
      const Tensor rows = Tensor::from(unsafe.coefficients, {unsafe.rows(), property.outputs}),
                   limits = Tensor::from(unsafe.bounds, {unsafe.rows()});
      const auto found = smoothing::falsify(
          flat, smoothing::halfspaces(rows, limits), Tensor::from(box.lower, model.network.input()),
          Tensor::from(box.upper, model.network.input()), {.evaluations = 1 << 16, .seconds = seconds});
      return found.found ? found.x.to_vector<double>() : std::vector<double>();
    };
  options.replay = [&](std::span<const double> x) {
    return cast(model.network(model.weights, cast(Tensor::from(x, row), DType::f32)), DType::f64).to_vector<double>();
  };
  const Outcome outcome = verify(graph, property, options);
  EXPECT_EQ(outcome.verdict, expected) << to_string(outcome.verdict) << " by " << outcome.stage << ", "
                                       << outcome.domains << " domains, " << outcome.seconds << " s";
  if (outcome.verdict != Verdict::sat) return;
  expect_witness(graph, property, outcome);
  EXPECT_TRUE(formats::violates(property, outcome.input, options.replay(outcome.input)));
}

// Each a few numbers, on which bounds were wrong or missing once: finite, around what points of the box give, and
// conv_conv reaches −4.02.
TEST(VerifyData, SmallNetworksAreBounded) {
  MOLLIFY_NEEDS_VERIFICATION_DATA;
  const auto small = verification_data() / "small";
  if (!std::filesystem::exists(small)) GTEST_SKIP() << small << " does not exist";
  for (const std::string name :
       {"conv_conv", "conv3_conv5_inception_add", "pad_maxpool", "scalar_output", "split", "split_first_part"}) {
    const formats::OnnxModel model = formats::read_onnx(small / (name + ".onnx"));
    const Tensor weights = cast(model.weights, DType::f64);
    const Graph graph([&](const Tensor& x) { return model.network(weights, x); }, model.network.input(), DType::f64);
    Shape row = model.network.input(), rows = row;
    row.insert(0, 1);
    rows.insert(0, 1000);
    const auto image = small / (name + ".npy");
    const Tensor x =
        std::filesystem::exists(image) ? reshape(cast(formats::read_npy(image), DType::f64), row) : drawn(row, 5);
    const Tensor points = x + (uniform(rows, {3, 4}, Tensor::scalar(0, DType::i32), DType::f64) - 0.5) * 0.1;
    const Tensor corners = x + sign(drawn(rows, 6)) * 0.05, reached = concat(std::array{graph(points), graph(corners)});
    for (const Method method :
         {Method::ibp, Method::hbox, Method::deepz, Method::crown_ibp, Method::crown, Method::alpha_crown}) {
      const Box box =
          Bounds(graph, {.box = {x - 0.05, x + 0.05}}, {.method = method, .roundoff = unit_roundoff(DType::f64)})
              .output();
      EXPECT_TRUE(std::isfinite(sum(box.upper - box.lower).item())) << name << " by " << to_string(method);
      EXPECT_GE(min(reached - box.lower).item(), 0) << name << " by " << to_string(method);
      EXPECT_GE(min(box.upper - reached).item(), 0) << name << " by " << to_string(method);
      if (name == "conv_conv") {
        EXPECT_LE(box.lower.item(), -4.02) << to_string(method);
      }
    }
  }
}

TEST(VerifyData, ToyNetworks) {
  MOLLIFY_NEEDS_VERIFICATION_DATA;
  for (const std::string name : {"nano", "tiny", "small"})
    expect_verdict("toy/test_" + name + ".onnx", "toy/test_" + name + ".vnnlib", Verdict::unsat);
}

// Networks 1_1 to 1_9; `safe`: those of which the property holds.
void expect_acas(int property, const std::vector<int>& safe) {
  for (int network = 1; network <= cases(9); ++network) {
    const bool holds = std::find(safe.begin(), safe.end(), network) != safe.end();
    expect_verdict("acasxu/ACASXU_run2a_1_" + std::to_string(network) + "_batch_2000.onnx",
                   "acasxu/prop_" + std::to_string(property) + ".vnnlib", holds ? Verdict::unsat : Verdict::sat);
  }
}

TEST(VerifyData, AcasXuProperty1) {
  MOLLIFY_NEEDS_VERIFICATION_DATA;
  expect_acas(1, {1, 2, 3, 4, 5, 6, 7, 8, 9});
}

TEST(VerifyData, AcasXuProperty2) {
  MOLLIFY_SKIP_WHERE_SANITIZED();
  MOLLIFY_NEEDS_VERIFICATION_DATA;
  expect_acas(2, {1, 7, 8, 9});
}

TEST(VerifyData, AcasXuProperty3) {
  MOLLIFY_SKIP_WHERE_SANITIZED();
  MOLLIFY_NEEDS_VERIFICATION_DATA;
  expect_acas(3, {1, 2, 3, 4, 5, 6});
}

TEST(VerifyData, AcasXuProperty4) {
  MOLLIFY_NEEDS_VERIFICATION_DATA;
  expect_acas(4, {1, 2, 3, 4, 5, 6});
}

void expect_mnist(const std::string& property, Verdict expected) {
  expect_verdict("mnistfc/mnist-net_256x2.onnx", "mnistfc/prop_" + property + ".vnnlib.gz", expected);
}

TEST(VerifyData, MnistRobust) {
  MOLLIFY_SKIP_WHERE_SANITIZED();
  MOLLIFY_NEEDS_VERIFICATION_DATA;
  for (const char* property : {"0_0.03", "2_0.03", "6_0.05", "13_0.03"}) expect_mnist(property, Verdict::unsat);
}

TEST(VerifyData, MnistNotRobust) {
  MOLLIFY_NEEDS_VERIFICATION_DATA;
  for (const char* property : {"1_0.05", "0_0.05", "14_0.03", "5_0.05"}) expect_mnist(property, Verdict::sat);
}

}  // namespace
}  // namespace mollify::nn::bounds

#endif  // MOLLIFY_ONNX
