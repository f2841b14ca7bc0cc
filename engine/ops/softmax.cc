// Classification, built on logsumexp.
#include <mollify/engine/ops.h>
#include <mollify/engine/ops/rules.h>

namespace mollify {

Tensor log_softmax(const Tensor& logits) { return logits - logsumexp(logits, -1, /*keep=*/true); }

Tensor softmax(const Tensor& logits) { return exp(log_softmax(logits)); }

Tensor cross_entropy(const Tensor& logits, const Tensor& labels) {
  require_indices("cross_entropy", labels);
  Shape rows = logits.shape();
  require(rows.rank() > 0, "cross_entropy: logits are {}; needs classes along the last axis", rows);
  rows.erase(rows.rank() - 1);
  require(labels.shape() == rows, "cross_entropy: logits are {}, labels {}; needs one label per row", logits.shape(), labels.shape());
  rows.push_back(1);
  return logsumexp(logits) - reshape(gather(logits, reshape(labels, rows)), labels.shape());
}

}  // namespace mollify
