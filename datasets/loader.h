// Batches of a dataset as tensors, in an order that depends on (seed, epoch) alone.
#pragma once

#include <mollify/datasets/augment.h>
#include <mollify/datasets/dataset.h>
#include <mollify/datasets/noise.h>
#include <mollify/engine/tensor.h>

#include <memory>
#include <optional>
#include <span>
#include <vector>

#pragma GCC visibility push(default)
namespace mollify::datasets {

struct Batch {
  Tensor images;                 // f32 [B, H, W, C]
  Tensor labels;                 // i32 [B]
  std::vector<int32_t> indices;  // B, into the dataset

  int64_t size() const { return static_cast<int64_t>(indices.size()); }
};

// What happens to an image between the dataset and the batch, in this order: a resized crop, where asked for, instead
// of the image; scaled to [0, 1]; noise; the rest of the augmentation; (value − mean) / deviation.
struct Preparation {
  Noise noise = {};
  Augmentation augmentation = {};
  std::vector<float> mean = {}, deviation = {};  // per channel; empty: 0 and 1
  uint64_t seed = 0;                             // of the augmentation
};

// The images and labels of `indices`, moved as in `epoch`. Throws ValueError for an index or a label that is out of
// range, for means or deviations that do not fit the channels, and for resized crops of a source that does not decode;
// FormatError for images that cannot be read.
Batch make_batch(const Dataset& dataset, std::span<const int32_t> indices, const Preparation& preparation = {},
                 int64_t epoch = 0);

// The permutation of 0 … count − 1 in which an epoch visits the images.
std::vector<int32_t> epoch_order(int64_t count, uint64_t seed, int64_t epoch);

struct LoaderOptions {
  int64_t batch_size = 128;
  bool shuffle = true;     // else 0, 1, 2, …
  bool drop_last = false;  // leave out a last batch that would be smaller
  bool prefetch = true;    // a background thread prepares up to two batches ahead
  uint64_t seed = 0;       // of the order
  Preparation preparation = {};
};

// Usage: loader.start_epoch(e); while (auto batch = loader.next()) { … }
// The dataset must outlive the loader and stay as it is. One thread may use a loader at a time.
class Loader {
 public:
  // Throws ValueError for a batch size below 1, and where dataset or preparation are not consistent.
  explicit Loader(const Dataset& dataset, LoaderOptions options = {});
  explicit Loader(Dataset&&, LoaderOptions = {}) = delete;
  Loader(Loader&&) noexcept;
  Loader& operator=(Loader&&) noexcept;
  ~Loader();

  // The next batch is number `first_batch` of the epoch; what was left of another epoch is dropped.
  // Throws ValueError unless 0 ≤ epoch < 2^32 and 0 ≤ first_batch ≤ batches_per_epoch().
  void start_epoch(int64_t epoch, int64_t first_batch = 0);

  // Empty at the end of the epoch, and before the first. Throws what went wrong when the batch was made; the epoch is
  // then over.
  std::optional<Batch> next();

  int64_t batches_per_epoch() const;

 private:
  class Epoch;
  class Prefetched;
  const Dataset* dataset_;
  LoaderOptions options_;
  std::unique_ptr<Epoch> epoch_;
};

}  // namespace mollify::datasets
#pragma GCC visibility pop
