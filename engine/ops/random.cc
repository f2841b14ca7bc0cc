// Random tensors, and dropout.
#include <mollify/engine/cpu/random.h>
#include <mollify/engine/cpu/threads.h>
#include <mollify/engine/cuda/random.h>
#include <mollify/engine/ops.h>
#include <mollify/engine/ops/rules.h>

#include <algorithm>

namespace mollify {
namespace {

struct Draw { Shape shape; RandomKey key; DType dtype; Device device; };

// in: step, or streams and step or steps
Layouts draw_shape(const Op& op, Inputs in, const Attributes& attributes) {
  const Draw& draw = attributes.as<Draw>();
  const Tensor& step = in[in.size() - 1];
  require<TypeError>(is_floating(draw.dtype), "{}: dtype {} asked for; needs f32 or f64", op.name, draw.dtype);
  require_indices(op.name, step);
  require(step.size() == 1 || (in.size() > 1 && step.shape() == in[0].shape()),
          "{}: step is {}; needs a single number{}", op.name, step.shape(), in.size() > 1 ? ", or one per row" : "");
  if (in.size() > 1) {
    require_indices(op.name, in[0]);
    require(draw.shape.rank() >= 1 && in[0].shape() == Shape{draw.shape[0]},
            "{}: shape {} with streams {}; needs one stream per row", op.name, draw.shape, in[0].shape());
  }
  const int64_t rows = in.size() > 1 ? std::max<int64_t>(1, draw.shape[0]) : 1;
  require<ValueError>(draw.shape.size() / rows <= int64_t{1} << 33,
                      "{}: shape {}; at most 2^33 numbers come from one stream and step", op.name, draw.shape);
  return Layout::packed(draw.shape, draw.dtype, draw.device);
}

template <cpu::Distribution distribution>
void draw_kernel(const KernelArguments& a) {
  const Draw& how = a.attributes.as<Draw>();
  const Tensor& out = a.out[0];
  const Tensor& steps = a.in[a.in.size() - 1];
  const auto step = [&, numbers = steps.data<int32_t>()](int64_t row) {
    return static_cast<uint32_t>(numbers[steps.size() == 1 ? 0 : row]);
  };
  for_floating(out.dtype(), [&](auto zero) {
    using T = decltype(zero);
    T* values = out.data<T>();
    if (a.in.size() == 1) return cpu::draw(distribution, how.key, step(0), 0, out.size(), values);
    const Tensor& streams = a.in[0];
    const int32_t* stream = streams.data<int32_t>();
    const int64_t rows = streams.size(), count = rows ? out.size() / rows : 0;
    cpu::parallel_for(rows, std::max<int64_t>(1, 8192 / std::max<int64_t>(1, count)), [&](int64_t begin, int64_t end) {
      for (int64_t r = begin; r < end; ++r) {
        require<ValueError>(stream[r] >= 0, "random: stream {} for row {}; needs at least 0", stream[r], r);
        cpu::draw(distribution, {how.key.seed, how.key.stream + static_cast<uint64_t>(stream[r])}, step(r), 0, count,
                  values + r * count);
      }
    });
  });
}

#ifdef MOLLIFY_CUDA
template <cpu::Distribution distribution>
void draw_on_cuda(const KernelArguments& a) {
  const RandomKey key = a.attributes.as<Draw>().key;
  const Tensor& out = a.out[0];
  const Tensor& steps = a.in[a.in.size() - 1];
  const auto* step = steps.address<int32_t>();
  for_floating(out.dtype(), [&](auto zero) {
    using T = decltype(zero);
    if (a.in.size() == 1) return cuda::draw<T>(distribution, key, step, out.size(), out.address<T>());
    const int64_t rows = a.in[0].size();
    cuda::draw_rows<T>(distribution, key, a.in[0].template address<int32_t>(), step, steps.size() == 1 ? 0 : 1, rows,
                       rows ? out.size() / rows : 0, out.address<T>());
  });
}

void dropout_on_cuda(const KernelArguments& a) {
  const Tensor& x = a.in[0];
  for_floating(x.dtype(), [&](auto zero) {
    using T = decltype(zero);
    cuda::dropout<T>(x.address<T>(), x.size(), a.attributes.as<RandomKey>(), a.in[1].address<int32_t>(),
                     a.in[2].address<T>(), a.out[0].address<T>());
  });
}
#endif

// in: x, step, rate. x where a uniform number is at least the rate, divided by 1 − rate. The mask is drawn again by the
// rule: cheaper than to keep it.
void dropout_kernel(const KernelArguments& a) {
  const RandomKey key = a.attributes.as<RandomKey>();
  const Tensor& x = a.in[0];
  const auto step = static_cast<uint32_t>(*a.in[1].data<int32_t>());
  constexpr int64_t kBlock = 4096;  // a multiple of 4, for draws
  for_floating(x.dtype(), [&](auto zero) {
    using T = decltype(zero);
    const T *from = x.data<T>(), rate = *a.in[2].data<T>(), scale = 1 / (1 - rate);
    T* to = a.out[0].data<T>();
    cpu::parallel_for((x.size() + kBlock - 1) / kBlock, 2, [&](int64_t begin, int64_t end) {
      for (int64_t first = begin * kBlock; first < std::min(end * kBlock, x.size()); first += kBlock) {
        T draws[kBlock];
        const int64_t count = std::min(kBlock, x.size() - first);
        cpu::draw(cpu::Distribution::uniform, key, step, first, count, draws);
        for (int64_t i = 0; i < count; ++i) to[first + i] = from[first + i] * (draws[i] >= rate ? scale : T(0));
      }
    });
  });
}

extern const Op dropout_op;
const Op dropout_op{.name = "dropout",
                    .shape = [](const Op& op, Inputs in, const Attributes&) -> Layouts {
                      require_floating(op.name, in[0]);
                      require_indices(op.name, in[1]);
                      require(in[1].size() == 1, "{}: step is {}; needs a single number", op.name, in[1].shape());
                      require<ValueError>(in[0].size() <= int64_t{1} << 33,
                                          "{}: input is {}; at most 2^33 numbers come from one step", op.name,
                                          in[0].shape());
                      return Layout::packed(in[0].shape(), in[0].dtype(), in[0].device());
                    },
                    .cpu = dropout_kernel,
                    .cuda = MOLLIFY_CUDA_KERNEL(dropout_on_cuda),
                    .operands = packed_operands,
                    .vjp = [](const VjpArguments& a) -> Tensors {
                      return {apply(dropout_op, {a.g, a.in[1], a.in[2]}, a.attributes), Tensor(), Tensor()};
                    }};
const Op uniform_op{.name = "uniform",
                    .shape = draw_shape,
                    .cpu = draw_kernel<cpu::Distribution::uniform>,
                    .cuda = MOLLIFY_CUDA_KERNEL(draw_on_cuda<cpu::Distribution::uniform>),
                    .operands = packed_operands,
                    .chooses_device = true};
const Op normal_op{.name = "normal",
                   .shape = draw_shape,
                   .cpu = draw_kernel<cpu::Distribution::normal>,
                   .cuda = MOLLIFY_CUDA_KERNEL(draw_on_cuda<cpu::Distribution::normal>),
                   .operands = packed_operands,
                   .chooses_device = true};

const Op signs_op{.name = "signs",
                  .shape = draw_shape,
                  .cpu = draw_kernel<cpu::Distribution::signs>,
                  .cuda = MOLLIFY_CUDA_KERNEL(draw_on_cuda<cpu::Distribution::signs>),
                  .operands = packed_operands,
                  .chooses_device = true};

// ---- Sums of draws: in: coefficients [draws], step

struct DrawSum {
  int64_t count;
  RandomKey key;
};

Layouts draw_sum_shape(const Op& op, Inputs in, const Attributes& attributes) {
  const int64_t count = attributes.as<DrawSum>().count;
  require_floating(op.name, in[0]);
  require_indices(op.name, in[1]);
  require(in[0].rank() == 1 && in[1].size() == 1, "{}: coefficients are {}, step {}; needs a vector and a number",
          op.name, in[0].shape(), in[1].shape());
  require<ValueError>(count >= 0 && count <= int64_t{1} << 33,
                      "{}: {} numbers; from 0 to 2^33 come from one stream and step", op.name, count);
  return Layout::packed({count}, in[0].dtype(), in[0].device());
}

template <cpu::Distribution distribution>
void draw_sum_kernel(const KernelArguments& a) {
  const DrawSum& how = a.attributes.as<DrawSum>();
  const Tensor &coefficients = a.in[0], &out = a.out[0];
  for_floating(out.dtype(), [&](auto zero) {
    using T = decltype(zero);
    cpu::draw_sum(distribution, coefficients.data<T>(), coefficients.size(), how.key,
                  static_cast<uint32_t>(*a.in[1].data<int32_t>()), how.count, out.data<T>());
  });
}

#ifdef MOLLIFY_CUDA
template <cpu::Distribution distribution>
void draw_sum_on_cuda(const KernelArguments& a) {
  const DrawSum& how = a.attributes.as<DrawSum>();
  for_floating(a.out[0].dtype(), [&](auto zero) {
    using T = decltype(zero);
    cuda::draw_sum<T>(distribution, a.in[0].address<T>(), a.in[0].size(), how.key, a.in[1].address<int32_t>(),
                      how.count, a.out[0].address<T>());
  });
}
#endif

// The draws as rows, for a rule.
template <cpu::Distribution distribution>
Tensor drawn_rows(const VjpArguments& a) {
  const DrawSum& how = a.as<DrawSum>();
  const int64_t draws = a.in[0].size();
  const Op& draw = distribution == cpu::Distribution::normal ? normal_op : signs_op;
  return apply(draw, {arange(draws, DType::i32, a.in[0].device()), a.in[1]},
               Draw{{draws, how.count}, how.key, a.in[0].dtype(), a.in[0].device()});
}

template <cpu::Distribution distribution>
constexpr Op draw_sum_op(const char* name) {
  return {.name = name,
          .linearity = Linearity::sum,
          .shape = draw_sum_shape,
          .cpu = draw_sum_kernel<distribution>,
          .cuda = MOLLIFY_CUDA_KERNEL(draw_sum_on_cuda<distribution>),
          .operands = packed_operands,
          .vjp = [](const VjpArguments& a) -> Tensors {
            const Tensor rows = drawn_rows<distribution>(a);
            return {reshape(matmul(rows, reshape(a.g, {a.g.size(), 1})), {rows.dim(0)}), Tensor()};
          }};
}
const Op normal_sum_op = draw_sum_op<cpu::Distribution::normal>("normal_sum");
const Op signs_sum_op = draw_sum_op<cpu::Distribution::signs>("signs_sum");

}  // namespace

Tensor uniform(const Shape& shape, RandomKey key, const Tensor& step, DType dtype, Device device) {
  return apply(uniform_op, {step}, Draw{shape, key, dtype, device});
}
Tensor normal(const Shape& shape, RandomKey key, const Tensor& step, DType dtype, Device device) {
  return apply(normal_op, {step}, Draw{shape, key, dtype, device});
}
Tensor uniform_rows(const Shape& shape, RandomKey key, const Tensor& streams, const Tensor& step, DType dtype) {
  return apply(uniform_op, {streams, step}, Draw{shape, key, dtype, streams.device()});
}
Tensor normal_rows(const Shape& shape, RandomKey key, const Tensor& streams, const Tensor& step, DType dtype) {
  return apply(normal_op, {streams, step}, Draw{shape, key, dtype, streams.device()});
}

Tensor signs(const Shape& shape, RandomKey key, const Tensor& step, DType dtype, Device device) {
  return apply(signs_op, {step}, Draw{shape, key, dtype, device});
}
Tensor normal_sum(const Tensor& coefficients, int64_t count, RandomKey key, const Tensor& step) {
  return apply(normal_sum_op, {coefficients, step}, DrawSum{count, key});
}
Tensor signs_sum(const Tensor& coefficients, int64_t count, RandomKey key, const Tensor& step) {
  return apply(signs_sum_op, {coefficients, step}, DrawSum{count, key});
}

Tensor dropout(const Tensor& x, double rate, RandomKey key, const Tensor& step) {
  require<ValueError>(rate >= 0 && rate < 1, "dropout: rate {}; needs 0 ≤ rate < 1", rate);
  return rate == 0 ? x : apply(dropout_op, {x, step, Tensor::scalar(rate, x.dtype())}, key);
}

}  // namespace mollify
