// The record that grad and traces read: applications of operations that something was computed by.
#pragma once

#include <mollify/engine/op.h>

#pragma GCC visibility push(default)
namespace mollify {

// A recorded application of an op. Output tensors own their node and nodes own their inputs: no cycle.
struct Node {
  const Op* op;
  Attributes attributes;
  Tensors inputs;
  uint64_t version;       // version_sum when recorded: versions only rise, so any change shows
  Tensors saved;          // integer outputs and those of op->saved_outputs, without history
  uint64_t number;        // rises with time: inputs have smaller numbers
  size_t outputs = 1;
  std::atomic<int32_t> references{1};
  Node* next_dead = nullptr;
};
// Of the inputs whose values the op's rule reads: a sum's rule reads none but integers, such as a condition.
uint64_t version_sum(const Op& op, Inputs in);

// The same value as the start of a new piece of history: what grad differentiates with respect to.
Tensor variable(const Tensor& value);

}  // namespace mollify
#pragma GCC visibility pop
