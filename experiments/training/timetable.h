// What a training run follows: the batch size of each epoch, and the learning rate of each step.
#pragma once

#include <mollify/optim/schedule.h>

#include <cstdint>
#include <vector>

namespace mollify::experiments {

class Timetable {
 public:
  // `batches` holds the batch size of each epoch over the `images`, the last one that of all later epochs too.
  Timetable(int64_t images, std::vector<int64_t> batches);

  int64_t batch(int64_t epoch) const;  // images in a batch; epochs count from 0
  int64_t steps(int64_t epoch) const;  // of the epoch: its last batch may be smaller
  int64_t first_step(int64_t epoch) const;
  int64_t epoch_of(int64_t step) const;

  optim::Schedule learning_rate = optim::constant(0);  // by step

 private:
  int64_t images_;
  std::vector<int64_t> batches_, first_;  // first_[e]: steps before epoch e
};

}  // namespace mollify::experiments
