// Bounds of random networks against exact rows where a network is linear, and against samples, corners and ascent
// elsewhere; a network with bounds that do not hold is shrunk and printed. MOLLIFY_RANDOM_NETWORKS: how many in place
// of those of every run.
#include "../../cases.h"
#include "zoo.h"

#include <mollify/engine/grad.h>
#include <mollify/nn/bounds/alpha_crown.h>
#include <mollify/nn/bounds/starts.h>

#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <functional>
#include <sstream>

namespace mollify::nn::bounds {
namespace {

// An operation on images [N, H, W, C] with its random choices drawn from a seed of its own, so that it stays the same
// when others go.
struct Layer {
  const char* name;
  bool local, linear;
  Tensor (*run)(const Tensor& x, RandomSequence& random);
};

Tensor weights_of(const Shape& shape, RandomSequence& random, DType dtype) {
  std::vector<double> values(static_cast<size_t>(shape.size()));
  const double scale = random.below(12) == 0 ? 100 : 1;  // some networks have huge weights
  for (double& value : values) value = scale * random.normal() * 0.6;
  return cast(cast(Tensor::from(values, shape), DType::f32), dtype);  // the same numbers in f32 and f64
}

int64_t below(RandomSequence& random, int64_t count) {
  return static_cast<int64_t>(random.below(static_cast<uint64_t>(count)));
}

// Paddings below the kernel, so that no window has padding alone.
Tensor convolved(const Tensor& x, RandomSequence& random, bool same_size = false) {
  const int64_t channels = x.dim(3), groups = same_size || channels % 2 != 0 || below(random, 3) > 0 ? 1 : 2;
  const int64_t filters = same_size ? channels : groups * (1 + below(random, 2));
  const int64_t kernel_height = same_size ? 3 : 1 + below(random, 3),
                kernel_width = same_size ? 3 : 1 + below(random, 3);
  Conv2d how = same_size
                   ? Conv2d::square(1, 1)
                   : Conv2d{1 + below(random, 2),         1 + below(random, 2),        below(random, kernel_height),
                            below(random, kernel_height), below(random, kernel_width), below(random, kernel_width),
                            1 + below(random, 2),         1 + below(random, 2),        groups};
  const int64_t height = x.dim(1) + how.pad_top + how.pad_bottom, width = x.dim(2) + how.pad_left + how.pad_right;
  if (how.dilation_height * (kernel_height - 1) >= height) how.dilation_height = 1;
  if (how.dilation_width * (kernel_width - 1) >= width) how.dilation_width = 1;
  if (kernel_height > height || kernel_width > width) return x;
  const Tensor w = weights_of({filters, kernel_height, kernel_width, channels / groups}, random, x.dtype());
  return conv2d(x, w, below(random, 2) ? weights_of({filters}, random, x.dtype()) : Tensor(), how);
}

Pool2d random_pool(const Tensor& x, RandomSequence& random) {
  const int64_t kernel_height = std::min(x.dim(1), 1 + below(random, 3)),
                kernel_width = std::min(x.dim(2), 1 + below(random, 3));
  return {kernel_height,
          kernel_width,
          1 + below(random, 2),
          1 + below(random, 2),
          below(random, kernel_height),
          below(random, kernel_height),
          below(random, kernel_width),
          below(random, kernel_width)};
}

constexpr bool kLocal = true, kLinear = true;
const Layer kLayers[] = {
    {"convolution", kLocal, kLinear, [](const Tensor& x, RandomSequence& random) { return convolved(x, random); }},
    {"convolution", kLocal, kLinear, [](const Tensor& x, RandomSequence& random) { return convolved(x, random); }},
    {"average pool", kLocal, kLinear,
     [](const Tensor& x, RandomSequence& random) { return average_pool2d(x, random_pool(x, random)); }},
    {"times a number a channel", kLocal, kLinear,
     [](const Tensor& x, RandomSequence& random) { return x * weights_of({x.dim(3)}, random, x.dtype()); }},
    {"plus an image", kLocal, kLinear,
     [](const Tensor& x, RandomSequence& random) {
       return x + weights_of({1, x.dim(1), x.dim(2), x.dim(3)}, random, x.dtype());
     }},
    {"batch norm", kLocal, kLinear,
     [](const Tensor& x, RandomSequence& random) {
       const auto number = [&] { return weights_of({x.dim(3)}, random, x.dtype()); };
       return (x - number()) / (abs(number()) + 0.125) * number() + number();
     }},
    {"inception: two convolutions that meet", kLocal, kLinear,
     [](const Tensor& x, RandomSequence& random) {
       if (x.dim(1) < 3 || x.dim(2) < 3) return x;
       const int64_t channels = x.dim(3);
       return conv2d(x, weights_of({2, 3, 3, channels}, random, x.dtype()), {}, Conv2d::square(1, 1)) +
              conv2d(x, weights_of({2, 1, 3, channels}, random, x.dtype()), {}, {1, 1, 0, 0, 1, 1, 1, 1, 1});
     }},
    {"residual of a convolution", kLocal, kLinear,
     [](const Tensor& x, RandomSequence& random) {
       return x.dim(1) < 2 || x.dim(2) < 2 ? x : x + convolved(x, random, true);
     }},
    {"pad with a value", !kLocal, kLinear,
     [](const Tensor& x, RandomSequence& random) {
       return pad(x, 1 + static_cast<int>(random.below(2)), below(random, 2), below(random, 2),
                  std::round(8 * random.normal()) / 4);
     }},
    {"flip", !kLocal, kLinear,
     [](const Tensor& x, RandomSequence& random) { return flip(x, 1 + static_cast<int>(random.below(2))); }},
    {"transpose", !kLocal, kLinear, [](const Tensor& x, RandomSequence&) { return transpose(x, 1, 2); }},
    {"concat with its negative", !kLocal, kLinear,
     [](const Tensor& x, RandomSequence&) {
       return x.dim(3) > 2 ? x : concat(Tensors{x, -x}, 3);
     }},
    {"split and swap", !kLocal, kLinear,
     [](const Tensor& x, RandomSequence&) {
       if (x.dim(1) < 2) return x;
       const Tensors parts = split(x, {1, x.dim(1) - 1}, 1);
       return concat(Tensors{parts[1], parts[0] * 0.5}, 1);
     }},
    {"relu", kLocal, !kLinear, [](const Tensor& x, RandomSequence&) { return relu(x); }},
    {"relu", kLocal, !kLinear, [](const Tensor& x, RandomSequence&) { return relu(x); }},
    {"leaky relu", kLocal, !kLinear, [](const Tensor& x, RandomSequence&) { return leaky_relu(x, 0.125); }},
    {"abs", kLocal, !kLinear, [](const Tensor& x, RandomSequence&) { return abs(x); }},
    {"tanh", kLocal, !kLinear, [](const Tensor& x, RandomSequence&) { return tanh(x); }},
    {"sigmoid", kLocal, !kLinear, [](const Tensor& x, RandomSequence&) { return sigmoid(x); }},
    {"gelu", kLocal, !kLinear, [](const Tensor& x, RandomSequence&) { return gelu(x); }},
    {"elu", kLocal, !kLinear, [](const Tensor& x, RandomSequence&) { return elu(x); }},
    {"clip", kLocal, !kLinear, [](const Tensor& x, RandomSequence&) { return clip(x, -0.5, 0.75); }},
    {"square", kLocal, !kLinear, [](const Tensor& x, RandomSequence&) { return square(x * 0.25); }},
    {"max pool", kLocal, !kLinear,
     [](const Tensor& x, RandomSequence& random) { return max_pool2d(x, random_pool(x, random)); }},
};

struct Chosen {
  size_t layer;
  uint64_t seed;
};

struct RandomNetwork {
  Shape input;  // [H, W, C]
  std::vector<Chosen> layers;
  double radius;

  Tensor images(const Tensor& x) const {
    Tensor y = x;
    for (const Chosen& chosen : layers) {
      RandomSequence random({chosen.seed, 5});
      y = kLayers[chosen.layer].run(y, random);
    }
    return y;
  }
  Tensor operator()(const Tensor& x) const {
    const Tensor y = flatten(images(x), 1);
    RandomSequence random({99, 6});
    return dense(y, weights_of({2, y.dim(1)}, random, x.dtype()), {});
  }
};

std::string text_of(const RandomNetwork& network) {
  std::ostringstream out;
  out << "input " << to_string(network.input) << ", radius " << network.radius;
  for (const Chosen& chosen : network.layers)
    out << "\n  " << kLayers[chosen.layer].name << " (seed " << chosen.seed << ")";
  return out.str();
}

Box box_of(const RandomNetwork& network, int64_t rows, uint64_t seed, DType dtype) {
  Shape shape = network.input;
  shape.insert(0, rows);
  const Tensor center = cast(drawn(shape, seed), DType::f32), radius = full(shape, network.radius);
  return {cast(center - radius, dtype), cast(center + radius, dtype)};  // the same numbers in f32 and f64
}

// A box; the part of it within an l2 ball; or a line, along which a fine grid finds almost the exact range.
enum class Kind { box, ball, line };
Kind kind_of(uint64_t seed) { return seed % 4 == 2 ? Kind::ball : seed % 4 == 3 ? Kind::line : Kind::box; }

Region region_of(const RandomNetwork& network, int64_t rows, uint64_t seed, DType dtype) {
  const Box box = box_of(network, rows, seed, dtype);
  const Tensor center = cast((cast(box.lower, DType::f32) + cast(box.upper, DType::f32)) * 0.5, dtype);
  if (kind_of(seed) == Kind::ball)
    return {.box = box, .center = center, .radius = full({rows}, 1.5 * network.radius, dtype)};
  if (kind_of(seed) == Kind::box) return {.box = box};
  const int64_t size = network.input.size();
  const Tensor along = reshape(
      one_hot(Tensor::from(std::vector<int32_t>{static_cast<int32_t>(seed / 4 % static_cast<uint64_t>(size))}, {1}),
              size, dtype),
      slice(center, 0, 0, 1).shape());
  return {.box = {where(less(full({}, 0.0, dtype), along), box.lower, center),
                  where(less(full({}, 0.0, dtype), along), box.upper, center)}};
}

// The largest amount by which `inner` leaves [lower, upper], in shares of the numbers' size; NaN bounds know nothing,
// and hold.
double excess(const Box& bounds, const Tensor& low, const Tensor& high) {
  const std::vector<double> l = cast(bounds.lower, DType::f64).to_vector<double>(),
                            u = cast(bounds.upper, DType::f64).to_vector<double>(),
                            a = cast(low, DType::f64).to_vector<double>(),
                            b = cast(high, DType::f64).to_vector<double>();
  double worst = 0;
  for (size_t i = 0; i < l.size(); ++i) {
    const double size = 1 + std::abs(a[i]) + std::abs(b[i]);
    if (l[i] > a[i]) worst = std::max(worst, (l[i] - a[i]) / size);
    if (u[i] < b[i]) worst = std::max(worst, (b[i] - u[i]) / size);
  }
  return worst;
}

// The nearest points of the region, almost.
Tensor inside(const Region& region, const Tensor& x) {
  if (!region.center.defined()) return clip(x, region.box.lower, region.box.upper);
  const Tensor from = x - region.center, length = sqrt(sum(square(flatten(from, 1)), {1}));
  Shape rows = x.shape();
  for (int axis = 1; axis < rows.rank(); ++axis) rows[axis] = 1;
  const Tensor share =
      minimum(region.radius * (1 - 1e-12) / maximum(length, full({}, 1e-300, DType::f64)), full({}, 1.0, DType::f64));
  return clip(region.center + from * reshape(share, rows), region.box.lower,
              region.box.upper);  // toward the center, which the box holds
}

// Smallest and largest outputs [N, 2] that random points, corners and some steps of signed gradients from them find
// within the region; of a line those of a grid.
Box found_range(const RandomNetwork& network, const Region& region, uint64_t seed) {
  Tensor low, high;
  const auto meet = [&](const Tensor& x) {
    const Tensor y = network(x);
    low = low.defined() ? minimum(low, y) : y;
    high = high.defined() ? maximum(high, y) : y;
  };
  const Box& box = region.box;
  const Tensor center = (box.lower + box.upper) * 0.5, radius = (box.upper - box.lower) * 0.5;
  for (uint64_t draw = 0; draw < 6; ++draw) {
    const Tensor u = drawn_uniform(center.shape(), 100 * seed + draw, center.dtype()) * 2.0 - 1.0;
    Tensor x = inside(region, center + radius * (draw % 2 ? sign(u) : u));
    meet(x);
    for (int ascent = 0; ascent < 2; ++ascent) {
      const double way = draw % 3 == 0 ? 1 : -1;
      const Tensor uphill = grad([&](const Tensor& v) { return sum(network(v)) * way; })(x);
      // Of a ball the point where a linear function is greatest; of a box a corner.
      x = inside(region, region.center.defined() ? region.center + uphill * 1e12 : x + sign(uphill) * radius);
      meet(x);
    }
  }
  constexpr int kGrid = 100;
  for (int i = 0; kind_of(seed) == Kind::line && i <= kGrid; ++i)
    meet(clip(center + radius * (2.0 * i / kGrid - 1), box.lower, box.upper));
  return {low, high};
}

constexpr Method kMethods[] = {Method::ibp,       Method::hbox,  Method::deepz,
                               Method::crown_ibp, Method::crown, Method::alpha_crown};

// Empty, or which bounds do not hold: in f64 without charges to a share of 1e-9; in f32 with rounding charged, against
// the f64 network, to what f64 itself rounds.
std::string fault_of(const RandomNetwork& network, uint64_t seed) try {
  const Region region = region_of(network, 2, seed, DType::f64);
  const Box range = found_range(network, region, seed);
  const Graph graph([&](const Tensor& x) { return network(x); }, network.input, DType::f64);
  const Graph single([&](const Tensor& x) { return network(x); }, network.input, DType::f32);
  for (const Method method : kMethods) {
    const double worst =
        excess(Bounds(graph, region, {.method = method, .alpha = {.steps = 2}}).output(), range.lower, range.upper);
    if (worst > 1e-9) return format("{} is optimistic by {}", to_string(method), worst);
    const Bounds charged(single, region_of(network, 2, seed, DType::f32),
                         {.method = method, .roundoff = unit_roundoff(DType::f32), .alpha = {.steps = 2}});
    const double worst_charged = excess(charged.output(), range.lower, range.upper);
    if (worst_charged > 1e-13)
      return format("{} with rounding charged in f32 is optimistic by {}", to_string(method), worst_charged);
  }
  return "";
} catch (const Error& error) {
  return error.what();
}

RandomNetwork shrunk(RandomNetwork network, const std::function<std::string(const RandomNetwork&)>& fault) {
  for (bool smaller = true; smaller;) {
    smaller = false;
    for (size_t i = network.layers.size(); i-- > 0 && !smaller;) {
      RandomNetwork candidate = network;
      candidate.layers.erase(candidate.layers.begin() + static_cast<int64_t>(i));
      if (candidate.layers.empty() || fault(candidate).empty()) continue;
      network = candidate;
      smaller = true;
    }
  }
  return network;
}

int64_t count_of(int64_t otherwise) {
  const char* text = std::getenv("MOLLIFY_RANDOM_NETWORKS");
  return text ? std::atoll(text) : cases(otherwise);
}

RandomNetwork random_network(RandomSequence& random, int64_t most_layers, bool (*wanted)(const Layer&)) {
  constexpr double kRadii[] = {0, 1e-6, 0.05, 0.5, 3};
  RandomNetwork network{
      {2 + below(random, 4), 2 + below(random, 4), 1 + below(random, 2)}, {}, kRadii[random.below(std::size(kRadii))]};
  const int64_t count = 1 + below(random, most_layers);
  while (static_cast<int64_t>(network.layers.size()) < count) {
    const size_t layer = random.below(std::size(kLayers));
    if (wanted(kLayers[layer])) network.layers.push_back({layer, random.below(1000)});
  }
  return network;
}

TEST(RandomNetworks, BoundsAreNeverOptimistic) {
  const int64_t count = count_of(300);
  RandomSequence random({1, 21});
  for (int64_t i = 0; i < count; ++i) {
    const RandomNetwork network = random_network(random, 6, [](const Layer&) { return true; });
    const auto fault = [&](const RandomNetwork& n) { return fault_of(n, static_cast<uint64_t>(i)); };
    if (fault(network).empty()) continue;
    const RandomNetwork small = shrunk(network, fault);
    ADD_FAILURE() << "network " << i << ": " << fault(small) << "\n" << text_of(small);
    return;
  }
}

// What a chain of linear operations can reach, exactly: its rows are those of its Jacobian.
Box exact_range(const RandomNetwork& network, const Box& box) {
  const Tensor center = (box.lower + box.upper) * 0.5, radius = (box.upper - box.lower) * 0.5;
  const int64_t samples = center.dim(0), size = center.size() / samples;
  const Tensor at_zero = network.images(zeros_like(slice(center, 0, 0, 1)));
  Shape basis = network.input;
  basis.insert(0, size);
  const Tensor rows = network.images(reshape(one_hot(numbers_below(size, Device::cpu), size, DType::f64), basis)) -
                      at_zero;  // [size, out…]
  const Tensor middle = network.images(center),
               spread = matmul(reshape(radius, {samples, size}), abs(flatten(rows, 1)));
  const Tensor reach = reshape(spread, middle.shape());
  return {middle - reach, middle + reach};
}

// The boxes before a rule after any chain of linear operations: neither optimistic nor loose.
TEST(RandomNetworks, ChainsOfLinearOperationsHaveTheirExactRange) {
  const int64_t count = count_of(1500);
  RandomSequence random({2, 21});
  for (int64_t i = 0; i < count; ++i) {
    const bool local = i % 3 > 0;
    const RandomNetwork network = random_network(
        random, 3,
        local ? [](const Layer& l) { return l.local && l.linear; } : [](const Layer& l) { return l.linear; });
    const auto fault = [&](const RandomNetwork& n) -> std::string {
      const Box box = box_of(n, 2, static_cast<uint64_t>(i), DType::f64), exact = exact_range(n, box);
      const Graph graph([&](const Tensor& x) { return sum(flatten(relu(n.images(x)), 1), {1}, true); }, n.input,
                        DType::f64);
      int before_rule = 0;
      while (graph.nodes()[static_cast<size_t>(before_rule)].kind == Graph::Kind::linear || before_rule == 0)
        ++before_rule;
      before_rule = graph.nodes()[static_cast<size_t>(before_rule)].inputs[0];
      for (const Method method : {Method::crown, Method::deepz, Method::hbox}) {
        const Box found = Bounds(graph, {.box = box}, {.method = method, .skip_stable = false}).box(before_rule);
        if (excess(found, exact.lower, exact.upper) > 1e-9)
          return format("{} is optimistic by {}", to_string(method), excess(found, exact.lower, exact.upper));
        if (excess(exact, found.lower, found.upper) > 1e-9)
          return format("{} is loose by {}", to_string(method), excess(exact, found.lower, found.upper));
      }
      return "";
    };
    if (fault(network).empty()) continue;
    const RandomNetwork small = shrunk(network, fault);
    ADD_FAILURE() << "chain " << i << ": " << fault(small) << "\n" << text_of(small);
    return;
  }
}

}  // namespace
}  // namespace mollify::nn::bounds
