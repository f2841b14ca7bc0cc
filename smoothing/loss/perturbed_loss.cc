#include <mollify/smoothing/loss/perturbed_loss.h>

#include <mollify/engine/ops.h>
#include <mollify/engine/trace.h>
#include <mollify/nn/reading.h>

#include <algorithm>
#include <optional>

namespace mollify::smoothing {
namespace {

using nn::is;

// Which numbers of a tensor move along a sparse direction: those at `places` of its row-major numbers, by numbers
// first … first + places.count() − 1 of the direction.
struct Sparse {
  Positions places;
  int64_t first;
};

// Something linear in the weights.
struct Linear {
  Tensor base;                   // at w
  bool moves = false;            // along the direction
  std::optional<Sparse> sparse;  // set: `along` holds the numbers that move, else all numbers
  Tensor along;                  // the change along the direction under way
};

// The places that lie in a slice of a vector.
Sparse part_of(const Sparse& whole, int64_t begin, int64_t count, Device device) {
  const std::vector<int64_t>& list = whole.places.list();
  const auto first = std::lower_bound(list.begin(), list.end(), begin),
             last = std::lower_bound(first, list.end(), begin + count);
  std::vector<int64_t> inside(first, last);
  for (int64_t& place : inside) place -= begin;
  return {Positions(std::move(inside), count, device), whole.first + (first - list.begin())};
}

}  // namespace

class PerturbedLoss::Reading {
 public:
  Reading(const optim::Loss& loss, const Tensor& weights)
      : trace_(trace(loss, Layout::packed(weights.shape(), weights.dtype(), weights.device()))) {
    linear_.push_back({.base = weights.detach(), .moves = true, .sparse = {}, .along = {}});
    if (!is_abstract(trace_.output)) return;
    parts_.set(trace_.input, 0);
    for (const TracedStep& step : trace_.steps) read(step);
  }

  void turn_to(const Tensor& direction) {
    linear_[0].along = direction;
    for (const auto& [step, number] : moving_) linear_[number].along = change(*step, linear_[number]);
  }

  Tensor at(const Tensor& scale) const {
    if (!is_abstract(trace_.output)) return trace_.output;
    std::vector<Tensor> moved(linear_.size());  // linear parts at this scale, once they are asked for
    TraceValues<Tensor> values;
    const auto value = [&](const Tensor& t) -> Tensor {
      if (!parts_.contains(t)) return values[t];
      Tensor& at = moved[parts_[t]];
      if (!at.defined()) at = moved_by(linear_[parts_[t]], scale);
      return at;
    };
    for (const TracedStep* step : nonlinear_) {
      const Tensors out = nn::replay(*step, nn::inputs_of(*step, value));
      for (size_t i = 0; i < out.size(); ++i) values.set(step->outputs[i], out[i]);
    }
    return value(trace_.output);
  }

 private:
  const Linear& linear(const Tensor& t) const { return linear_[parts_[t]]; }
  bool is_linear(const Tensor& t) const { return !is_abstract(t) || parts_.contains(t); }
  bool moves(const Tensor& t) const { return is_abstract(t) && linear(t).moves; }

  // Whether the step's outputs are linear in what moves.
  bool stays_linear(const TracedStep& step) const {
    const Inputs in = step.in();
    bool any = false;
    for (const Tensor& t : in) {
      if (!is_linear(t)) return false;
      any |= moves(t);
    }
    if (!any || step.op().linearity == Linearity::sum) return true;
    if (step.op().linearity != Linearity::product) return false;
    return is(step, "divide") ? !moves(in[1]) : !(moves(in[0]) && moves(in[1]));
  }

  void read(const TracedStep& step) {
    if (!stays_linear(step)) {
      nonlinear_.push_back(&step);
      return;
    }
    const Inputs in = step.in();
    bool any = false;
    for (const Tensor& t : in) any |= moves(t);
    const Tensors base = nn::replay(step, nn::inputs_of(step, [&](const Tensor& t) { return linear(t).base; }));
    for (size_t i = 0; i < base.size(); ++i) {
      Linear part{.base = base[i], .moves = any, .sparse = {}, .along = {}};
      if (any) part.sparse = sparse(step);
      if (part.sparse && part.sparse->places.count() == 0) part.moves = false;
      parts_.set(step.outputs[i], linear_.size());
      if (part.moves) moving_.emplace_back(&step, linear_.size());
      linear_.push_back(std::move(part));
    }
  }

  // Of the operations by which a sparse direction stays sparse.
  std::optional<Sparse> sparse(const TracedStep& step) const {
    const Inputs in = step.in();
    const Device device = step.outputs[0].device();
    if (is(step, "put") && !moves(in[0]) && is_whole(in[1]))
      return Sparse{Positions(step.node().attributes.list(), step.outputs[0].size(), device), 0};
    if (!is_abstract(in[0]) || !linear(in[0]).sparse) return std::nullopt;
    const Layout &from = in[0].layout(), &to = step.outputs[0].layout();
    if (is(step, "reshape")) return linear(in[0]).sparse;
    if (is(step, "slice") && from.shape.rank() == 1 && to.is_packed())
      return part_of(*linear(in[0]).sparse, to.offset - from.offset, to.shape.size(), device);
    return std::nullopt;
  }
  bool is_whole(const Tensor& t) const { return is_abstract(t) && parts_[t] == 0; }

  // All numbers of the change of a part.
  Tensor dense_change(const Linear& part) const {
    if (!part.moves) return zeros_like(part.base);
    if (!part.sparse) return part.along;
    const Tensor none = zeros({part.base.size()}, part.base.dtype(), part.base.device());
    return reshape(put(none, part.sparse->places, part.along), part.base.shape());
  }

  Tensor change(const TracedStep& step, const Linear& part) {
    if (part.sparse)
      return slice(linear_[0].along, 0, part.sparse->first, part.sparse->first + part.sparse->places.count());
    if (step.op().linearity == Linearity::sum)
      return nn::linear_part(step, nn::inputs_of(step, [&](const Tensor& t) { return dense_change(linear(t)); }))[0];
    return change_of_product(step);
  }

  Tensor change_of_product(const TracedStep& step) {
    const Inputs in = step.in();
    const auto change_or_base = [&](const Tensor& t) {
      return !is_abstract(t) ? t : linear(t).moves ? dense_change(linear(t)) : linear(t).base;
    };
    const bool has_bias = in.size() > 2, bias_moves = has_bias && moves(in[2]);
    const Tensor bias = bias_moves ? dense_change(linear(in[2])) : Tensor();
    if (!moves(in[0]) && !moves(in[1])) return expand(bias, step.outputs[0].shape());  // only what is added moves
    if (is(step, "dense") && moves(in[1]) && linear(in[1]).sparse && in[0].rank() == 2) {
      const Linear& matrix = linear(in[1]);
      const Tensor product = sparse_dense(columns(in[0]), matrix.sparse->places, matrix.along);
      return bias_moves ? product + bias : product;
    }
    const Tensor left = change_or_base(in[0]), right = change_or_base(in[1]);
    return nn::replay(step, bias_moves ? Inputs(left, right, bias) : Inputs(left, right))[0];
  }

  // The rows of a dense layer's input, turned once.
  Tensor columns(const Tensor& input) {
    const Tensor rows = is_abstract(input) ? linear(input).base : input;
    for (const auto& [of, turned] : columns_)
      if (&of.buffer() == &rows.buffer() && of.layout().offset == rows.layout().offset && of.shape() == rows.shape())
        return turned;
    columns_.emplace_back(rows, packed(transpose(rows)));
    return columns_.back().second;
  }

  static Tensor moved_by(const Linear& part, const Tensor& scale) {
    if (!part.moves) return part.base;
    if (!part.sparse) return part.base + part.along * scale;
    const Tensor flat = flatten(part.base);
    const Positions& places = part.sparse->places;
    return reshape(put(flat, places, take(flat, places.indices()) + part.along * scale), part.base.shape());
  }

  Trace trace_;
  std::vector<Linear> linear_;  // the weights first
  TraceValues<size_t> parts_;   // numbers of linear parts
  std::vector<std::pair<const TracedStep*, size_t>> moving_;
  std::vector<const TracedStep*> nonlinear_;
  std::vector<std::pair<Tensor, Tensor>> columns_;
};

PerturbedLoss::PerturbedLoss(const optim::Loss& loss, const Tensor& weights) {
  const NoGrad quiet(/*record=*/true);
  reading_ = std::make_unique<Reading>(loss, weights);
}
PerturbedLoss::~PerturbedLoss() = default;

void PerturbedLoss::turn_to(const Tensor& direction) {
  const NoGrad quiet;
  reading_->turn_to(direction);
}

Tensor PerturbedLoss::operator()(const Tensor& scale) const {
  const NoGrad quiet;
  return reading_->at(scale);
}

}  // namespace mollify::smoothing
