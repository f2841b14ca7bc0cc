// An optimizer's captured steps have the bits of eager ones, and so have those of one that takes over half way.
#pragma once

#include <mollify/engine/plan.h>
#include <mollify/optim/optimizer.h>

#include <gtest/gtest.h>

#include <functional>

namespace mollify::optim {

// `make` gives an optimizer as new; `start` f64 weights, each time others with the same numbers.
inline void expect_captured_and_resumed(const std::function<std::unique_ptr<Optimizer>()>& make,
                                        const std::function<Tensor()>& start, const Loss& loss, int steps) {
  const auto eager = make(), replayed = make(), resumed = make();
  const Tensor w = start(), v = start(), u = start();
  Captured captured = capture([&](const Tensors&) -> Tensors { return replayed->update(v, loss); });
  for (int step = 0; step < steps; ++step) {
    if (step == steps / 2) {
      resumed->set_state(eager->state());
      assign(u, w);
    }
    if (step >= steps / 2) resumed->step(u, loss);
    const Tensor value = eager->step(w, loss);
    replayed->advance(DType::f64);
    ASSERT_EQ(captured(Tensors{})[0].item(), value.item());
    ASSERT_EQ(v.to_vector<double>(), w.to_vector<double>());
  }
  EXPECT_EQ(u.to_vector<double>(), w.to_vector<double>());
}

}  // namespace mollify::optim
