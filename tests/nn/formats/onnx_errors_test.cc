// What is refused in ONNX files, and how it is said.
#ifdef MOLLIFY_ONNX

#include "onnx_model.h"

namespace mollify::nn::formats {
namespace {

void expect_refused(const Model& model, std::initializer_list<std::string> fragments) {
  try {
    model.parse();
    ADD_FAILURE() << "nothing was thrown: " << *fragments.begin();
  } catch (const FormatError& error) {
    EXPECT_TRUE(std::string(error.what()).starts_with("a.onnx: ")) << error.what();
    for (const std::string& fragment : fragments)
      EXPECT_NE(std::string(error.what()).find(fragment), std::string::npos) << error.what();
  }
}

// The dense model after a change.
void expect_refused(const std::function<void(Model&)>& change, std::initializer_list<std::string> fragments) {
  Model model = dense_model();
  change(model);
  expect_refused(model, fragments);
}

TEST(OnnxErrors, SaysWhatIsWrongWithTheGraph) {
  expect_refused([](Model& m) { m.proto.clear_graph(); }, {"there is no graph"});
  expect_refused(
      [](Model& m) { *m.graph().add_input() = m.graph().input(0), m.graph().mutable_input(1)->set_name("z"); },
      {"2 inputs; needs one"});
  expect_refused([](Model& m) { *m.graph().add_output() = m.graph().output(0); }, {"2 outputs; needs one"});
  expect_refused([](Model& m) { m.graph().clear_output(); }, {"0 outputs"});
  expect_refused([](Model& m) { m.graph().mutable_input(0)->mutable_type()->mutable_tensor_type()->clear_shape(); },
                 {"input 'x' has no shape"});
  expect_refused([](Model& m) { m.graph().mutable_input(0)->mutable_type()->mutable_tensor_type()->set_elem_type(7); },
                 {"input 'x' has number type INT64"});
  expect_refused([](Model& m) { m.graph().mutable_input(0)->mutable_type()->mutable_sequence_type(); },
                 {"input 'x' is no tensor"});
  expect_refused(Model({1, -1}).node("Relu", {"x"}, {"y"}), {"input 'x': axis 1 is symbolic"});
  expect_refused(Model({1, int64_t{1} << 40}).node("Relu", {"x"}, {"y"}),
                 {"input 'x': axis 1 is 1099511627776", "2^26"});
  expect_refused(Model({1, 0}).node("Relu", {"x"}, {"y"}), {"axis 1 is 0"});
  expect_refused([](Model& m) { m.graph().add_sparse_initializer(); }, {"sparse initializers"});
  expect_refused([](Model& m) { m.graph().mutable_node(1)->set_op_type("LSTM"); },
                 {"node 'y' (LSTM): is no operator", "needs one of Abs, Add, ", "Unsqueeze"});
  expect_refused([](Model& m) { m.graph().mutable_node(1)->set_domain("com.microsoft"); },
                 {"node 'y' (Relu): operators of domain 'com.microsoft'"});
  expect_refused(
      [](Model& m) {
        m.graph().mutable_node(1)->set_name("named");
        m.set("odd", 1);
      },
      {"node 'named' (Relu): attribute 'odd' cannot be read"});
  expect_refused([](Model& m) { m.graph().mutable_node(0)->set_input(1, "v"); },
                 {"node 'h' (Gemm): input 'v' is not there"});
  expect_refused([](Model& m) { m.graph().mutable_node(0)->set_input(0, "y"); },
                 {"node 'h' (Gemm): input 'y' is not there", "a node before"});
  expect_refused([](Model& m) { m.graph().mutable_node()->SwapElements(0, 1); },
                 {"node 'y' (Relu): input 'h' is not there"});
  expect_refused([](Model& m) { m.node("Relu", {"x"}, {"y"}); }, {"node 'y' (Relu): output 'y' is there already"});
  expect_refused([](Model& m) { m.graph().mutable_output(0)->set_name("z"); },
                 {"output 'z' does not depend on the input"});
  expect_refused([](Model& m) { m.graph().mutable_output(0)->set_name("w"); },
                 {"output 'w' does not depend on the input"});
  expect_refused(
      [](Model& m) {
        m.graph().mutable_node(1)->add_output("mask"), m.node("Neg", {"mask"}, {"z"}),
            m.graph().mutable_output(0)->set_name("z");
      },
      {"node 'z' (Neg): input 'mask' is not there"});
  expect_refused(
      [](Model& m) {
        m.graph().mutable_output(0)->mutable_type()->mutable_tensor_type()->mutable_shape()->add_dim()->set_dim_value(
            2);
      },
      {"output 'y' is declared as [2], and its operators give [1, 2]"});
  for (const std::string bad : {"\xFF", "\xC0\x80", "\xED\xA0\x80", "\xF4\x90\x80\x80", "\xE2\x82"}) {
    expect_refused([&](Model& m) { m.graph().mutable_node(1)->set_name("a" + bad); },
                   {"node 'a?", "the name is not UTF-8"});
    expect_refused([&](Model& m) { m.graph().mutable_initializer(0)->set_name(bad); },
                   {"initializer '?", "the name is not UTF-8"});
  }
  const std::string euro = "\xE2\x82\xAC";
  Model named = dense_model();
  named.graph().mutable_initializer(0)->set_name(euro);
  named.graph().mutable_node(0)->set_input(1, euro);
  EXPECT_EQ(named.parse().network.weights()[0].name, euro);
}

TEST(OnnxErrors, SaysWhatIsWrongWithATensor) {
  const auto expect = [](const std::function<void(::onnx::TensorProto&)>& change,
                         std::initializer_list<std::string> fragments) {
    expect_refused([&](Model& m) { change(*m.graph().mutable_initializer(0)); }, fragments);
  };
  expect([](auto& t) { t.set_data_location(::onnx::TensorProto::EXTERNAL); },
         {"initializer 'w' has its data in another file"});
  expect([](auto& t) { t.add_external_data()->set_key("location"); }, {"initializer 'w' has its data in another file"});
  expect([](auto& t) { t.mutable_segment(); }, {"'w' comes in segments"});
  expect([](auto& t) { t.set_data_type(::onnx::TensorProto::FLOAT16); }, {"'w' has number type FLOAT16"});
  expect([](auto& t) { t.set_data_type(99); }, {"'w' has number type 99"});
  expect([](auto& t) { t.add_float_data(1); }, {"'w' has 7 values; its shape needs 6"});
  expect([](auto& t) { t.set_raw_data("12345"); }, {"'w' has 5 bytes; its shape needs 24"});
  expect([](auto& t) { t.set_dims(0, -3); }, {"'w' has an axis of -3"});
  expect([](auto& t) { t.set_dims(0, int64_t{1} << 62); }, {"'w' has an axis of", "2^40"});
  expect([](auto& t) { t.set_dims(0, int64_t{1} << 30); }, {"'w' has 6 values; its shape needs 2147483648"});
  expect([](auto& t) { for (int i = 0; i < 5; ++i) t.add_dims(1); }, {"'w' has 7 axes; needs at most 6"});
  expect([](auto& t) { t.set_name("b"); }, {"initializer 'b' is there twice"});
  expect([](auto& t) { t.clear_name(); }, {"an initializer has no name"});
  expect(
      [](auto& t) {
        t.set_data_type(::onnx::TensorProto::DOUBLE),
            t.set_raw_data(std::string(40, '\0') + std::string("\0\0\0\0\0\0\xF0\x7E", 8));
      },
      {"initializer 'w': the value 2.7430620343968443e+303; needs the range of f32"});
  expect_refused([](Model& m) { m.graph().mutable_initializer()->DeleteSubrange(0, 1), m.integers("w", {1, 2}); },
                 {"node 'h' (Gemm): input 1 ('w') has integers; needs floating"});
}

TEST(OnnxErrors, SaysWhatIsWrongWithAnOperator) {
  std::mt19937 random(3);
  const auto image = [&](const char* type) {
    Model model({1, 2, 5, 5});
    model.constant("w", random_plain(random, {3, 2, 3, 3}));
    return type == std::string("Conv") ? model.node(type, {"x", "w"}, {"y"}) : model.node(type, {"x"}, {"y"});
  };
  expect_refused(Model({1, 4}).constant("w", Plain({3, 2})).node("MatMul", {"x", "w"}, {"y"}),
                 {"node 'y' (MatMul): left is [1, 4], right is a constant [3, 2]"});
  expect_refused(Model({4}).constant("w", Plain({2, 3})).node("MatMul", {"w", "x"}, {"y"}),
                 {"(MatMul): left is a constant [2, 3], right is [4]"});
  expect_refused(Model({1, 4}).constant("w", Plain({3, 2})).node("Gemm", {"x", "w"}, {"y"}),
                 {"(Gemm): A is [1, 4], B is a constant [3, 2], transB 0"});
  expect_refused(Model({1, 4}).constant("c", Plain({3})).node("Add", {"x", "c"}, {"y"}), {"node 'y' (Add): ", "[3]"});
  expect_refused(Model({4, 4}).node("MatMul", {"x", "x"}, {"y"}),
                 {"node 'y' (MatMul): both sides", "needs a constant one"});
  expect_refused(Model({1, 4}).integers("c", {1, 2, 3, 4}).node("Add", {"x", "c"}, {"y"}),
                 {"(Add): input 1 ('c') has integers; needs floating"});
  expect_refused(Model({1, 4}).constant("c", Plain({0, 4})).node("Add", {"x", "c"}, {"y"}),
                 {"(Add): input 1 ('c') has no numbers"});
  expect_refused(Model({1, 4}).integers("t", {1 << 26, 1 << 26, 1 << 26}).node("Reshape", {"x", "t"}, {"y"}),
                 {"(Reshape): shape: "});
  expect_refused(Model({1, 4}).node("Add", {"x"}, {"y"}), {"(Add): 1 inputs and 1 outputs; needs 2 to 2"});
  expect_refused(Model({1, 4}).node("Relu", {""}, {"y"}), {"(Relu): 1 inputs"});
  expect_refused(Model({1, 4}).node("Softmax", {"x"}, {"s"}).node("Relu", {"s"}, {"y"}),
                 {"node 's' (Softmax): a softmax within the network"});
  expect_refused(Model({1, 4, 2}).node("Softmax", {"x"}, {"y"}), {"(Softmax): softmax of [1, 4, 2] along axis ?"});
  expect_refused(Model({1, 4}).node("Clip", {"x"}, {"y"}).set("min", 1.0).set("max", 0.0),
                 {"(Clip): min is 1, max is 0"});
  expect_refused(Model({1, 4}).node("Clip", {"x", "x"}, {"y"}), {"(Clip): input 1 ('x') is computed"});
  expect_refused(Model({1, 4}).node("Cast", {"x"}, {"y"}).set("to", 7), {"(Cast): converts to number type 7"});
  expect_refused(Model({1, 4}).node("LeakyRelu", {"x"}, {"y"}).set("alpha", 1),
                 {"attribute 'alpha' is of another type; needs a number"});
  expect_refused(Model({1, 4}).node("LeakyRelu", {"x"}, {"y"}).set("alpha", std::nan("")),
                 {"attribute 'alpha' is not finite"});
  expect_refused(Model({1, 4}).node("Reshape", {"x", "x"}, {"y"}),
                 {"(Reshape): input 1 ('x') is computed; needs constant integers"});
  expect_refused(Model({1, 4}).integers("t", {3, -1}).node("Reshape", {"x", "t"}, {"y"}), {"(Reshape): from [1, 4]"});
  expect_refused(Model({1, 4}).integers("t", {-1, -1}).node("Reshape", {"x", "t"}, {"y"}),
                 {"(Reshape): axis 1 of the new shape is -1"});
  expect_refused(Model({1, 4}).integers("t", {1, 0, 0}).node("Reshape", {"x", "t"}, {"y"}),
                 {"(Reshape): axis 2 of the new shape is 0"});
  expect_refused(Model({1, 4}).integers("t", {1, 1, 1, 1, 1, 1, 4}).node("Reshape", {"x", "t"}, {"y"}),
                 {"(Reshape): "});
  expect_refused(Model({1, 4}).node("Transpose", {"x"}, {"y"}).set("perm", {1, 1}),
                 {"(Transpose): axis 1 is given twice"});
  expect_refused(Model({1, 4}).node("Concat", {"x", "x"}, {"y"}).set("axis", 2), {"(Concat): axis 2 of 2 axes"});
  expect_refused(Model({1, 4}).node("Squeeze", {"x"}, {"y"}).set("axes", Extents{1}),
                 {"(Squeeze): axis 1 of [1, 4] is squeezed"});
  expect_refused(Model({1, 4}).node("Pad", {"x"}, {"y"}).set("pads", {0, -1, 0, 0}), {"(Pad): padding of -1"});
  expect_refused(Model({1, 4}).node("Pad", {"x"}, {"y"}).set("pads", {0, 1, 0, 0}).set("mode", "reflect"),
                 {"(Pad): mode is another"});
  expect_refused(Model({1, 1 << 20}).node("Pad", {"x"}, {"y"}).set("pads", {1 << 20, 0, 0, 0}),
                 {"(Pad): gives [1048577, 1048576]; needs 1 to 2^26 numbers"});
  expect_refused(Model({1, 4}).node("Split", {"x"}, {"y", "z"}).set("axis", 1).set("split", {1, 2}),
                 {"(Split): split: parts of 3"});
  expect_refused(Model({1, 4}).node("ReduceSum", {"x"}, {"y"}).set("axes", Extents{5}),
                 {"(ReduceSum): axis 5 of 2 axes"});
  expect_refused(
      Model({1, 4}).integers("s", {0}).integers("e", {0}).integers("a", {1}).node("Slice", {"x", "s", "e", "a"}, {"y"}),
      {"(Slice): gives [1, 0]"});
  expect_refused(image("Conv").set("kernel_shape", {2, 2}), {"(Conv): kernel_shape is another"});
  expect_refused(image("Conv").set("group", 2), {"(Conv): conv2d: "});
  expect_refused(image("Conv").set("group", -1), {"(Conv): group is -1"});
  expect_refused(image("Conv").set("strides", {1, 0}), {"(Conv): strides has 2 numbers, some out of range"});
  expect_refused(image("Conv").set("strides", Extents{1}), {"(Conv): strides has 1 numbers; needs 2"});
  expect_refused(image("Conv").set("pads", {0, 0, 1 << 26, 1 << 26}),
                 {"(Conv): shape: ", "more elements than can be addressed"});
  expect_refused(image("Conv").set("pads", {0, 0, 1 << 26, 0}),
                 {"(Conv): gives [1, 3, 67108867, 3]; needs 1 to 2^26 numbers"});
  expect_refused(image("Conv").set("dilations", {1 << 26, 1}), {"(Conv): conv2d: input is", "kernel covers"});
  expect_refused(image("Conv").set("auto_pad", "SOME"), {"(Conv): auto_pad is 'SOME'"});
  expect_refused(Model({3, 2, 5, 5}).constant("w", Plain({3, 2, 3, 3})).node("Conv", {"x", "w"}, {"y"}),
                 {"(Conv): input is [3, 2, 5, 5]; needs (1, C, H, W)"});
  expect_refused(image("MaxPool"), {"(MaxPool): kernel_shape is not given"});
  expect_refused(image("MaxPool").set("kernel_shape", {2, 2}).set("strides", {2, 2}).set("ceil_mode", 1),
                 {"(MaxPool): ceil_mode"});
  expect_refused(image("MaxPool").set("kernel_shape", {6, 6}), {"(MaxPool): max_pool2d: "});
  expect_refused(Model({1, 3}).constant("c", Plain({2})).node("BatchNormalization", {"x", "c", "c", "c", "c"}, {"y"}),
                 {"(BatchNormalization): input is [1, 3]"});
}

// Constants that grow when they are computed stay claims: nothing of theirs is allocated, and the limit on values
// refuses them.
TEST(OnnxErrors, CountsTheInputsOfOperators) {
  for (const char* type : {"Abs", "Cos", "Erf", "Exp", "Identity", "Log", "Neg", "Relu", "Sigmoid", "Sin", "Softplus",
                           "Sqrt", "Tanh", "Flatten", "Transpose"}) {
    expect_refused(Model({1, 4}).constant("c", Plain({1, 4})).node(type, {"x", "c"}, {"y"}), {"2 inputs"});
  }
  for (const char* type : {"Add", "Sub", "Mul", "Div", "MatMul"})
    expect_refused(Model({1, 4}).node(type, {"x"}, {"y"}), {"1 input"});
}

TEST(OnnxErrors, HostileConstantsTakeNoMemory) {
  Model sums({1, 4});
  sums.constant("c0", Plain({2}));
  for (int i = 0; i < 40; ++i) {
    const std::string from = "c" + std::to_string(i), to = "c" + std::to_string(i + 1);
    sums.node("Concat", {from, from}, {to}).set("axis", 0);
  }
  expect_refused(sums.node("Add", {"x", "c40"}, {"y"}),
                 {"node 'c26' (Concat): gives [134217728]; needs 1 to 2^26 numbers"});
  Model lists({1, 4});
  lists.integers("c0", {1, 1});
  for (int i = 0; i < 40; ++i) {
    const std::string from = "c" + std::to_string(i), to = "c" + std::to_string(i + 1);
    lists.node("Concat", {from, from}, {to}).set("axis", 0);
  }
  expect_refused(lists.node("Reshape", {"x", "c40"}, {"y"}), {"(Concat): joins", "at most 1024"});
  expect_refused(Model({1, 4})
                     .integers("s", {1 << 26, 1 << 26})
                     .node("ConstantOfShape", {"s"}, {"c"})
                     .node("Add", {"x", "c"}, {"y"}),
                 {"node 'c' (ConstantOfShape)"});
}

}  // namespace
}  // namespace mollify::nn::formats

#endif
