// Networks as pure functions of (weights, state, input). All weights are one flat vector, so that an optimiser, a
// perturbation, a snapshot or a mask is one operation on a vector; batch norm's statistics are a second one, taken and
// returned.
#pragma once

#include <mollify/engine/ops.h>

#include <memory>
#include <string>
#include <vector>

#pragma GCC visibility push(default)
namespace mollify::nn {

// frozen: as in training, but batch norm uses its running statistics and leaves them.
enum class Mode { train, frozen, evaluate };

enum class Role { weight, bias, scale, shift, statistic };

// A named piece of the flat vector.
struct Piece {
  std::string name;  // path in the network, such as "block2.conv1.weight"
  Shape shape;
  Role role;
  int64_t offset;           // of its first number in the flat vector
  int64_t fan_in, fan_out;  // inputs and outputs of one unit; 0 for what is not a weight or its bias
  double initial;           // of scales, shifts and statistics
};

// How weights start. The gain is for ReLU where there is one; biases are 0 unless said otherwise.
enum class Initialization {
  fan_in_uniform,   // weights and biases on ±1/√fan_in: PyTorch's default
  kaiming_uniform,  // ±√(6/fan_in)
  kaiming_normal,   // deviation √(2/fan_in)
  xavier_uniform,   // ±√(6/(fan_in + fan_out))
  xavier_normal,    // deviation √(2/(fan_in + fan_out))
  ibp,              // deviation √(2π)/fan_in (Shi et al. 2021), the last weight and the biases as fan_in_uniform
};
Initialization initialization_named(const std::string& name);  // throws ValueError with the names there are

// The pieces that layers ask for while a network is built.
class Declaration {
 public:
  // Returns the number by which the layer finds the piece in a Pass.
  size_t weight(const std::string& name, const Shape& shape, Role role, int64_t fan_in = 0, int64_t fan_out = 0,
                double initial = 0);
  size_t statistic(const std::string& name, const Shape& shape, double initial);
  uint64_t random_stream() { return streams_++; }

  // Names declared until the scope's end start with `kind` and its ordinal among the kinds of the enclosing scope:
  // "conv1.".
  class Scope {
   public:
    Scope(Declaration& declaration, const std::string& kind);
    ~Scope();
    Scope(const Scope&) = delete;

    std::string path() const { return declaration_.prefix_.substr(0, declaration_.prefix_.size() - 1); }

   private:
    Declaration& declaration_;
    size_t length_;
  };

  std::vector<Piece> weights, statistics;

 private:
  std::string prefix_;
  uint64_t streams_ = 0;
  std::vector<std::pair<std::string, int>> ordinals_;  // of prefix + kind
};

// One evaluation of a network.
struct Pass {
  Tensors weights, statistics;  // views of the pieces
  Tensors new_statistics;       // set by layers in training mode
  Mode mode = Mode::evaluate;
  RandomKey key = {};           // of dropout, in streams of its own; each dropout layer adds its number to the stream
  Tensor step;                  // 0-d i32
};

// A part of a network. Images are [N, H, W, C]; the shapes that declare sees leave out N.
class Layer {
 public:
  virtual ~Layer() = default;
  virtual const char* kind() const = 0;
  virtual Shape declare(Declaration& declaration, const Shape& input) = 0;  // returns the output's shape; called once
  virtual Tensor apply(Pass& pass, const Tensor& x) const = 0;
};
using LayerPointer = std::unique_ptr<Layer>;

class Network {
 public:
  // `input` without the batch axis. Throws ShapeError where layers do not fit.
  Network(std::string name, const Shape& input, LayerPointer root);

  const std::string& name() const { return name_; }
  const Shape& input() const { return input_; }
  const Shape& output() const { return output_; }
  const std::vector<Piece>& weights() const { return weights_; }
  const std::vector<Piece>& statistics() const { return statistics_; }
  int64_t weight_count() const { return weight_count_; }

  // Piece i is drawn from stream i of the seed.
  Tensor initial_weights(Initialization how, uint64_t seed, DType dtype = DType::f32) const;
  Tensor initial_state(DType dtype = DType::f32) const;
  // View of a piece of the flat vector by its name; throws ValueError with the names there are.
  Tensor weight(const Tensor& weights, const std::string& piece) const;

  struct Result { Tensor output, state; };
  // state: [state count], may be empty where there is none. In training mode the returned state has the batch's
  // statistics mixed in.
  // key and step are dropout's.
  Result operator()(const Tensor& weights, const Tensor& state, const Tensor& x, Mode mode, RandomKey key = {},
                    const Tensor& step = {}) const;
  // Evaluation mode; needs a network without state.
  Tensor operator()(const Tensor& weights, const Tensor& x) const;

 private:
  std::string name_;
  Shape input_, output_;
  LayerPointer root_;
  std::vector<Piece> weights_, statistics_;
  std::vector<int64_t> weight_sizes_, statistic_sizes_;
  int64_t weight_count_ = 0, statistic_count_ = 0;
};

}  // namespace mollify::nn
#pragma GCC visibility pop
