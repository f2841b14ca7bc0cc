#include <mollify/smoothing/loss/exchange.h>

#include <mollify/engine/ops.h>
#include <mollify/engine/ops/rules.h>

#include <algorithm>

namespace mollify::smoothing {
namespace {

struct With {
  const Exchange* exchange;
};

void gather_kernel(const KernelArguments& a) {
  const Tensor& x = a.in[0];
  a.attributes.as<With>().exchange->gather(x.first_byte(), x.size() * size_of(x.dtype()), a.out[0].first_byte());
}

const Op gather_op{.name = "gathered",
                   .shape = [](const Op&, Inputs in, const Attributes& attributes) -> Layouts {
                     Shape shape = in[0].shape();
                     shape.insert(0, attributes.as<With>().exchange->count());
                     return Layout::packed(shape, in[0].dtype(), in[0].device());
                   },
                   .cpu = gather_kernel,
                   .operands = packed_operands};

}  // namespace

Tensor gathered(const Tensor& x, const std::shared_ptr<const Exchange>& exchange) {
  if (exchange) return apply(gather_op, {x}, With{exchange.get()});
  Shape shape = x.shape();
  shape.insert(0, 1);
  return reshape(x, shape);
}

Share share_of(int64_t items, const std::shared_ptr<const Exchange>& exchange) {
  const int64_t processes = exchange ? exchange->count() : 1, rank = exchange ? exchange->rank() : 0;
  const int64_t most = (items + processes - 1) / processes;
  return {std::min(rank * most, items), std::min((rank + 1) * most, items), most};
}

}  // namespace mollify::smoothing
