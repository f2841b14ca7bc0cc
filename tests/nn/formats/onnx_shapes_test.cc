// The operators of ONNX files that move numbers or sum them, against plain loops in the file's order of axes.
#ifdef MOLLIFY_ONNX

#include "onnx_model.h"

#include <limits>

namespace mollify::nn::formats {
namespace {

// The image as it lies in the file, whatever was before: a pool of single pixels leaves it channels last.
Model image() {
  Model model({1, 2, 3, 4});
  model.node("MaxPool", {"x"}, {"p"}).set("kernel_shape", {1, 1});
  return model;
}

TEST(OnnxShapes, Shapes) {
  const auto expect_shape = [](Model model, const Extents& shape) {
    expect_computes(model.parse(), [&](const Plain& x) { return reshaped(x, shape); });
  };
  const std::vector<Extents> flat{{1, 24}, {1, 24}, {2, 12}, {6, 4}, {24, 1}};
  for (int axis = -4; axis <= 4; ++axis)
    expect_shape(image().node("Flatten", {"p"}, {"y"}).set("axis", axis),
                 flat[static_cast<size_t>(axis < 0 ? axis + 4 : axis)]);
  const std::vector<std::pair<Extents, Extents>> targets{
      {{1, -1}, {1, 24}}, {{-1, 24}, {1, 24}},     {{-1}, {24}}, {{0, 0, -1}, {1, 2, 12}}, {{1, 4, 3, 2}, {1, 4, 3, 2}},
      {{3, 8}, {3, 8}},   {{1, 1, 24}, {1, 1, 24}}};
  for (const auto& [target, shape] : targets)
    expect_shape(image().integers("t", target).node("Reshape", {"p", "t"}, {"y"}), shape);
  expect_shape(image().integers("a", {0}).node("Squeeze", {"p", "a"}, {"y"}), {2, 3, 4});
  expect_shape(image().integers("a", {0, -1}).node("Unsqueeze", {"p", "a"}, {"q"}).node("Squeeze", {"q"}, {"y"}),
               {2, 3, 4});
  expect_shape(image().node("Unsqueeze", {"p"}, {"y"}).set("axes", Extents{1}), {1, 1, 2, 3, 4});
  // as PyTorch writes view(x.size(0), -1)
  expect_shape(image()
                   .integers("zero", {0}, true)
                   .integers("axes", {0})
                   .integers("rest", {-1})
                   .node("Shape", {"p"}, {"s"})
                   .node("Gather", {"s", "zero"}, {"n"})
                   .node("Unsqueeze", {"n", "axes"}, {"l"})
                   .node("Concat", {"l", "rest"}, {"t"})
                   .set("axis", 0)
                   .node("Reshape", {"p", "t"}, {"y"}),
               {1, 24});
}

TEST(OnnxShapes, Transposes) {
  Extents order{0, 1, 2, 3};
  do {
    expect_computes(image().node("Transpose", {"p"}, {"y"}).set("perm", order).parse(), [&](const Plain& x) {
      Extents shape;
      for (const int64_t axis : order) shape.push_back(x.shape[static_cast<size_t>(axis)]);
      Plain y(shape);
      for (int64_t i = 0; i < 24; ++i) {
        const Extents at{0, i / 12, i / 4 % 3, i % 4};
        y(at[static_cast<size_t>(order[0])], at[static_cast<size_t>(order[1])], at[static_cast<size_t>(order[2])],
          at[static_cast<size_t>(order[3])]) = x(0, at[1], at[2], at[3]);
      }
      return y;
    });
  } while (std::next_permutation(order.begin(), order.end()));
}

// x (1, 2, 3, 4) along an axis: the numbers at `places` of it, or `fill` where a place is negative.
Plain taken(const Plain& x, size_t axis, const Extents& places, double fill = 0) {
  Extents shape = x.shape;
  shape[axis] = static_cast<int64_t>(places.size());
  Plain y(shape);
  for (int64_t a = 0; a < shape[0]; ++a)
    for (int64_t b = 0; b < shape[1]; ++b)
      for (int64_t c = 0; c < shape[2]; ++c)
        for (int64_t d = 0; d < shape[3]; ++d) {
          Extents at{a, b, c, d};
          at[axis] = places[static_cast<size_t>(at[axis])];
          y(a, b, c, d) = at[axis] < 0 ? fill : x(at[0], at[1], at[2], at[3]);
        }
  return y;
}

TEST(OnnxShapes, Parts) {
  constexpr int64_t kEnd = std::numeric_limits<int64_t>::max(), kBegin = std::numeric_limits<int64_t>::min();
  const auto along = [](size_t axis, const Extents& places, double fill = 0) {
    return [=](const Plain& x) { return taken(x, axis, places, fill); };
  };
  const auto sliced = [](const Extents& start, const Extents& end, const Extents& axis, const Extents& step) {
    return image()
        .integers("s", start)
        .integers("e", end)
        .integers("a", axis)
        .integers("t", step)
        .node("Slice", {"p", "s", "e", "a", "t"}, {"y"})
        .parse();
  };
  expect_computes(sliced({1}, {kEnd}, {3}, {2}), along(3, {1, 3}));
  expect_computes(sliced({-1}, {kBegin}, {-2}, {-1}), along(2, {2, 1, 0}));
  expect_computes(sliced({-9}, {1}, {1}, {1}), along(1, {0}));
  expect_computes(sliced({0}, {1}, {0}, {1}), along(0, {0}));
  expect_computes(
      image().node("Split", {"p"}, {"a", "b"}).set("axis", 1).node("Concat", {"b", "a"}, {"y"}).set("axis", 1).parse(),
      along(1, {1, 0}));
  expect_computes(image()
                      .node("Split", {"p"}, {"a", "b"})
                      .set("axis", 3)
                      .set("split", {1, 3})
                      .node("Identity", {"b"}, {"y"})
                      .parse(),
                  along(3, {1, 2, 3}));
  for (int axis = 0; axis < 4; ++axis) {
    Extents twice;
    for (int copy = 0; copy < 2; ++copy)
      for (int64_t i = 0; i < Extents{1, 2, 3, 4}[static_cast<size_t>(axis)]; ++i) twice.push_back(i);
    expect_computes(image().node("Concat", {"p", "x"}, {"y"}).set("axis", axis).parse(),
                    along(static_cast<size_t>(axis), twice));
    expect_computes(image().node("Concat", {"p", "p"}, {"y"}).set("axis", axis - 4).parse(),
                    along(static_cast<size_t>(axis), twice));
  }
  expect_computes(image()
                      .constant("c", mapped(Plain({1, 2, 3, 1}), [](double) { return 0.5; }))
                      .node("Concat", {"c", "p"}, {"y"})
                      .set("axis", 3)
                      .parse(),
                  along(3, {-1, 0, 1, 2, 3}, 0.5));
  expect_computes(image()
                      .integers("n", {0, 0, 2, 0, 0, 0, 1, 0})
                      .constant("v", Plain({}, {0.5}))
                      .node("Pad", {"p", "n", "v"}, {"y"})
                      .parse(),
                  along(2, {-1, -1, 0, 1, 2, -1}, 0.5));
  expect_computes(image().node("Pad", {"p"}, {"y"}).set("pads", {1, 0, 0, 0, 0, 0, 0, 0}).parse(), along(0, {-1, 0}));
  expect_computes(
      image().integers("s", {3, 4}).node("ConstantOfShape", {"s"}, {"c"}).node("Add", {"p", "c"}, {"y"}).parse(),
      [](const Plain& x) { return x; });
}

TEST(OnnxShapes, Reductions) {
  for (int set = 1; set < 16; ++set)
    for (const bool keep : {false, true})
      for (const char* type : {"ReduceMean", "ReduceSum"}) {
        Extents axes;
        for (int axis = 0; axis < 4; ++axis)
          if (set >> axis & 1) axes.push_back(axis % 2 ? axis : axis - 4);
        expect_computes(image().node(type, {"p"}, {"y"}).set("axes", axes).set("keepdims", keep ? 1 : 0).parse(),
                        [&](const Plain& x) {
                          Extents kept = x.shape, shape;
                          double count = 1;
                          for (size_t axis = 0; axis < 4; ++axis)
                            if (set >> axis & 1)
                              count *= static_cast<double>(std::exchange(kept[axis], 1));
                            else
                              shape.push_back(x.shape[axis]);
                          Plain y(kept);
                          for (int64_t i = 0; i < 24; ++i)
                            y(0, kept[1] > 1 ? i / 12 : 0, kept[2] > 1 ? i / 4 % 3 : 0, kept[3] > 1 ? i % 4 : 0) +=
                                x.values[static_cast<size_t>(i)] / (type[6] == 'M' ? count : 1);
                          return keep ? y : reshaped(y, shape);
                        });
      }
}

}  // namespace
}  // namespace mollify::nn::formats

#endif
