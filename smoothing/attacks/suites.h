// Attacks by their names, one after the other.
#pragma once

#include <mollify/smoothing/attacks/attack.h>

#include <vector>

#pragma GCC visibility push(default)
namespace mollify::smoothing {

// What names leave open; what is not given is each attack's own.
struct AttackOptions {
  std::optional<int64_t> steps = {}, restarts = {}, targets = {}, queries = {};
  std::optional<double> step_size = {};     // of pgd
  std::optional<Objective> objective = {};  // of pgd
  std::optional<int64_t> levels = {};       // of ddn
};

// fgsm, pgd, ddn, apgd-ce, apgd-dlr, apgd-t, fab, fab-t, square; and the sequences of AutoAttack (Croce & Hein 2020):
// standard: apgd-ce, apgd-t, fab-t, square. plus: apgd-ce and apgd-dlr with five restarts, fab, square, apgd-t, fab-t.
// rand, for classifiers under noise: apgd-ce, apgd-dlr.
std::vector<std::string> attack_names();
std::vector<Attack> attacks_named(const std::string& name, const AttackOptions& options = {});  // throws ValueError

struct SequenceResult {
  Adversarial found;
  std::vector<int32_t> broken_by;  // place of the attack that succeeded, −1: none
};

// Each attack gets the rows that those before it left; a row has what the one that broke it found, or else the largest
// margin of all. Never weaker than one of them, but for new draws of noise.
SequenceResult in_sequence(const std::vector<Attack>& attacks, const Function& f, const Tensor& x, const Tensor& labels,
                           const Threat& threat);

// What makes attacks look weaker, or a classifier stronger, than it is: outputs that are probabilities already, outputs
// that change between calls, gradients that are zero. A line each, for a batch of images; nothing for most networks.
std::vector<std::string> attack_warnings(const Function& f, const Tensor& x, const Tensor& labels);

}  // namespace mollify::smoothing
#pragma GCC visibility pop
