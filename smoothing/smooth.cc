#include <mollify/smoothing/smooth.h>

#include <mollify/nn/losses.h>
#include <mollify/smoothing/noisy_steps.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <set>

namespace mollify::smoothing {

// How often a linear map uses each number of an input: one number where that is the same for all.
struct Uses {
  std::vector<float> count = {};  // of one row
  Shape shape = {};
  double same = 0;
  bool uniform = true;

  // Broadcasts over rows, as x is.
  Tensor like(const Tensor& x) const { return cast(to(Tensor::from(count, shape), x.device()), x.dtype()); }
};

// What is known of a step before any call.
struct SmoothedNetwork::Term {
  std::string label;
  StepKind kind;
  bool data = false;           // computed from the input alone without weights: it carries no noise
  bool own = false;            // has a penalty of its own
  bool keeps_variance = false;  // the next weighted step takes V_h (joint form)
  double weight = 0;           // λ of `label`
  Uses input_uses, weight_uses;  // of a weighted step
};

namespace {

// Stands for one row of a tensor where only its layout is read.
Tensor one_row(const Tensor& like) {
  Shape shape = like.shape();
  shape[0] = 1;
  return Tensor::on(&Buffer::without_values(), Layout::packed(shape, like.dtype(), like.device()));
}

Tensor ones_like_row(const Tensor& like) { return ones(one_row(like).shape(), like.dtype(), like.device()); }

// M(w): the sum over a row's outputs of the step with weights w, as a linear function of the row's inputs.
Tensor pulled_back_ones(const TracedStep& step, const Tensor& w) {
  return pull_back(step, {one_row(step.in()[0]), w}, 0, ones_like_row(step.outputs[0]));
}

Uses uses(const Tensor& count) {
  std::vector<float> values = count.to_vector<float>();
  const bool uniform = std::all_of(values.begin(), values.end(), [&](float value) { return value == values[0]; });
  const double same = values.empty() ? 0 : values[0];
  return {std::move(values), count.shape(), same, uniform};
}

// Σ count·x² over everything; count broadcasts over rows.
Tensor sum_of_used_squares(const Tensor& x, const Uses& of) {
  return of.uniform ? mollify::sum_of_squares(x) * of.same : sum(square(x) * of.like(x));
}

// Steps that have one reader, through views a weighted one: joint form makes one term of both.
std::map<const Node*, const TracedStep*> joined_steps(const Trace& trace) {
  std::map<const Node*, std::vector<const TracedStep*>> readers;
  for (const TracedStep& step : trace.steps)
    for (const Tensor& t : step.in())
      if (is_abstract(t)) readers[t.node()].push_back(&step);
  std::map<const Node*, const TracedStep*> joined;
  for (auto step = trace.steps.rbegin(); step != trace.steps.rend(); ++step) {
    const std::vector<const TracedStep*>& of = readers[&step->node()];
    if (of.size() != 1 || &step->node() == trace.output.node()) continue;
    if (kind_of(*of[0]) == StepKind::weighted) joined[&step->node()] = of[0];
    else if (const auto next = joined.find(&of[0]->node()); of[0]->op().view && next != joined.end())
      joined[&step->node()] = next->second;
  }
  return joined;
}

bool has_moments(StepKind kind) { return kind == StepKind::nonlinear || kind == StepKind::max_pool; }

void require_closed_form(const TracedStep& step, StepKind kind, Approximations approximations) {
  const char* name = step.op().name;
  std::string names;
  for (const std::string& known : activation_names()) names += ", " + known;
  require<ValueError>(kind != StepKind::unknown,
                      "smooth: {} computes {}, which cannot be smoothed; there are linear maps, dropout, max pooling{}",
                      place(step), name, names);
  const bool exact = kind != StepKind::max_pool && (kind != StepKind::nonlinear || find_activation(name)->closed_form);
  require<ValueError>(
      exact || approximations == Approximations::allowed,
      "smooth: {} computes {}, whose smoothing has no closed form; allow approximations, or use another layer",
      place(step), name);
}

// A layer that applies one activation to another, such as square(relu(x)), is one function of its input: smoothed one
// after the other it is something else.
void require_single(const Trace& trace, const TracedStep& step, Approximations approximations) {
  for (const TracedStep& before : trace.steps)
    for (const Tensor& t : step.in())
      if (is_abstract(t) && t.node() == &before.node() && !step.label.empty() && before.label == step.label &&
          kind_of(before) == StepKind::nonlinear)
        require<ValueError>(approximations == Approximations::allowed,
                            "smooth: {} computes {} of {}, which has no closed form of its own; allow approximations, "
                            "which smooth one after the other, "
                            "or make them two layers",
                            place(step), step.op().name, before.op().name);
}

double weight_of(const std::string& label, const PenaltyWeights& weights) {
  const auto found = weights.by_layer.find(label);
  return found == weights.by_layer.end() ? weights.otherwise : found->second;
}

void check(const PenaltyWeights& weights, const Trace& trace, const std::vector<std::string>& penalised) {
  std::string names;
  for (const std::string& name : penalised) names += (names.empty() ? "" : ", ") + name;
  const auto check_number = [](const std::string& label, double weight) {
    require<ValueError>(weight >= 0 && std::isfinite(weight),
                        "smooth: penalty weight {} for '{}'; needs a finite number of at least 0", weight, label);
  };
  check_number("all layers", weights.otherwise);
  for (const auto& [label, weight] : weights.by_layer) {
    const bool known = std::any_of(trace.steps.begin(), trace.steps.end(),
                                   [&, &label = label](const TracedStep& step) { return step.label == label; });
    require<ValueError>(known,
                        "smooth: a penalty weight is given for '{}', which is no layer; those with a penalty are {}",
                        label, names);
    check_number(label, weight);
  }
  bool wanted = false, charged = false;
  std::string named;
  for (const auto& [label, weight] : weights.by_layer) {
    wanted = wanted || weight > 0;
    charged = charged || (weight > 0 && std::find(penalised.begin(), penalised.end(), label) != penalised.end());
    if (weight > 0) named += (named.empty() ? "" : ", ") + label;
  }
  require<ValueError>(!wanted || charged || weights.otherwise > 0,
                      "smooth: penalty weights are given for {} alone, part of the next layer's term or without one; "
                      "those with a penalty are {}",
                      named, names);
  if (!weights.every_layer_named) return;
  for (const std::string& name : penalised)
    require<ValueError>(weights.by_layer.contains(name), "smooth: layer '{}' has no penalty weight; needed for {}",
                        name, names);
}

// What stands for an abstract tensor of the trace: its value in the smoothed network, and V_h while no term has used
// it.
struct Smoothed { Tensor mean, variance; };

// One call: walks the trace, computes the smoothed network and adds up the penalties.
class Smoother {
 public:
  Smoother(const Trace& trace, const std::vector<SmoothedNetwork::Term>& terms, Tensor s, int64_t rows)
      : trace_(trace), terms_(terms), s_(std::move(s)), variance_(square(s_)), rows_(static_cast<double>(rows)) {}

  SmoothedNetwork::Result run(const Tensor& x) {
    values_.set(trace_.input, {x, {}});
    for (size_t i = 0; i < terms_.size(); ++i) visit(trace_.steps[i], terms_[i]);
    const auto or_zero = [&](const Tensor& x) { return x.defined() ? x : zeros({}, s_.dtype()); };
    return {values_[trace_.output].mean, or_zero(penalty_), or_zero(constant_)};
  }

 private:
  void visit(const TracedStep& step, const SmoothedNetwork::Term& term) {
    const Tensors in = inputs_of(step, [&](const Tensor& t) { return values_[t].mean; });
    if (!term.data && has_moments(term.kind)) return visit_activation(step, term, in);
    if (term.kind == StepKind::dropout) return visit_dropout(step, term, in[0]);
    const Tensors out = replay(step, in);
    const Tensor variance = values_[first_abstract(step)].variance;
    for (size_t i = 0; i < out.size(); ++i)
      values_.set(step.outputs[i],
                  {out[i], step.op().view && variance.defined() ? replay(step, variance)[i] : Tensor()});
    if (term.kind != StepKind::weighted || !term.own || term.weight == 0) return;
    charge(term, layer_penalty(step, term, in[0], variance));
    const bool biased = in.size() > 2 && in[2].defined();
    add_constant(term, variance_ * (size_of_row(out[0]) * (biased ? 2 : 1)));
    if (!variance.defined())
      add_constant(term, square(variance_) * number_of_uses(term.input_uses, size_of_row(in[0])));
  }

  void visit_activation(const TracedStep& step, const SmoothedNetwork::Term& term, const Tensors& in) {
    if (term.keeps_variance) {
      const Moments out = nonlinear_moments(step, in, s_);
      values_.set(step.outputs[0], {out.mean, out.variance});
    } else if (term.own && term.weight > 0) {
      const Moments out = nonlinear_total(step, in, s_);
      charge(term, out.variance);
      add_constant(term, variance_ * size_of_row(out.mean));
      values_.set(step.outputs[0], {out.mean, {}});
    } else {
      values_.set(step.outputs[0], {nonlinear_mean(step, in, s_), {}});
    }
  }

  // Its mask of mean 1 has the variance rate/(1 − rate).
  void visit_dropout(const TracedStep& step, const SmoothedNetwork::Term& term, const Tensor& x) {
    const double rate = step.in()[2].item();
    if (term.own && term.weight > 0) {
      charge(term, mollify::sum_of_squares(x) * (rate / (1 - rate)));
      add_constant(term, variance_ * (size_of_row(x) * (1 / (1 - rate) + 1)));
    }
    values_.set(step.outputs[0], {x, {}});
  }

  // Σ A_{θ²}V + s²‖√(h²)_s‖²_C over the batch, where (h²)_s = V + h_s²; the identity has V = s², and its s⁴ is a
  // constant.
  Tensor layer_penalty(const TracedStep& step, const SmoothedNetwork::Term& term, const Tensor& mean,
                       const Tensor& variance) const {
    const Tensor norm = variance_ * sum_of_used_squares(mean, term.input_uses);
    const Tensor& weight = step.in()[1];
    if (!variance.defined()) return norm + variance_ * sum_of_used_squares(weight, term.weight_uses) * rows_;
    const Tensor uses =
        term.input_uses.uniform ? variance_ * term.input_uses.same : variance_ * term.input_uses.like(mean);
    return norm + sum(variance * (pulled_back_ones(step, square(weight)) + uses));
  }

  // Adds λ times the mean over the rows of a sum over the batch.
  void charge(const SmoothedNetwork::Term& term, const Tensor& sum_over_batch) {
    const Tensor part = sum_over_batch * (term.weight / rows_);
    penalty_ = penalty_.defined() ? penalty_ + part : part;
  }

  // The same of what is alike for all rows: noise of y and b, and of x and θ together.
  void add_constant(const SmoothedNetwork::Term& term, const Tensor& of_row) {
    const Tensor part = of_row * term.weight;
    constant_ = constant_.defined() ? constant_ + part : part;
  }
  double size_of_row(const Tensor& x) const { return static_cast<double>(x.size()) / rows_; }
  static double number_of_uses(const Uses& of, double size) {
    return of.uniform ? of.same * size : std::accumulate(of.count.begin(), of.count.end(), 0.0);
  }

  static const Tensor& first_abstract(const TracedStep& step) {
    const Inputs in = step.in();
    size_t i = 0;
    while (!is_abstract(in[i])) ++i;
    return in[i];
  }

  const Trace& trace_;
  const std::vector<SmoothedNetwork::Term>& terms_;
  const Tensor s_, variance_;
  const double rows_;
  TraceValues<Smoothed> values_;
  Tensor penalty_, constant_;
};

}  // namespace

SmoothedNetwork::SmoothedNetwork(const nn::Network& network, Sigma sigma, const PenaltyWeights& weights,
                                 Approximations approximations)
    : network_(&network), sigma_(std::move(sigma)) {
  const Trace trace =
      no_grad([&] { return traced(network, zeros({network.weight_count()}), network.initial_state(), 1); });
  const auto joined = joined_steps(trace);
  std::set<const Node*> data{trace.input.node()};
  auto terms = std::make_shared<std::vector<Term>>();
  for (const TracedStep& step : trace.steps) {
    Term term{.label = step.label,
              .kind = kind_of(step),
              .weight = weight_of(step.label, weights),
              .input_uses = {},
              .weight_uses = {}};
    term.data = true;
    for (const Tensor& t : step.in()) term.data &= !is_abstract(t) || data.contains(t.node());
    if (term.data && term.kind != StepKind::weighted) data.insert(&step.node());
    if (!term.data) require_closed_form(step, term.kind, approximations);
    if (!term.data && term.kind == StepKind::nonlinear) require_single(trace, step, approximations);
    const auto reader = joined.find(&step.node());
    const bool joins = weights.form == Form::joint && has_moments(term.kind) && reader != joined.end();
    term.own = !term.data && term.kind != StepKind::linear && !joins;
    term.keeps_variance = !term.data && joins && weight_of(reader->second->label, weights) > 0;
    if (term.kind == StepKind::weighted && term.own) {
      term.input_uses = uses(pulled_back_ones(step, ones_like(step.in()[1])));
      term.weight_uses =
          uses(pull_back(step, {ones_like_row(step.in()[0]), step.in()[1]}, 1, ones_like_row(step.outputs[0])));
    }
    terms->push_back(std::move(term));
  }
  terms_ = std::move(terms);
  check(weights, trace, penalised_layers());
}

SmoothedNetwork::Result SmoothedNetwork::operator()(const Tensor& weights, const Tensor& state, const Tensor& x,
                                                    const Sigma& sigma) const {
  require(x.rank() == network_->input().rank() + 1, "{} smoothed: input is {}; needs {} with any number of rows",
          network_->name(), x.shape(), network_->input());
  const Trace trace = traced(*network_, weights, state, x.shape()[0]);
  return Smoother(trace, *terms_, sigma.tensor(weights.dtype()), x.shape()[0]).run(x);
}

std::vector<std::string> SmoothedNetwork::penalised_layers() const {
  std::vector<std::string> names;
  for (const Term& term : *terms_)
    if (term.own && std::find(names.begin(), names.end(), term.label) == names.end()) names.push_back(term.label);
  return names;
}

SmoothedNetwork smooth(const nn::Network& network, const Sigma& sigma, const PenaltyWeights& weights,
                       Approximations approximations) {
  return {network, sigma, weights, approximations};
}

Tensor smoothed_squared_error(const SmoothedNetwork::Result& result, const Tensor& labels, double weight) {
  const Tensor error = nn::mean_squared_error(result.output, labels);
  return (weight == 1 ? error : error * weight) + result.penalty + result.constant;
}

}  // namespace mollify::smoothing
