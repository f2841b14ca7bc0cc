#include <mollify/nn/per_sample.h>

#include <mollify/engine/grad.h>
#include <mollify/nn/reading.h>

#include <algorithm>

namespace mollify::nn {
namespace {

// An operation that reads weights, or what is computed from them alone.
struct Weighted {
  const TracedStep* step;
  Tensors in;    // values
  Tensor probe;  // zeros added to its output: the loss's gradient in them is that in the output
};

bool reads_weights(const TracedStep& step, size_t i) { return !is_abstract(step.in()[i]) && step.in()[i].needs_grad(); }

bool reads_weights(const TracedStep& step) {
  for (size_t i = 0; i < step.in().size(); ++i)
    if (reads_weights(step, i)) return true;
  return false;
}

// [N, …] as [N, numbers of all axes between the first and the last, last].
Tensor as_matrices(const Tensor& x) {
  return reshape(x, {x.dim(0), x.size() / (x.dim(0) * x.shape().back()), x.shape().back()});
}

// The weights of one row are used N times, one after the other, so that nothing is summed over rows.
Tensor repeated_by_rows(const Tensor& weights, const Shape& out) {
  Shape shape = weights.shape();
  while (shape.rank() < out.rank()) shape.insert(0, 1);
  const Tensor aligned = reshape(weights, shape);
  shape[0] = out[0];
  return expand(aligned, shape);
}

// How the gradients in an input are taken apart by rows.
enum class Apart { bias, matrix, broadcast, one_by_one };

Apart apart(const TracedStep& step, Inputs in, size_t i) {
  if (step.op().linearity == Linearity::product && i == 2) return Apart::bias;
  if ((is(step, "dense") || is(step, "matmul")) && i == 1 && in[1].rank() == 2) return Apart::matrix;
  if (step.op().shape == broadcast_shape && in[i].rank() < step.outputs[0].rank()) return Apart::broadcast;
  return Apart::one_by_one;
}

// How many rows are taken apart at once: what is made of them stays in the cache.
int64_t rows_at_once(Apart how, int64_t size) {
  constexpr int64_t kNumbers = int64_t{1} << 18;
  return how == Apart::one_by_one ? 1 : std::max<int64_t>(1, kNumbers / std::max<int64_t>(1, size));
}

// The gradients [rows, …] in input i, given inputs and the output's gradient of as many rows as are taken at once.
Tensor by_rows(const TracedStep& step, const Tensors& in, size_t i, const Tensor& g, Apart how) {
  if (how == Apart::bias) return sum(as_matrices(g), {1});
  if (how == Apart::matrix) {
    const Tensor left = as_matrices(in[0]), right = as_matrices(g);
    return is(step, "dense") ? matmul(transpose(right), left) : matmul(transpose(left), right);
  }
  Tensors spread = in;
  if (how == Apart::broadcast) spread[i] = repeated_by_rows(in[i], g.shape());
  Shape shape = in[i].shape();
  shape.insert(0, g.dim(0));
  return reshape(pull_back(step, spread, i, g), shape);
}

// The gradients in the weights: pieces that were not written to yet hold no numbers.
class Sums {
 public:
  Sums(const Network& network, const Tensor& weights, int64_t rows)
      : network_(network),
        weights_(weights),
        written_(network.weights().size()),
        sums_(Tensor::empty(Layout::packed({rows, weights.size()}, weights.dtype(), weights.device()))) {}

  void add(const Weighted& weighted, size_t i, const Tensor& g) {
    const Tensor& read = weighted.step->in()[i];
    const Shape& strides = read.strides();
    const bool view = &read.buffer() == &weights_.buffer() && read.dtype() == weights_.dtype() &&
                      std::all_of(strides.begin(), strides.end(), [](int64_t stride) { return stride > 0; });
    const bool first = view && begins(read);
    if (!view) finish();
    const Apart how = apart(*weighted.step, weighted.in, i);
    const int64_t at_once = rows_at_once(how, read.size());
    for (int64_t from = 0; from < g.dim(0); from += at_once) {
      const int64_t count = std::min(at_once, g.dim(0) - from);
      Tensors in = weighted.in;
      for (size_t k = 0; k < in.size(); ++k)
        if (is_abstract(weighted.step->in()[k])) in[k] = slice(in[k], 0, from, from + count);
      const Tensor found = by_rows(*weighted.step, in, i, slice(g, 0, from, from + count), how);
      if (!view) {
        add_through(read, found, from);
        continue;
      }
      const Tensor place = place_of(read, from, count);
      assign(place, first ? found : place + found);
    }
  }

  // With zeros in pieces that nothing read.
  const Tensor& finish() {
    for (size_t p = 0; p < written_.size(); ++p) {
      const Piece& piece = network_.weights()[p];
      if (!written_[p]) assign(slice(sums_, 1, piece.offset, piece.offset + piece.shape.size()), 0.0);
      written_[p] = true;
    }
    return sums_;
  }

 private:
  // Whether a view is a whole piece that was not written to: then it is written now.
  bool begins(const Tensor& view) {
    const int64_t offset = view.layout().offset - weights_.layout().offset;
    for (size_t p = 0; p < written_.size(); ++p) {
      const Piece& piece = network_.weights()[p];
      if (offset != piece.offset || view.size() != piece.shape.size()) continue;
      const bool before = written_[p];
      written_[p] = true;
      return !before;
    }
    finish();  // a part of a piece, or several: it is added to zeros
    return false;
  }
  Tensor place_of(const Tensor& view, int64_t from, int64_t count) const {
    Layout layout = view.layout();
    layout.offset += sums_.layout().offset + from * weights_.size() - weights_.layout().offset;
    layout.shape.insert(0, count);
    layout.strides.insert(0, weights_.size());
    return Tensor::on(&sums_.buffer(), layout);
  }
  // Of what is computed from the weights, by the record of how it is.
  void add_through(const Tensor& read, const Tensor& found, int64_t from) {
    for (int64_t n = 0; n < found.dim(0); ++n) {
      const Tensor g = reshape(slice(found, 0, n, n + 1), read.shape()),
                   place = slice(sums_, 0, from + n, from + n + 1);
      assign(place, place + reshape(vjp_of(read, g, weights_, false)[0], place.shape()));
    }
  }

  const Network& network_;
  const Tensor weights_;
  std::vector<bool> written_;  // by piece
  const Tensor sums_;          // [N, d]
};

}  // namespace

PerSample per_sample_gradients(const Network& network, const Tensor& weights, const Tensor& state, const Tensor& x,
                               const std::function<Tensor(const Tensor& outputs)>& loss) {
  NoGrad recording(/*record=*/true);
  const int64_t rows = x.dim(0);
  const Tensor w = variable(packed(weights.detach()));
  const Trace trace = traced(network, w, state, rows);
  TraceValues<Tensor> values;
  values.set(trace.input, x.detach());
  std::vector<Weighted> all;
  std::vector<Tensor> probes;
  for (const TracedStep& step : trace.steps) {
    const bool weighted = reads_weights(step);
    Tensors in = inputs_of(step, [&](const Tensor& t) { return values[t]; });
    for (size_t i = 0; i < in.size(); ++i)
      if (!is_abstract(step.in()[i])) in[i] = in[i].detach();
    Tensors out = replay(step, in);
    if (weighted) {
      require<ValueError>(out.size() == 1 && out[0].rank() >= 1 && out[0].dim(0) == rows,
                          "per_sample_gradients: {} has weights and gives {} for {} rows; needs one output with a row "
                          "for each",
                          place(step), out[0].shape(), rows);
      for (size_t i = 0; i < in.size(); ++i) in[i] = in[i].detach();
      all.push_back({&step, in, variable(zeros_like(out[0]))});
      probes.push_back(all.back().probe);
      out[0] = out[0] + all.back().probe;
    }
    for (size_t i = 0; i < step.outputs.size(); ++i) values.set(step.outputs[i], out[i]);
  }
  const Tensor losses = loss(values[trace.output]);
  require(losses.shape() == Shape{rows}, "per_sample_gradients: losses are {}; needs {}, one of each row",
          losses.shape(), Shape{rows});
  const Tensors g = vjp_of(sum(losses), Tensor::scalar(1, losses.dtype()), std::span<const Tensor>(probes), false);
  const NoGrad quiet;
  Sums sums(network, w, rows);
  for (size_t k = 0; k < all.size(); ++k)
    for (size_t i = 0; i < all[k].in.size(); ++i)
      if (reads_weights(*all[k].step, i)) sums.add(all[k], i, g[k]);
  return {losses.detach(), sums.finish()};
}

}  // namespace mollify::nn
