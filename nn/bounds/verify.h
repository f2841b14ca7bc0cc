// Complete verification: does any input of a property's boxes reach an unsafe output?
//
// Stages: replayed guesses (centres, corners that bounds point to, and an attack if one is given), then bounds of the
// whole box, then branch and bound: over the inputs where there are few, else over the signs of relus (β-CROWN, Wang et
// al. 2021).
#pragma once

#include <mollify/nn/bounds/bounds.h>
#include <mollify/nn/formats/vnnlib.h>

#include <functional>
#include <span>
#include <string>
#include <vector>

#pragma GCC visibility push(default)
namespace mollify::nn::bounds {

// unsat: no input of the property's boxes gives an unsafe output of the network in real arithmetic. sat: the witness
// does, in the graph's arithmetic, in that of `replay`, and in real arithmetic as bounds at the witness show it, to a
// share of 10⁻¹² of the limit.
// What the network computes from weights alone has its rounding charged (constants.h). unknown: neither was shown.
enum class Verdict { unsat, sat, unknown };
std::string to_string(Verdict verdict);

struct VerifyProgress {
  double seconds;             // since the start
  std::string stage;
  int64_t domains, open;      // bounded so far; still to do
  double worst;               // lowest bound among the open ones
};

struct VerifyOptions {
  double seconds = 60;                   // for everything; a stage under way ends soon after
  int64_t max_split_inputs = 16;         // boxes with more inputs of positive width branch on relus
  int64_t batch = 0;                     // domains at once; 0: chosen from the network's size
  int64_t memory = int64_t{2} << 30;     // bytes that waiting domains may take; beyond: unknown
  std::vector<std::string> stages = {};  // of "guess", "attack", "bounds", "branch": those to run; empty: all
  // A point of the box that may reach the unsafe set, or none, within so many seconds: replayed before anything is
  // believed.
  std::function<std::vector<double>(const formats::Case& box, const formats::Halfspaces& unsafe, double seconds)>
      attack = {};
  // The network's outputs by other means, such as f32: a witness must convince this too.
  std::function<std::vector<double>(std::span<const double> x)> replay = {};
  std::function<void(const VerifyProgress&)> progress = {};
  std::function<bool()> stop = {};       // asked between batches; true ends the work as unknown
};

struct Outcome {
  Verdict verdict = Verdict::unknown;
  std::string stage;  // that decided it: "guess", "attack", "bounds", "input splits", "relu splits"; of unknown: why
  std::vector<double> input, output;     // of a witness, flat in the network's order: inside the box, to the last bit
  int64_t domains = 0;
  double seconds = 0;
  double worst = 0;                      // lowest bound of what is open: how far from unsat
};

// The graph is f64 and flat inputs and outputs are in its row-major order. Throws ShapeError unless the property has
// its numbers of inputs and outputs, ValueError for an unknown stage, TypeError for f32.
Outcome verify(const Graph& graph, const formats::Property& property, const VerifyOptions& options = {});

}  // namespace mollify::nn::bounds
#pragma GCC visibility pop
