#include <mollify/nn/network.h>

#include <cmath>

namespace mollify::nn {
namespace {

constexpr struct { const char* name; Initialization value; } kInitializations[] = {
    {"fan_in_uniform", Initialization::fan_in_uniform}, {"kaiming_uniform", Initialization::kaiming_uniform},
    {"kaiming_normal", Initialization::kaiming_normal}, {"xavier_uniform", Initialization::xavier_uniform},
    {"xavier_normal", Initialization::xavier_normal},   {"ibp", Initialization::ibp}};

int64_t total(const std::vector<Piece>& pieces) {
  return pieces.empty() ? 0 : pieces.back().offset + pieces.back().shape.size();
}

std::vector<int64_t> sizes(const std::vector<Piece>& pieces) {
  std::vector<int64_t> result;
  for (const Piece& piece : pieces) result.push_back(piece.shape.size());
  return result;
}

Shape with_rows(Shape shape, int64_t count) {
  shape.insert(0, count);
  return shape;
}

// Views of the flat vector's pieces, in their shapes.
Tensors views(const Tensor& flat, const std::vector<int64_t>& extents, const std::vector<Piece>& pieces) {
  if (pieces.empty()) return {};
  Tensors parts = split(flat, extents);
  for (size_t i = 0; i < parts.size(); ++i) parts[i] = reshape(parts[i], pieces[i].shape);
  return parts;
}

Tensor initial(const Piece& piece, Initialization how, RandomKey key, bool last_weight, DType dtype) {
  if (piece.role != Role::weight && piece.role != Role::bias) return full(piece.shape, piece.initial, dtype);
  const double in = static_cast<double>(piece.fan_in), out = static_cast<double>(piece.fan_out);
  if (how == Initialization::ibp && (last_weight || piece.role == Role::bias)) how = Initialization::fan_in_uniform;
  if (piece.role == Role::bias && how != Initialization::fan_in_uniform) return zeros(piece.shape, dtype);
  const Tensor step = Tensor::scalar(0, DType::i32);
  const auto uniform_within = [&](double bound) {
    return (uniform(piece.shape, key, step, dtype) * 2.0 - 1.0) * bound;
  };
  const auto normal_of = [&](double deviation) { return normal(piece.shape, key, step, dtype) * deviation; };
  switch (how) {
    case Initialization::fan_in_uniform: return uniform_within(1 / std::sqrt(in));
    case Initialization::kaiming_uniform: return uniform_within(std::sqrt(6 / in));
    case Initialization::kaiming_normal: return normal_of(std::sqrt(2 / in));
    case Initialization::xavier_uniform: return uniform_within(std::sqrt(6 / (in + out)));
    case Initialization::xavier_normal: return normal_of(std::sqrt(2 / (in + out)));
    case Initialization::ibp: return normal_of(std::sqrt(2 * 3.141592653589793) / in);
  }
  return {};
}

}  // namespace

namespace {

// The name, or where a layer without a scope of its own was there before, the name with a number behind it.
std::string unused_name(const std::vector<Piece>& pieces, const std::string& name) {
  const auto taken = [&](const std::string& wanted) {
    for (const Piece& piece : pieces)
      if (piece.name == wanted) return true;
    return false;
  };
  std::string unused = name;
  for (int number = 2; taken(unused); ++number) unused = name + "_" + std::to_string(number);
  return unused;
}

}  // namespace

Initialization initialization_named(const std::string& name) {
  std::string names;
  for (const auto& entry : kInitializations) {
    if (name == entry.name) return entry.value;
    names += std::string(names.empty() ? "" : ", ") + entry.name;
  }
  throw ValueError(format("initialization: '{}' given; there are {}", name, names));
}

size_t Declaration::weight(const std::string& name, const Shape& shape, Role role, int64_t fan_in, int64_t fan_out,
                           double initial_value) {
  weights.push_back(
      {unused_name(weights, prefix_ + name), shape, role, total(weights), fan_in, fan_out, initial_value});
  return weights.size() - 1;
}

size_t Declaration::statistic(const std::string& name, const Shape& shape, double initial_value) {
  statistics.push_back(
      {unused_name(statistics, prefix_ + name), shape, Role::statistic, total(statistics), 0, 0, initial_value});
  return statistics.size() - 1;
}

Declaration::Scope::Scope(Declaration& declaration, const std::string& kind)
    : declaration_(declaration), length_(declaration.prefix_.size()) {
  const std::string path = declaration.prefix_ + kind;
  int ordinal = 1;
  for (auto& [known, count] : declaration.ordinals_)
    if (known == path) ordinal = ++count;
  if (ordinal == 1) declaration.ordinals_.push_back({path, 1});
  declaration.prefix_ = path + std::to_string(ordinal) + ".";
}

Declaration::Scope::~Scope() { declaration_.prefix_.resize(length_); }

Network::Network(std::string name, const Shape& input, LayerPointer root)
    : name_(std::move(name)), input_(input), root_(std::move(root)) {
  Declaration declaration;
  output_ = root_->declare(declaration, input_);
  weights_ = std::move(declaration.weights);
  statistics_ = std::move(declaration.statistics);
  weight_sizes_ = sizes(weights_);
  statistic_sizes_ = sizes(statistics_);
  weight_count_ = total(weights_);
  statistic_count_ = total(statistics_);
}

Tensor Network::initial_weights(Initialization how, uint64_t seed, DType dtype) const {
  if (weights_.empty()) return zeros({0}, dtype);
  size_t last = 0;
  for (size_t i = 0; i < weights_.size(); ++i)
    if (weights_[i].role == Role::weight) last = i;
  Tensors parts(weights_.size());
  for (size_t i = 0; i < weights_.size(); ++i)
    parts[i] = flatten(initial(weights_[i], how, {seed, i}, i == last, dtype));
  return concat(parts);
}

Tensor Network::initial_state(DType dtype) const {
  if (statistics_.empty()) return zeros({0}, dtype);
  Tensors parts(statistics_.size());
  for (size_t i = 0; i < statistics_.size(); ++i)
    parts[i] = full({statistics_[i].shape.size()}, statistics_[i].initial, dtype);
  return concat(parts);
}

Tensor Network::weight(const Tensor& weights, const std::string& piece) const {
  std::string names;
  for (const Piece& p : weights_) {
    if (p.name == piece) return reshape(slice(weights, 0, p.offset, p.offset + p.shape.size()), p.shape);
    names += " " + p.name;
  }
  throw ValueError(format("{}: no weight is called '{}'; there are{}", name_, piece, names));
}

Network::Result Network::operator()(const Tensor& weights, const Tensor& state, const Tensor& x, Mode mode,
                                    RandomKey key, const Tensor& step) const {
  require(weights.shape() == Shape{weight_count_}, "{}: weights are {}; needs {}", name_, weights.shape(),
          Shape{weight_count_});
  require(statistic_count_ == 0 || (state.defined() && state.shape() == Shape{statistic_count_}),
          "{}: state is {}; needs {}", name_, state.defined() ? state.shape() : Shape{0}, Shape{statistic_count_});
  require(x.shape() != input_, "{}: input is {}, one example without the axis of the batch; needs {} (reshape(x, {}))",
          name_, x.shape(), with_rows(input_, 1), with_rows(input_, 1));
  const Shape expected = with_rows(input_, x.rank() > 0 ? x.shape()[0] : 0);
  require(x.shape() == expected, "{}: input is {}; needs {} with any number of rows", name_, x.shape(), expected);
  Pass pass{.weights = views(weights, weight_sizes_, weights_),
            .statistics = statistic_count_ ? views(state, statistic_sizes_, statistics_) : Tensors(),
            .new_statistics = Tensors(statistics_.size()), .mode = mode, .key = key, .step = step};
  const Tensor output = root_->apply(pass, x);
  if (statistic_count_ == 0 || mode != Mode::train) return {output, state};
  for (size_t i = 0; i < statistics_.size(); ++i) pass.new_statistics[i] = flatten(pass.new_statistics[i]);
  return {output, concat(pass.new_statistics)};
}

Tensor Network::operator()(const Tensor& weights, const Tensor& x) const {
  return (*this)(weights, {}, x, Mode::evaluate).output;
}

}  // namespace mollify::nn
