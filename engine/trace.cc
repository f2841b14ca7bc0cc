#include <mollify/engine/trace.h>

#include <mollify/engine/grad.h>
#include <mollify/engine/ops.h>

#include <set>

namespace mollify {
namespace {

struct Recording {
  Trace* trace;
  Constants constants;
};

thread_local const Recording* recorder = nullptr;
thread_local const std::string* label = nullptr;

// Keeps the steps whose outputs the trace's output depends on, which must know what they were computed from.
void drop_dead_steps(Trace& traced) {
  std::set<const Node*> needed;
  if (is_abstract(traced.output)) needed.insert(traced.output.node());
  std::vector<TracedStep> live;
  for (auto step = traced.steps.rbegin(); step != traced.steps.rend(); ++step) {
    if (!needed.contains(&step->node())) continue;
    for (const Tensor& t : step->in()) {
      if (!is_abstract(t)) continue;
      require<GraphError>(t.needs_grad(),
                          "{}: an input of shape {} was detached while its function is traced; needs its history",
                          step->op().name, t.shape());
      needed.insert(t.node());
    }
    live.push_back(std::move(*step));
  }
  traced.steps.assign(std::make_move_iterator(live.rbegin()), std::make_move_iterator(live.rend()));
}

}  // namespace

bool is_abstract(const Tensor& x) { return &x.buffer() == &Buffer::without_values(); }

Label::Label(const std::string& text) : before_(label) { label = &text; }
Label::~Label() { label = before_; }

bool detail::is_tracing() { return recorder != nullptr; }

void detail::add_step(std::span<const Tensor> outputs) {
  recorder->trace->steps.push_back({Tensors(outputs), label ? *label : std::string()});
}

void detail::add_constant(const Op& op, Inputs in, const Attributes& attributes, std::span<const Tensor> outputs) {
  if (recorder->constants == Constants::dropped) return;
  Tensors inputs(in.size());
  for (size_t i = 0; i < in.size(); ++i) inputs[i] = in[i];
  recorder->trace->constants.push_back({&op, attributes, std::move(inputs), Tensors(outputs)});
}

namespace {

Tensor through_parts(const TracedStep& step, Tensors in, size_t i, const Tensor& g) {
  const auto f = [&](const Tensor& x) {
    in[i] = x;
    return step.op().made_of(in, step.node().attributes)[0];
  };
  return vjp(f, in[i], g).second;
}

// The rule's gradient for input i, not yet summed to its shape.
Tensor by_rule(const TracedStep& step, Inputs in, size_t i, const Tensor& g) {
  Tensors inputs(in.size());
  const std::unique_ptr<bool[]> needed(new bool[in.size()]());
  for (size_t k = 0; k < in.size(); ++k) inputs[k] = in[k];
  if (!step.op().vjp && step.op().made_of) return through_parts(step, std::move(inputs), i, g);
  require<GraphError>(step.op().vjp != nullptr, "{}: has no gradient", step.op().name);
  needed[i] = true;
  const Node node{.op = &step.op(),
                  .attributes = step.node().attributes,
                  .inputs = std::move(inputs),
                  .version = 0,
                  .saved = {},
                  .number = 0};
  return step.op().vjp(VjpArguments(node, g, Tensor(), {needed.get(), in.size()}))[i];
}

}  // namespace

Tensor pull_back(const TracedStep& step, Inputs in, size_t i, const Tensor& g) {
  return sum_to(by_rule(step, in, i, g), in[i].shape());
}

Tensor pull_back_rows(const TracedStep& step, size_t i, const Tensor& g) {
  const Inputs in = step.in();
  Shape shape = in[i].shape();
  shape[0] = shape[0] * g.dim(0) / step.outputs[0].dim(0);
  return sum_to(by_rule(step, in, i, g), shape);
}

Trace trace(const std::function<Tensor(const Tensor&)>& f, const Layout& x, Constants constants) {
  struct Current {
    explicit Current(const Recording* recording) : before(std::exchange(recorder, recording)) {}
    ~Current() { recorder = before; }
    const Recording* before;
  };
  Trace traced;
  const Recording recording{&traced, constants};
  const Current current(&recording);
  traced.input = variable(Tensor::on(&Buffer::without_values(), Layout::packed(x.shape, x.dtype, x.device)));
  traced.output = f(traced.input);
  drop_dead_steps(traced);
  return traced;
}

}  // namespace mollify
