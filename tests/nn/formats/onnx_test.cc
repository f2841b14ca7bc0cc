// ONNX files as a whole: published networks, what becomes of a file's tensors, damage.
#include <mollify/nn/formats/onnx.h>

#ifdef MOLLIFY_ONNX

#include "../verification_data.h"
#include "onnx_model.h"

#include <numeric>

namespace mollify::nn::formats {
namespace {

namespace fs = std::filesystem;
using datasets::expect_error;
using datasets::TemporaryFolder;

Bytes bytes_of(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return Bytes(std::istreambuf_iterator<char>(file), {});
}

// A counterexample published for this network, with the outputs that were computed for it.
TEST(Onnx, AcasXu) {
  MOLLIFY_NEEDS_VERIFICATION_DATA;
  const OnnxModel model = read_onnx(verification_data() / "acasxu/ACASXU_run2a_1_7_batch_2000.onnx");
  EXPECT_TRUE(model.batched);
  EXPECT_EQ(model.input, (Shape{1, 1, 1, 5}));
  EXPECT_EQ(model.network.input(), (Shape{1, 1, 5}));
  EXPECT_EQ(model.output, (Shape{1, 5}));
  EXPECT_EQ(model.network.output(), Shape{5});
  EXPECT_EQ(model.network.name(), "ACASXU_run2a_1_7_batch_2000");
  EXPECT_EQ(model.network.weights().front().name, "input_AvgImg");
  EXPECT_EQ(model.weights.shape(), Shape{model.network.weight_count()});
  const std::vector<double> x{-0.30104199, 0, 0.49669015, 0.4, 0.4},
      y{-0.020311581, -0.018862747, -0.018985584, -0.017946711, -0.017920513};
  for (const DType dtype : {DType::f32, DType::f64}) {
    const std::vector<double> given = evaluate(model, x, 1, dtype);
    for (size_t i = 0; i < y.size(); ++i) EXPECT_NEAR(given[i], y[i], 3e-9) << i;
  }
}

TEST(Onnx, ToyNetworks) {
  MOLLIFY_NEEDS_VERIFICATION_DATA;
  std::vector<double> x(201);
  for (size_t i = 0; i < x.size(); ++i) x[i] = static_cast<double>(i) / 100 - 1;
  const auto values = [&](const char* file) {
    const OnnxModel model = read_onnx(verification_data() / "toy" / file);
    EXPECT_FALSE(model.batched);
    EXPECT_EQ(model.network.input(), Shape{1});
    EXPECT_EQ(model.output, Shape{1});
    return evaluate(model, x, static_cast<int64_t>(x.size()), DType::f64);
  };
  const std::vector<double> nano = values("test_nano.onnx"), tiny = values("test_tiny.onnx"),
                            small = values("test_small.onnx");
  for (size_t i = 0; i < x.size(); ++i) {
    EXPECT_DOUBLE_EQ(nano[i], std::max(0.0, 0.5 * x[i]));
    EXPECT_DOUBLE_EQ(tiny[i], std::max(0.0, x[i]));
  }
  EXPECT_DOUBLE_EQ(*std::min_element(small.begin(), small.end()), 30.5);
  EXPECT_DOUBLE_EQ(*std::max_element(small.begin(), small.end()), 78.5);
}

// The file's matrices, by plain loops.
TEST(Onnx, Mnist) {
  MOLLIFY_NEEDS_VERIFICATION_DATA;
  const OnnxModel model = read_onnx(verification_data() / "mnistfc/mnist-net_256x2.onnx");
  EXPECT_EQ(model.input, (Shape{1, 784, 1}));
  EXPECT_EQ(model.weights.size(), 784 * 256 + 256 + 256 * 256 + 256 + 256 * 10 + 10);
  expect_computes(model, [&](const Plain& x) {
    std::vector<double> values = x.values;
    for (const char* layer : {"layers.0", "layers.2", "layers.4"}) {
      const Tensor weight = model.network.weight(model.weights, layer + std::string(".weight"));
      const std::vector<float> w = weight.to_vector<float>(),
                               b = model.network.weight(model.weights, layer + std::string(".bias")).to_vector<float>();
      std::vector<double> next(b.begin(), b.end());
      for (size_t i = 0; i < next.size(); ++i) {
        for (size_t j = 0; j < values.size(); ++j) next[i] += static_cast<double>(w[i * values.size() + j]) * values[j];
        if (layer[7] != '4') next[i] = std::max(0.0, next[i]);
      }
      values = next;
    }
    return Plain({1, 10}, values);
  });
}

// y = 0.1·x: the weight keeps the file's precision, and is f32 only where that is exact.
TEST(Onnx, DoublesStayDoubles) {
  for (const double number : {0.1, 0.125}) {
    Model model({1, 1});
    model.constant("c", Plain({1}, {0})).node("Mul", {"x", "c"}, {"y"});
    ::onnx::TensorProto& tensor = *model.graph().mutable_initializer(0);
    tensor.clear_float_data();
    tensor.set_data_type(::onnx::TensorProto::DOUBLE);
    tensor.add_double_data(number);
    const OnnxModel read = model.parse();
    EXPECT_EQ(read.weights.dtype(), number == 0.1 ? DType::f64 : DType::f32);
    EXPECT_EQ(evaluate(read, {3}, 1, DType::f64), std::vector<double>{3 * number});
  }
}

TEST(Onnx, ACastToFloatRoundsADoubleConstant) {
  Model model({1, 1});
  model.constant("c", Plain({1}, {0})).node("Cast", {"c"}, {"f"}).set("to", 1).node("Mul", {"x", "f"}, {"y"});
  ::onnx::TensorProto& tensor = *model.graph().mutable_initializer(0);
  tensor.clear_float_data();
  tensor.set_data_type(::onnx::TensorProto::DOUBLE);
  tensor.add_double_data(0.1);
  EXPECT_EQ(evaluate(model.parse(), {3}, 1, DType::f64), std::vector<double>{3 * static_cast<double>(0.1F)});
}

// Attributes of the standard are floats, given or not.
TEST(Onnx, DefaultAttributesAreFloats) {
  EXPECT_EQ(evaluate(Model({1, 1}).node("LeakyRelu", {"x"}, {"y"}).parse(), {-1}, 1, DType::f64),
            std::vector<double>{-static_cast<double>(0.01F)});
  Model norm({1, 1});
  norm.constant("one", Plain({1}, {1})).constant("zero", Plain({1}, {0}));
  const OnnxModel model = norm.node("BatchNormalization", {"x", "one", "zero", "zero", "zero"}, {"y"}).parse();
  EXPECT_EQ(evaluate(model, {1}, 1, DType::f64), std::vector<double>{1 / std::sqrt(static_cast<double>(1e-5F))});
}

TEST(Onnx, NumbersOfEveryKindAndPlace) {
  const std::vector<double> numbers{0.5, -1.25, 3};
  const auto expect_read = [&](int type, const std::string& raw,
                               const std::function<void(::onnx::TensorProto&)>& fill) {
    Model model({1, 3});
    model.constant("c", Plain({3}, {0, 0, 0})).node("Add", {"x", "c"}, {"y"});
    ::onnx::TensorProto& tensor = *model.graph().mutable_initializer(0);
    tensor.clear_float_data();
    tensor.set_data_type(type);
    if (raw.empty())
      fill(tensor);
    else
      tensor.set_raw_data(raw);
    EXPECT_EQ(evaluate(model.parse(), {0, 0, 0}, 1, DType::f64), numbers);
  };
  const std::vector<float> floats(numbers.begin(), numbers.end());
  expect_read(::onnx::TensorProto::FLOAT, std::string(reinterpret_cast<const char*>(floats.data()), 12), {});
  expect_read(::onnx::TensorProto::DOUBLE, std::string(reinterpret_cast<const char*>(numbers.data()), 24), {});
  expect_read(::onnx::TensorProto::FLOAT, "",
              [&](auto& tensor) { tensor.mutable_float_data()->Add(floats.begin(), floats.end()); });
  expect_read(::onnx::TensorProto::DOUBLE, "",
              [&](auto& tensor) { tensor.mutable_double_data()->Add(numbers.begin(), numbers.end()); });
  Model in_node({1, 3}, ::onnx::TensorProto::DOUBLE);
  in_node.node("Constant", {}, {"c"});
  auto& attribute = *in_node.graph().mutable_node(0)->add_attribute();
  attribute.set_name("value_floats");
  attribute.set_type(::onnx::AttributeProto::FLOATS);
  attribute.mutable_floats()->Add(floats.begin(), floats.end());
  const OnnxModel model = in_node.node("Add", {"x", "c"}, {"y"}).parse();
  EXPECT_EQ(model.network.weights()[0].name, "c");
  EXPECT_EQ(evaluate(model, {0, 0, 0}, 1, DType::f64), numbers);
}

TEST(Onnx, WeightsAreTheInitializersThatReachTheOutput) {
  std::mt19937 random(3);
  Model model({1, 2, 4, 4});
  const Plain w = random_plain(random, {3, 2, 2, 2}), s = random_plain(random, {3, 1, 1}),
              shared = random_plain(random, {3, 3, 1, 1});
  model.constant("unused", Plain({7}))
      .constant("s", s)
      .constant("w", w)
      .constant("shared", shared)
      .integers("unread", {1});
  model.node("Nonsense", {"unused"}, {"nothing"})
      .node("Conv", {"x", "w"}, {"c"})
      .node("Mul", {"s", "c"}, {"m"})
      .node("Conv", {"m", "shared"}, {"d"});
  model.node("ReduceSum", {"shared"}, {"t"}).set("keepdims", 0).node("Add", {"d", "t"}, {"y"});
  const OnnxModel parsed = model.parse();
  const std::vector<Piece>& pieces = parsed.network.weights();
  ASSERT_EQ(pieces.size(), 3u);
  EXPECT_EQ(pieces[0].name, "w");
  EXPECT_EQ(pieces[0].shape, (Shape{3, 2, 2, 2}));
  EXPECT_EQ(pieces[0].role, Role::weight);
  EXPECT_EQ(pieces[0].fan_in, 8);
  EXPECT_EQ(pieces[0].fan_out, 12);
  EXPECT_EQ(pieces[1].name, "s");
  EXPECT_EQ(pieces[1].role, Role::scale);
  EXPECT_EQ(pieces[2].name, "shared");
  EXPECT_EQ(pieces[2].shape, (Shape{3, 3, 1, 1})) << "read by others than convolutions: as in the file";
  const std::vector<float> kernel = parsed.network.weight(parsed.weights, "w").to_vector<float>();
  for (int64_t o = 0; o < 3; ++o)
    for (int64_t c = 0; c < 2; ++c)
      for (int64_t k = 0; k < 4; ++k) EXPECT_EQ(kernel[static_cast<size_t>(o * 8 + k * 2 + c)], w(o, c, k / 2, k % 2));
  for (const float value : parsed.network.initial_weights(Initialization::kaiming_uniform, 1).to_vector<float>())
    EXPECT_TRUE(std::isfinite(value));
}

TEST(Onnx, ReadsPackedFilesAndSaysWhichItRefuses) {
  const TemporaryFolder folder;
  const Bytes bytes = dense_model().bytes();
  EXPECT_EQ(read_onnx(folder.write("net.onnx.gz", datasets::gzip(bytes))).network.name(), "net");
  EXPECT_EQ(read_onnx(folder.write("net.onnx", bytes)).network.name(), "net");
  expect_error<FormatError>([&] { read_onnx(folder / "absent.onnx"); }, {"absent.onnx is no file"});
  expect_error<FormatError>([&] { read_onnx(folder.write("bad.onnx", {1, 2, 3})); },
                            {folder.path().string(), "bad.onnx: the bytes are no protobuf"});
}

// Truncated and changed bytes give FormatError or a network that runs.
TEST(Onnx, SurvivesDamage) {
  std::mt19937 random(11);
  Model conv({1, 2, 4, 4});
  conv.constant("w", random_plain(random, {3, 2, 2, 2}))
      .constant("s", random_plain(random, {3}))
      .integers("t", {1, -1});
  conv.node("Conv", {"x", "w"}, {"c"})
      .set("pads", {1, 0, 1, 0})
      .set("strides", {2, 1})
      .node("BatchNormalization", {"c", "s", "s", "s", "s"}, {"n"});
  conv.node("AveragePool", {"n"}, {"p"})
      .set("kernel_shape", {2, 2})
      .set("pads", {1, 0, 0, 0})
      .node("Split", {"p"}, {"a", "b", "d"})
      .set("axis", 1);
  conv.node("Concat", {"d", "a"}, {"j"})
      .set("axis", 1)
      .node("Slice", {"j"}, {"l"})
      .set("starts", Extents{1})
      .set("ends", Extents{3})
      .set("axes", Extents{2});
  conv.node("Pad", {"l"}, {"q"})
      .set("pads", {0, 0, 1, 0, 0, 0, 0, 1})
      .node("ReduceMean", {"q"}, {"r"})
      .set("axes", Extents{3})
      .set("keepdims", 0);
  conv.node("Reshape", {"r", "t"}, {"f"}).node("Transpose", {"f"}, {"y"}).set("perm", {1, 0});
  std::vector<Bytes> files{dense_model().bytes(), conv.bytes()};
  const OnnxModel whole = conv.parse();
  EXPECT_FALSE(whole.output == Shape());
  if (const fs::path data = verification_data(); !data.empty())
    for (const char* file : {"test_nano.onnx", "test_small.onnx"}) files.push_back(bytes_of(data / "toy" / file));
  int loaded = 0, refused = 0;
  const auto load = [&](const Bytes& bytes) {
    try {
      const OnnxModel model = parse_onnx("a.onnx", bytes);
      ++loaded;
      if (model.network.input().size() > 4096 || model.weights.size() > 4096) return;
      Shape shape = model.network.input(), output = model.network.output();
      shape.insert(0, 2);
      const Tensor y = model.network(model.weights, ones(shape));
      output.insert(0, 2);
      EXPECT_EQ(y.shape(), output);
    } catch (const FormatError& error) {
      EXPECT_TRUE(std::string(error.what()).starts_with("a.onnx: ")) << error.what();
      ++refused;
    }
  };
  for (const Bytes& whole_file : files)
    for (size_t size = 0; size < whole_file.size(); ++size)
      load({whole_file.begin(), whole_file.begin() + static_cast<int64_t>(size)});
  for (int round = 0; round < 20000; ++round) {
    Bytes bytes = files[static_cast<size_t>(round) % files.size()];
    for (uint32_t edits = 1 + random() % 3; edits > 0; --edits) {
      const size_t at = random() % bytes.size();
      const uint32_t kind = random() % 8;
      if (kind == 1) bytes.insert(bytes.begin() + static_cast<int64_t>(at), static_cast<uint8_t>(random()));
      else if (kind == 2) bytes.erase(bytes.begin() + static_cast<int64_t>(at));
      else
        bytes[at] = kind == 3   ? 0xFF
                    : kind == 4 ? 0
                    : kind < 7  ? static_cast<uint8_t>(bytes[at] ^ 1U << random() % 8)
                                : static_cast<uint8_t>(random());
      if (bytes.empty()) bytes.push_back(0);
    }
    load(bytes);
  }
  EXPECT_GT(loaded, 1000);
  EXPECT_GT(refused, 1000);
}

}  // namespace
}  // namespace mollify::nn::formats

#else

#include <gtest/gtest.h>

namespace mollify::nn::formats {

TEST(Onnx, SaysThatThisBuildCannotReadIt) {
  try {
    parse_onnx("a.onnx", {});
    ADD_FAILURE() << "nothing was thrown";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("libonnx-dev"), std::string::npos) << error.what();
  }
}

}  // namespace mollify::nn::formats

#endif
