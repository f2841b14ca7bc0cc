// logsumexp, and classification built on it.
#include <mollify/engine/cpu/reduce.h>
#include <mollify/engine/cuda/reduce.h>
#include <mollify/engine/ops.h>
#include <mollify/engine/ops/rules.h>
#include <mollify/engine/trace.h>

#include <limits>

namespace mollify {
namespace {

Tensor where_else_zero(const Tensor& condition, const Tensor& x) {
  return where(condition, x, Tensor::scalar(0, x.dtype()));
}

// Zero where x is −∞: what is subtracted from numbers that are all −∞.
Tensor without_minus_infinity(const Tensor& x) {
  return where_else_zero(not_equal(x, Tensor::scalar(-std::numeric_limits<double>::infinity(), x.dtype())), x);
}

void kernel(const KernelArguments& a) {
  const Tensor& x = a.in[0];
  for_floating(x.dtype(), [&](auto zero) {
    using T = decltype(zero);
    MOLLIFY_ON(x.device(), logsumexp<T>(x.address<T>(), a.out[0].size(), x.shape().back(), a.out[0].address<T>()));
  });
}

// The derivative takes the result from x: right to an ulp where it is small, as it is for rows that were shifted by
// their maximum.
const Op logsumexp_op{
    .name = "logsumexp",
    .shape = [](const Op& op, Inputs in, const Attributes&) -> Layouts {
      require_floating(op.name, in[0]);
      Shape shape = in[0].shape();
      shape[shape.rank() - 1] = 1;
      return Layout::packed(shape, in[0].dtype(), in[0].device());
    },
    .cpu = kernel,
    .cuda = MOLLIFY_CUDA_KERNEL(kernel),
    .operands = packed_operands,
    .vjp = [](const VjpArguments& a) -> Tensors { return a.g * exp(a.in[0] - without_minus_infinity(a.out())); }};

// Rows less their largest number, where that is finite. No derivative of what is computed of them depends on it, so
// that it is a constant to grad; to the readers of a trace it is a part of the function.
struct Shifted { Tensor rows, shift; };

Shifted shifted(const Tensor& x) {
  require_floating("logsumexp", x);
  if (x.dim(-1) == 0) return {x, Tensor::scalar(0, x.dtype())};
  const Tensor largest = max(detail::is_tracing() ? x : x.detach(), {-1}, /*keep=*/true);
  const Tensor shift = where_else_zero(equal(largest - largest, Tensor::scalar(0, x.dtype())), largest);
  return {x - shift, shift};
}

}  // namespace

Tensor logsumexp(const Tensor& x, int axis, bool keep) {
  require(x.rank() > 0, "logsumexp: a 0-d tensor given; needs at least one axis");
  const int at = resolve_axis("logsumexp", axis, x.rank());
  int order[kMaxRank], n = 0;
  for (int i = 0; i < x.rank(); ++i)
    if (i != at) order[n++] = i;
  order[n++] = at;
  const Shifted last =
      shifted(at == x.rank() - 1 ? x : permute(x, std::span<const int>(order, static_cast<size_t>(n))));
  Shape shape = x.shape();
  if (keep) shape[at] = 1;
  else shape.erase(at);
  return reshape(apply(logsumexp_op, {last.rows}) + last.shift, shape);
}

// logits − logsumexp(logits) would round log Σ away beside a large maximum.
Tensor log_softmax(const Tensor& logits) {
  require(logits.rank() > 0, "log_softmax: a 0-d tensor given; needs at least one axis");
  const Tensor rows = shifted(logits).rows;
  return rows - without_minus_infinity(apply(logsumexp_op, {rows}));
}

Tensor softmax(const Tensor& logits) { return exp(log_softmax(logits)); }

Tensor cross_entropy(const Tensor& logits, const Tensor& labels) {
  require_indices("cross_entropy", labels);
  Shape rows = logits.shape();
  require(rows.rank() > 0, "cross_entropy: logits are {}; needs classes along the last axis", rows);
  rows.erase(rows.rank() - 1);
  require(labels.shape() == rows, "cross_entropy: logits are {}, labels {}; needs one label per row", logits.shape(),
          labels.shape());
  rows.push_back(1);
  const Tensor scores = shifted(logits).rows;
  return reshape(without_minus_infinity(apply(logsumexp_op, {scores})) - gather(scores, reshape(labels, rows)),
                 labels.shape());
}

}  // namespace mollify
