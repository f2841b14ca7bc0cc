// Views and joins.
#include "rows.h"

namespace mollify::op_table {
namespace {

using In = const Tensor&;

Case reshape_case(const Shape& from, const Shape& to, bool rows = false) {
  return of_one(
      from, [to](In x) { return reshape(x, to); },
      [to](const Array& x) {
        return Array{to, x.values};
      },
      rows);
}

Case flatten_case(const Shape& from, int first, const Shape& to) {
  return of_one(
      from, [first](In x) { return flatten(x, first); },
      [to](const Array& x) {
        return Array{to, x.values};
      },
      first > 0);
}

Array permuted(const Array& x, const std::vector<int>& order) {
  Shape shape;
  for (int axis : order) shape.push_back(x.shape[axis]);
  return build(shape, [&](const Index& index) {
    Index at(order.size());
    for (size_t i = 0; i < order.size(); ++i) at[static_cast<size_t>(order[i])] = index[i];
    return x.at(at);
  });
}

Case permute_case(const Shape& shape, const std::vector<int>& order) {
  return of_one(
      shape, [order](In x) { return permute(x, std::span<const int>(order)); },
      [order](const Array& x) { return permuted(x, order); }, order.size() > 1 && order[0] == 0 && shape[0] > 0);
}

Case transpose_case(const Shape& shape, int a, int b, const std::vector<int>& order) {
  return of_one(
      shape, [=](In x) { return transpose(x, a, b); }, [order](const Array& x) { return permuted(x, order); });
}

Case expand_case(const Shape& from, const Shape& to) {
  return of_one(
      from, [to](In x) { return expand(x, to); },
      [=](const Array& x) {
        return build(to, [&](const Index& index) {
          Index at(index.end() - from.rank(), index.end());
          for (int axis = 0; axis < from.rank(); ++axis)
            if (from[axis] == 1) at[static_cast<size_t>(axis)] = 0;
          return x.at(at);
        });
      });
}

// places: what a Python slice of the axis would visit.
Array picked(const Array& x, int axis, const std::vector<int64_t>& places) {
  Shape shape = x.shape;
  shape[axis] = static_cast<int64_t>(places.size());
  return build(shape, [&](Index index) {
    int64_t& i = index[static_cast<size_t>(axis)];
    i = places[static_cast<size_t>(i)];
    return x.at(index);
  });
}

Case slice_case(const Shape& shape, int axis, int64_t start, int64_t stop, int64_t step,
                const std::vector<int64_t>& places) {
  const int at = axis < 0 ? axis + shape.rank() : axis;
  return of_one(
      shape, [=](In x) { return slice(x, axis, start, stop, step); },
      [=](const Array& x) { return picked(x, at, places); }, at > 0);
}

Case flip_case(const Shape& shape, int axis) {
  std::vector<int64_t> places;
  for (int64_t i = shape[axis]; i-- > 0;) places.push_back(i);
  return of_one(
      shape, [=](In x) { return flip(x, axis); }, [=](const Array& x) { return picked(x, axis, places); }, axis > 0);
}

Case pad_case(const Shape& shape, int axis, int64_t before, int64_t after, double value) {
  return of_one(
      shape, [=](In x) { return pad(x, axis, before, after, value); },
      [=](const Array& x) {
        Shape out = shape;
        out[axis] += before + after;
        return build(out, [&](Index index) {
          int64_t& i = index[static_cast<size_t>(axis)];
          i -= before;
          return i < 0 || i >= shape[axis] ? value : x.at(index);
        });
      },
      axis > 0 && value == 0);
}

Case split_case(const Shape& shape, const std::vector<int64_t>& extents, int axis) {
  return {{shape},
          [=](const Tensors& in) { return split(in[0], extents, axis); },
          [=](const Arrays& in) {
            Arrays parts;
            int64_t start = 0;
            for (int64_t extent : extents) {
              std::vector<int64_t> places;
              for (int64_t i = 0; i < extent; ++i) places.push_back(start + i);
              parts.push_back(picked(in[0], axis, places));
              start += extent;
            }
            return parts;
          }};
}

// Of parts joined along an axis that they have.
Array joined(const Arrays& parts, int axis) {
  Shape out = parts[0].shape;
  out[axis] = 0;
  for (const Array& part : parts) out[axis] += part.shape[axis];
  return build(out, [&](Index index) {
    int64_t& i = index[static_cast<size_t>(axis)];
    size_t part = 0;
    while (i >= parts[part].shape[axis]) i -= parts[part++].shape[axis];
    return parts[part].at(index);
  });
}

Case concat_case(const std::vector<Shape>& shapes, int axis) {
  return of_many(
      shapes, [axis](const Tensors& in) { return concat(in, axis); },
      [axis](const Arrays& in) { return joined(in, axis); });
}

Case stack_case(const Shape& shape, size_t count, int axis) {
  return of_many(
      std::vector<Shape>(count, shape), [axis](const Tensors& in) { return stack(in, axis); },
      [axis](Arrays in) {
        for (Array& part : in) part.shape.insert(axis, 1);
        return joined(in, axis);
      });
}

Case packed_case(const Shape& shape) {
  return of_one(
      shape, [](In x) { return packed(x); }, [](const Array& x) { return x; }, shape.rank() > 0 && shape[0] > 0);
}

}  // namespace

Rows shape_rows() {
  Rows rows;
  const auto add = [&rows](const Row& row) { rows.push_back(row); };
  add(general("reshape",
              {reshape_case({6}, {2, 3}), reshape_case({}, {1, 1}), reshape_case({2, 3, 4}, {2, 12}, true),
               reshape_case({0, 3}, {5, 0}), reshape_case({4, 5}, {4, 5}), reshape_case({2, 6}, {4, 3}, true)})
          .of_integers_too()
          .refusing({misfit_one({2, 3}, [](In x) {
            return reshape(x, {4, 2});
          })}));
  add(general("flatten", {flatten_case({2, 3, 4}, 0, {24}), flatten_case({2, 3, 4}, 1, {2, 12}),
                          flatten_case({}, 0, {1}), flatten_case({3, 0, 2}, 1, {3, 0})})
          .of_integers_too());
  add(general("permute", {permute_case({2, 3}, {1, 0}), permute_case({2, 3, 4}, {2, 0, 1}),
                          permute_case({2, 3, 4}, {0, 2, 1}), permute_case({}, {}), permute_case({2, 0, 3}, {1, 2, 0}),
                          permute_case({2, 1, 3, 2, 1, 2}, {5, 3, 1, 0, 2, 4})})
          .of_integers_too()
          .refusing({misfit_one({2, 3},
                                [](In x) {
                                  return permute(x, {0, 0});
                                }),
                     misfit_one({2, 3}, [](In x) { return permute(x, {0}); })}));
  add(general("permute", {of_one(
                             {2, 3, 4},
                             [](In x) {
                               return permute(x, {1, -1, 0});
                             },
                             [](const Array& x) {
                               return permuted(x, {1, 2, 0});
                             })})
          .labelled("list")
          .of_integers_too());
  add(general("transpose", {transpose_case({3, 5}, -2, -1, {1, 0}), transpose_case({2, 3, 4}, 0, 2, {2, 1, 0}),
                            transpose_case({2, 3, 4}, 1, 1, {0, 1, 2})})
          .reported("permute")
          .of_integers_too());
  add(general("expand", {expand_case({}, {3, 2}), expand_case({3, 1}, {3, 17}), expand_case({1, 4}, {2, 5, 4}),
                         expand_case({2, 3}, {2, 3}), expand_case({1}, {0})})
          .of_integers_too()
          .refusing({misfit_one({2, 3}, [](In x) {
            return expand(x, {2, 4});
          })}));
  add(general("slice",
              {slice_case({17}, 0, 3, 11, 1, {3, 4, 5, 6, 7, 8, 9, 10}), slice_case({2, 9}, 1, 1, 100, 3, {1, 4, 7}),
               slice_case({2, 5}, -1, -2, 5, 1, {3, 4}), slice_case({2, 5}, 1, -1, -100, -2, {4, 2, 0}),
               slice_case({3, 4}, 1, 3, 1, 1, {}), slice_case({3, 4}, 1, 3, 0, -1, {3, 2, 1}),
               slice_case({3, 0}, 1, 0, 4, 1, {}), slice_case({5, 2}, 0, 4, 5, 7, {4})})
          .of_integers_too()
          .refusing({misfit_one({2, 3}, [](In x) { return slice(x, 1, 0, 3, 0); })}));
  add(general("flip", {flip_case({17}, 0), flip_case({2, 5, 3}, 1), flip_case({3, 1}, 1), flip_case({2, 0}, 1)})
          .of_integers_too());
  add(general("pad", {pad_case({5}, 0, 2, 3, 0), pad_case({2, 3, 2}, 1, 1, 0, 0), pad_case({2, 3}, 1, 0, 2, -1.5),
                      pad_case({3, 0}, 1, 1, 2, 4), pad_case({4}, 0, 0, 0, 0)})
          .of_integers_too()
          .with_large({large_one({301, 300}, [](In x) { return pad(x, 1, 3, 4); })})
          .refusing({misfit_one({2, 3}, [](In x) { return pad(x, 1, -1, 0); })}));
  add(general("split", {split_case({7}, {3, 4}, 0), split_case({2, 6}, {1, 0, 2, 3}, 1),
                        split_case({10}, {1, 1, 1, 1, 1, 2, 3}, 0), split_case({0, 2}, {0, 0}, 0)})
          .of_integers_too()
          .refusing({misfit_one({5, 2}, [](In x) {
            return split(x, {2, 2})[0];
          })}));
  add(general("concat", {concat_case({{3}, {4}}, 0), concat_case({{2, 1, 3}, {2, 4, 3}, {2, 0, 3}}, 1),
                         concat_case({{1}, {1}, {1}, {1}, {1}, {2}}, 0), concat_case({{2, 3}, {2, 3}}, 1),
                         concat_case({{5}}, 0), concat_case({{2, 3}, {2, 3}}, 0)})
          .of_integers_too()
          .with_large({large_many({{300, 150}, {300, 151}}, [](const Tensors& in) { return concat(in, 1); })})
          .refusing({misfit_many({{2, 3}, {3, 4}}, [](const Tensors& in) { return concat(in, 0); }),
                     misfit_many({{2, 3}, {3}}, [](const Tensors& in) { return concat(in, 0); })}));
  add(general("stack", {stack_case({3}, 2, 0), stack_case({2, 3}, 3, 1), stack_case({2}, 2, 1), stack_case({}, 5, 0),
                        stack_case({0, 2}, 2, 0)})
          .of_integers_too()
          .types_reported("concat")
          .refusing({misfit_many({{2, 3}, {3, 2}}, [](const Tensors& in) { return stack(in, 0); })}));
  add(general("packed", {packed_case({}), packed_case({3, 5}), packed_case({2, 0})})
          .of_integers_too()
          .with_large({large_one({301, 300}, [](In x) { return packed(transpose(x)); })}));
  return rows;
}

}  // namespace mollify::op_table
