// The operators that move numbers without changing them, reductions, and the arithmetic of constant shapes.
#include <mollify/nn/formats/onnx_operators.h>

#include <mollify/engine/file.h>

#include <algorithm>
#include <limits>
#include <numeric>

namespace mollify::nn::formats::detail {
namespace {

using List = std::vector<int64_t>;

constexpr int64_t kLargestExtent = int64_t{1} << 26;
constexpr size_t kLongestList = 1024;  // of constant integers that are computed

// ---- New shapes

template <class F>
Run reshaping(F target) {
  return [target](std::span<const Value> in, const Tensor&) -> Values {
    return {with_shape(in[0], target(file_shape(in[0])))};
  };
}

List required(const std::optional<List>& list, const char* name) {
  require<FormatError>(list.has_value(), "{} is not given; needs it", name);
  return *list;
}

// 0 takes the extent from the input, −1 what is left.
Shape resolved(const List& target, const Shape& from) {
  Shape out;
  int free = -1;
  for (size_t i = 0; i < target.size(); ++i) {
    const int axis = static_cast<int>(i);
    require(target[i] >= -1 && target[i] <= kLargestExtent && (target[i] != 0 || axis < from.rank()) &&
                (target[i] != -1 || free < 0),
            "axis {} of the new shape is {}, the input is {}; needs extents up to 2^26, 0 for an axis that the input "
            "has, and one -1",
            i, target[i], from);
    if (target[i] == -1) free = axis;
    out.push_back(target[i] == -1 ? 1 : target[i] == 0 ? from[axis] : target[i]);
  }
  const int64_t size = Layout::packed(out, DType::f32).shape.size();  // throws where it overflows
  if (free < 0) return out;
  require(from.size() % size == 0, "from {} to {} and a free axis; the new extents must divide the input's size", from,
          out);
  out[free] = from.size() / size;
  return out;
}

Run build_reshape(NodeReader& node) {
  node.require_inputs(1, 2);
  require<FormatError>(node.integer("allowzero", 0) == 0, "allowzero is set; needs 0");
  return reshaping([target = required(node.integers_or_input("shape", 1), "shape")](const Shape& from) {
    return resolved(target, from);
  });
}

Run build_flatten(NodeReader& node) {
  node.require_inputs(1, 1);
  return reshaping([axis = node.integer("axis", 1)](const Shape& from) {
    const int rank = from.rank();
    require(axis >= -rank && axis <= rank, "axis is {}, input is {}; needs one of its axes or the end", axis, from);
    const int first = static_cast<int>(axis < 0 ? axis + rank : axis);
    const int64_t rows = std::accumulate(from.begin(), from.begin() + first, int64_t{1}, std::multiplies<>());
    return Shape{rows, rows == 0 ? 0 : from.size() / rows};
  });
}

Run build_squeeze(NodeReader& node) {
  node.require_inputs(1, 2);
  return reshaping([axes = node.integers_or_input("axes", 1)](const Shape& from) {
    const std::vector<int> dropped = axes ? file_axes(*axes, from.rank()) : std::vector<int>();
    Shape out;
    for (int axis = 0; axis < from.rank(); ++axis) {
      const bool named = std::find(dropped.begin(), dropped.end(), axis) != dropped.end();
      require(!named || from[axis] == 1, "axis {} of {} is squeezed; needs an extent of 1", axis, from);
      if (!named && (axes || from[axis] != 1)) out.push_back(from[axis]);
    }
    return out;
  });
}

Run build_unsqueeze(NodeReader& node) {
  node.require_inputs(1, 2);
  return reshaping([axes = required(node.integers_or_input("axes", 1), "axes")](const Shape& from) {
    require(axes.size() <= kMaxRank, "{} axes; needs at most {}", axes.size(), kMaxRank);
    std::vector<int> added = file_axes(axes, from.rank() + static_cast<int>(axes.size()));
    std::sort(added.begin(), added.end());
    Shape out = from;
    for (const int axis : added) out.insert(axis, 1);
    return out;
  });
}

Run build_transpose(NodeReader& node) {
  node.require_inputs(1, 1);
  const bool given = node.has_attribute("perm");
  return [given, perm = node.integers("perm", List())](std::span<const Value> in, const Tensor&) -> Values {
    const Shape shape = file_shape(in[0]);
    std::vector<int> order(static_cast<size_t>(shape.rank()));
    std::iota(order.rbegin(), order.rend(), 0);
    if (given) order = file_axes(perm, shape.rank());
    require(static_cast<int>(order.size()) == shape.rank(), "perm has {} axes, input is {}; needs all of them",
            order.size(), shape);
    const bool keeps_first = !order.empty() && order[0] == 0;
    const Value x = in[0].form == Form::filter ? in_file_order(in[0]) : keeps_first ? in[0] : stacked(in[0]);
    std::vector<int> tensor_order;
    if (x.form == Form::stacked) tensor_order.push_back(0);
    for (const int axis : order) tensor_order.push_back(tensor_axis(x, axis));
    return {
        folded({permute(x.tensor, std::span<const int>(tensor_order)), x.form == Form::image ? Form::folded : x.form})};
  };
}

// ---- Parts

Run build_concat(NodeReader& node) {
  node.require_inputs(1, node.inputs());
  require<FormatError>(node.has_attribute("axis"), "axis is not given; needs it");
  for (size_t i = 0; i < node.inputs(); ++i)
    require<FormatError>(node.has_input(i), "input {} is not given; needs all of them", i);
  return [axis = node.integer("axis", 0)](std::span<const Value> in, const Tensor&) -> Values {
    const auto depends = [](const Value& x) { return !x.is_constant(); };
    const auto is_image = [](const Value& x) { return x.form == Form::image; };
    const auto row = std::find_if(in.begin(), in.end(), depends);
    const std::vector<int> axes{file_axis(axis, file_shape(in[0]).rank())};
    Form form = row == in.end() ? Form::constant : Form::stacked;
    if (std::all_of(in.begin(), in.end(), is_image) && axes[0] != 0) form = Form::image;
    else if (std::all_of(in.begin(), in.end(), [&](const Value& x) { return depends(x) && x.form != Form::stacked; }) &&
             axes[0] != 0)
      form = Form::folded;
    Tensors parts(in.size());
    for (size_t i = 0; i < in.size(); ++i) {
      parts[i] = form == Form::image    ? in[i].tensor
                 : form == Form::folded ? in_file_order(in[i]).tensor
                                        : stacked(in[i]).tensor;
      if (form != Form::stacked || !in[i].is_constant()) continue;
      Shape rows = parts[i].shape();
      rows.insert(0, row->tensor.dim(0));
      parts[i] = expand(parts[i], rows);
    }
    return {folded({concat(parts, tensor_axis({parts[0], form}, axes[0])), form})};
  };
}

Run build_slice(NodeReader& node) {
  node.require_inputs(1, 5);
  const List starts = required(node.integers_or_input("starts", 1), "starts"),
             ends = required(node.integers_or_input("ends", 2), "ends");
  List counted(starts.size());
  std::iota(counted.begin(), counted.end(), 0);
  const List axes = node.integers_or_input("axes", 3).value_or(counted),
             steps = node.integers_or_input("steps", 4).value_or(List(starts.size(), 1));
  require<FormatError>(ends.size() == starts.size() && axes.size() == starts.size() && steps.size() == starts.size(),
                       "{} starts, {} ends, {} axes, {} steps; needs as many of each", starts.size(), ends.size(),
                       axes.size(), steps.size());
  for (const int64_t step : steps)
    require<FormatError>(step != 0 && step >= -kLargestExtent && step <= kLargestExtent,
                         "a step of {}; needs -2^26 to 2^26 and not 0", step);
  return [=](std::span<const Value> in, const Tensor&) -> Values {
    const std::vector<int> sliced = file_axes(axes, file_shape(in[0]).rank());
    Value x = with_axes(in[0], sliced);
    for (size_t i = 0; i < sliced.size(); ++i)
      x.tensor = slice(x.tensor, tensor_axis(x, sliced[i]), starts[i], ends[i], steps[i]);
    return {folded(x)};
  };
}

Run build_split(NodeReader& node) {
  node.require_inputs(1, 2);
  const std::optional<List> given = node.integers_or_input("split", 1);
  const int64_t outputs = static_cast<int64_t>(node.outputs());
  require<FormatError>(node.integer("num_outputs", outputs) == outputs,
                       "num_outputs is another number than the outputs, {}; needs that", outputs);
  return [given, outputs, axis = node.integer("axis", 0)](std::span<const Value> in, const Tensor&) -> Values {
    const Shape shape = file_shape(in[0]);
    const std::vector<int> axes{file_axis(axis, shape.rank())};
    const int64_t extent = shape[axes[0]], part = (extent + outputs - 1) / outputs;
    List parts = given.value_or(List());
    for (int64_t start = 0; !given && start < part * outputs; start += part)
      parts.push_back(std::clamp<int64_t>(extent - start, 0, part));
    for (const int64_t size : parts)
      require(size >= 0 && size <= extent, "a part of {} of {} along axis {}; needs 0 to the extent", size, shape,
              axes[0]);
    require(static_cast<int64_t>(parts.size()) == outputs && !parts.empty(), "{} parts for {} outputs; needs as many",
            parts.size(), outputs);
    const Value x = with_axes(in[0], axes);
    Values out;
    for (const Tensor& piece : split(x.tensor, parts, tensor_axis(x, axes[0]))) out.push_back(folded({piece, x.form}));
    return out;
  };
}

// −∞ around an image's rows and columns only; none otherwise.
std::shared_ptr<const Padded> padded_image(const Value& x, const std::vector<int>& axes, const List& pads,
                                           double value) {
  if (value != -std::numeric_limits<double>::infinity() || x.is_constant() || file_shape(x).rank() != 4 ||
      file_shape(x)[0] != 1)
    return {};
  std::vector<int64_t> around(4);
  for (size_t i = 0; i < axes.size(); ++i) {
    const int64_t before = pads[i], after = pads[i + axes.size()];
    if (before + after > 0 && axes[i] < 2) return {};
    if (axes[i] < 2) continue;
    around[static_cast<size_t>(axes[i]) - 2] = before;
    around[static_cast<size_t>(axes[i])] = after;
  }
  return std::make_shared<const Padded>(Padded{folded(x), around});
}

Run build_pad(NodeReader& node) {
  node.require_inputs(1, 4);
  require<FormatError>(node.text("mode", "constant") == "constant", "mode is another than constant; needs that");
  const List pads = required(node.integers_or_input("pads", 1), "pads");
  const double value = node.number_or_input("value", 2).value_or(0);
  const std::optional<List> given = node.integers_or_input("axes", 3);
  for (const int64_t count : pads)
    require<FormatError>(count >= 0 && count <= kLargestExtent, "padding of {}; needs 0 to 2^26", count);
  return [=](std::span<const Value> in, const Tensor&) -> Values {
    const int rank = file_shape(in[0]).rank();
    std::vector<int> axes(static_cast<size_t>(rank));
    std::iota(axes.begin(), axes.end(), 0);
    if (given) axes = file_axes(*given, rank);
    require(pads.size() == 2 * axes.size(), "{} pads for {} axes of {}; needs two for each", pads.size(), axes.size(),
            file_shape(in[0]));
    std::vector<int> padded;
    for (size_t i = 0; i < axes.size(); ++i)
      if (pads[i] + pads[i + axes.size()] > 0) padded.push_back(axes[i]);
    Value x = with_axes(in[0], padded);
    const std::shared_ptr<const Padded> around = padded_image(in[0], axes, pads, value);
    for (size_t i = 0; i < axes.size(); ++i)
      if (pads[i] + pads[i + axes.size()] > 0)
        x.tensor = pad(x.tensor, tensor_axis(x, axes[i]), pads[i], pads[i + axes.size()], value);
    x.padded = around;
    return {folded(x)};
  };
}

// ---- Reductions

template <bool average>
Run build_reduce(NodeReader& node) {
  node.require_inputs(1, 2);
  const std::optional<List> given = node.integers_or_input("axes", 1);
  const bool keep = node.integer("keepdims", 1) != 0, none_is_identity = node.integer("noop_with_empty_axes", 0) != 0;
  return [=](std::span<const Value> in, const Tensor&) -> Values {
    const int rank = file_shape(in[0]).rank();
    std::vector<int> axes = file_axes(given.value_or(List()), rank);
    if (axes.empty() && none_is_identity) return {in[0]};
    if (axes.empty()) {
      axes.resize(static_cast<size_t>(rank));
      std::iota(axes.begin(), axes.end(), 0);
    }
    return {reduced(in[0], axes, keep, average)};
  };
}

// ---- Constants

Run build_constant_of_shape(NodeReader& node) {
  node.require_inputs(1, 1);
  const Array* const value = node.array("value");
  require<FormatError>(!value || (value->floating && value->numbers.size() == 1),
                       "value is another than one number; needs one");
  const List extents = required(node.integers_or_input("", 0), "the shape");
  for (const int64_t extent : extents)
    require<FormatError>(extent >= 1, "the shape has an extent of {}; needs at least 1", extent);
  const Shape shape = resolved(extents, {});
  return [shape, number = value ? value->numbers[0] : 0.0](std::span<const Value>, const Tensor& one) -> Values {
    return {{expand(one * number, shape), Form::constant}};
  };
}

constexpr Operator kShape[] = {{"Concat", build_concat},
                               {"ConstantOfShape", build_constant_of_shape},
                               {"Flatten", build_flatten},
                               {"Pad", build_pad},
                               {"ReduceMean", build_reduce<true>},
                               {"ReduceSum", build_reduce<false>},
                               {"Reshape", build_reshape},
                               {"Slice", build_slice},
                               {"Split", build_split},
                               {"Squeeze", build_squeeze},
                               {"Transpose", build_transpose},
                               {"Unsqueeze", build_unsqueeze}};

Array list_of(List values, int rank) {
  Array out;
  if (rank == 1) out.shape.push_back(static_cast<int64_t>(values.size()));
  out.integers = std::move(values);
  return out;
}

// Shape's answer: the extents from `start` to `end`, as in Python.
Array extents_of(NodeReader& node) {
  node.require_inputs(1, 1);
  require<FormatError>(node.shape(0).has_value(), "the shape of the input is not known; needs a value of this graph");
  const Shape& shape = *node.shape(0);
  const auto clamped = [&](int64_t i) { return std::clamp<int64_t>(i < 0 ? i + shape.rank() : i, 0, shape.rank()); };
  const int64_t start = clamped(node.integer("start", 0)), end = clamped(node.integer("end", shape.rank()));
  return list_of(start < end ? List(shape.begin() + start, shape.begin() + end) : List(), 1);
}

Array gathered(NodeReader& node) {
  node.require_inputs(2, 2);
  const Array &from = *node.constant(0), &at = *node.constant(1);
  require<FormatError>(from.shape.rank() == 1 && at.shape.rank() <= 1 && file_axis(node.integer("axis", 0), 1) == 0,
                       "gathers from {} by {}; needs a list and at most a list", from.shape, at.shape);
  List out;
  const int64_t size = from.shape[0];
  for (const int64_t i : at.integers) {
    require<FormatError>(i >= -size && i < size, "gathers number {} of {}; needs one that is there", i, size);
    out.push_back(from.integers[static_cast<size_t>(i < 0 ? i + size : i)]);
  }
  return list_of(std::move(out), at.shape.rank());
}

Array joined(NodeReader& node) {
  node.require_inputs(1, node.inputs());
  node.ignore_attribute("axis");
  List out;
  for (size_t i = 0; i < node.inputs(); ++i) {
    const Array& part = *node.constant(i);
    require<FormatError>(part.shape.rank() == 1 && out.size() + part.integers.size() <= kLongestList,
                         "joins {} to {} integers; needs lists, in all at most {}", part.shape, out.size(),
                         kLongestList);
    out.insert(out.end(), part.integers.begin(), part.integers.end());
  }
  return list_of(std::move(out), 1);
}

// Squeeze and Unsqueeze between a number and a list of one.
Array of_rank(NodeReader& node, int rank) {
  node.require_inputs(1, 2);
  node.integers_or_input("axes", 1);
  const Array& from = *node.constant(0);
  require<FormatError>(from.integers.size() == 1 && from.shape.rank() <= 1,
                       "from {} integers to rank {}; needs a single one", from.shape, rank);
  return list_of(from.integers, rank);
}

Array unchanged(NodeReader& node) {
  node.require_inputs(1, 1);
  return *node.constant(0);
}

constexpr struct { const char* type; Array (*compute)(NodeReader& node);
} kIntegers[] = {{"Cast", unchanged},
                 {"Concat", joined},
                 {"Gather", gathered},
                 {"Identity", unchanged},
                 {"Squeeze", [](NodeReader& node) { return of_rank(node, 0); }},
                 {"Unsqueeze", [](NodeReader& node) { return of_rank(node, 1); }}};

}  // namespace

std::span<const Operator> shape_operators() { return kShape; }

int file_axis(int64_t axis, int rank) {
  require(axis >= -rank && axis < rank, "axis {} of {} axes; needs one of them", axis, rank);
  return static_cast<int>(axis < 0 ? axis + rank : axis);
}

std::vector<int> file_axes(const std::vector<int64_t>& axes, int rank) {
  std::vector<int> out;
  for (const int64_t axis : axes) {
    out.push_back(file_axis(axis, rank));
    require(std::count(out.begin(), out.end(), out.back()) == 1, "axis {} is given twice; needs each at most once",
            axis);
  }
  return out;
}

Value reduced(const Value& x, const std::vector<int>& axes, bool keep, bool average) {
  Value out = x.form == Form::filter ? in_file_order(x) : x;
  const bool first_is_rows = out.form == Form::folded || out.form == Form::image;  // nothing to reduce: its extent is 1
  const Shape before = file_shape(x);
  Shape after = before, short_after;
  std::vector<int> tensor_axes;
  double count = 1;
  for (const int axis : axes) {
    count *= static_cast<double>(before[axis]);
    after[axis] = 1;
    if (axis != 0 || !first_is_rows) tensor_axes.push_back(tensor_axis(out, axis));
  }
  for (int axis = 0; axis < before.rank(); ++axis)
    if (std::find(axes.begin(), axes.end(), axis) == axes.end()) short_after.push_back(before[axis]);
  if (!tensor_axes.empty()) out.tensor = sum(out.tensor, std::span<const int>(tensor_axes), true);
  if (average && count != 1) out.tensor = out.tensor / count;
  return with_shape(out, keep ? after : short_after);
}

std::optional<Array> constant_integers(NodeReader& node) {
  if (node.type() == "Shape") return extents_of(node);
  const auto found = std::find_if(std::begin(kIntegers), std::end(kIntegers),
                                  [&](const auto& entry) { return node.type() == entry.type; });
  if (found == std::end(kIntegers) || node.inputs() == 0) return {};
  for (size_t i = 0; i < node.inputs(); ++i)
    if (!node.constant(i) || node.constant(i)->floating) return {};
  for (size_t i = 0; i < node.inputs(); ++i)
    require<FormatError>(node.constant(i)->integers.size() <= kLongestList,
                         "computes with {} constant integers; needs at most {}", node.constant(i)->integers.size(),
                         kLongestList);
  return found->compute(node);
}

}  // namespace mollify::nn::formats::detail
