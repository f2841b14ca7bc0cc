#include <mollify/experiments/training/timetable.h>

#include <mollify/engine/error.h>

#include <algorithm>

namespace mollify::experiments {

Timetable::Timetable(int64_t images, std::vector<int64_t> batches)
    : images_(images), batches_(std::move(batches)), first_{0} {
  require<ValueError>(images_ >= 1 && !batches_.empty() && *std::min_element(batches_.begin(), batches_.end()) >= 1,
                      "timetable: {} images, batches of {} epochs; needs images, and a batch of at least one for each",
                      images_, batches_.size());
  for (size_t epoch = 0; epoch + 1 < batches_.size(); ++epoch)
    first_.push_back(first_.back() + steps(static_cast<int64_t>(epoch)));
}

int64_t Timetable::batch(int64_t epoch) const {
  return batches_[std::min(static_cast<size_t>(epoch), batches_.size() - 1)];
}

int64_t Timetable::steps(int64_t epoch) const { return (images_ + batch(epoch) - 1) / batch(epoch); }

int64_t Timetable::first_step(int64_t epoch) const {
  const int64_t last = static_cast<int64_t>(first_.size()) - 1;
  return epoch <= last ? first_[static_cast<size_t>(epoch)] : first_.back() + (epoch - last) * steps(last);
}

int64_t Timetable::epoch_of(int64_t step) const {
  const int64_t last = static_cast<int64_t>(first_.size()) - 1;
  if (step >= first_.back()) return last + (step - first_.back()) / steps(last);
  return std::upper_bound(first_.begin(), first_.end(), step) - first_.begin() - 1;
}

}  // namespace mollify::experiments
