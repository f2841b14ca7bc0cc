#include <mollify/nn/own_activation.h>

#include <mollify/engine/ops.h>
#include <mollify/nn/layers.h>
#include <mollify/smoothing/activations.h>

#include <map>
#include <memory>
#include <mutex>

namespace mollify::nn {
namespace {

// Operations refer to it by its address for as long as the program runs.
struct Entry {
  OwnActivation own;
  Op op;
};
struct Registered { const Entry* entry; };  // the attributes of such an operation

const OwnActivation& own_of(const Attributes& attributes) { return attributes.as<Registered>().entry->own; }

Layouts same_layout(const Op&, Inputs in, const Attributes&) {
  return Layout::packed(in[0].shape(), in[0].dtype(), in[0].device());
}
Tensors parts(Inputs in, const Attributes& attributes) { return own_of(attributes).function(in[0]); }
Tensors by_derivative(const VjpArguments& a) { return a.g * own_of(a.attributes).derivative(a.in[0]); }

Tensor smoothed(Inputs in, const Attributes& attributes, const Tensor& s) {
  const OwnActivation& own = own_of(attributes);
  return own.smoothed ? own.smoothed(in[0], s) : smoothing::gauss_hermite_smoothed(own.function, in[0], s);
}
Tensor square_smoothed(Inputs in, const Attributes& attributes, const Tensor& s) {
  const OwnActivation& own = own_of(attributes);
  if (own.square_smoothed) return own.square_smoothed(in[0], s);
  return smoothing::gauss_hermite_smoothed([&](const Tensor& x) { return square(own.function(x)); }, in[0], s);
}
// Without closed forms quadrature has a way to the variance that does not cancel.
smoothing::Moments quadrature_moments(Inputs in, const Attributes& attributes, const Tensor& s) {
  return smoothing::gauss_hermite_moments(own_of(attributes).function, in[0], s);
}

struct Table {
  std::mutex mutex;
  std::map<std::string, std::unique_ptr<Entry>> entries;
};
Table& table() {
  static Table all;
  return all;
}

Function as_function(const Entry& entry) {
  return [&entry](const Tensor& x) { return apply(entry.op, x, Registered{&entry}); };
}

std::unique_ptr<Entry> entry_of(OwnActivation own) {
  auto entry = std::make_unique<Entry>(Entry{std::move(own), Op{}});
  entry->op = {.name = entry->own.name.c_str(),
               .shape = same_layout,
               .vjp = entry->own.derivative ? by_derivative : nullptr,
               .made_of = parts};
  return entry;
}

}  // namespace

Function register_activation(OwnActivation own) {
  require<ValueError>(!own.name.empty() && own.function,
                      "register_activation: '{}' has no {}; needs a name and a function", own.name,
                      own.name.empty() ? "name" : "function");
  const std::lock_guard lock(table().mutex);
  require<ValueError>(!table().entries.contains(own.name) && !smoothing::find_activation(own.name) &&
                          !bounds::find_relaxation(own.name.c_str()),
                      "register_activation: '{}' is taken; needs another name", own.name);
  const Entry& entry = *table().entries.emplace(own.name, entry_of(own)).first->second;
  const bool closed = own.smoothed && own.square_smoothed, quadrature = !own.smoothed && !own.square_smoothed;
  smoothing::add_activation(
      {entry.op.name, closed, smoothed, square_smoothed, quadrature ? quadrature_moments : nullptr});
  if (own.curve) bounds::add_curve(entry.op.name, *own.curve);
  return as_function(entry);
}

Function find_own_activation(const std::string& name) {
  const std::lock_guard lock(table().mutex);
  const auto found = table().entries.find(name);
  return found == table().entries.end() ? Function() : as_function(*found->second);
}

std::vector<std::string> own_activation_names() {
  const std::lock_guard lock(table().mutex);
  std::vector<std::string> names;
  for (const auto& [name, entry] : table().entries) names.push_back(name);
  return names;
}

}  // namespace mollify::nn
