#include <mollify/datasets/loader.h>
#include <mollify/datasets/streams.h>
#include <mollify/engine/cpu/threads.h>

#include <algorithm>
#include <cmath>
#include <condition_variable>
#include <deque>
#include <exception>
#include <mutex>
#include <numeric>
#include <thread>

namespace mollify::datasets {
namespace {

constexpr size_t kAhead = 2;    // batches
constexpr int64_t kPiece = 32;  // images

void check(const Dataset& dataset, const Preparation& preparation) {
  check("make_batch", preparation.noise);
  require<ValueError>(preparation.augmentation.padding >= 0, "make_batch: padding {}; needs at least 0",
                      preparation.augmentation.padding);
  require<ValueError>(!preparation.augmentation.resized_crop || !dataset.images || dataset.images->decodes(),
                      "make_batch: resized crops of {}, whose images are not decoded; needs a folder of images",
                      dataset.name);
  for (const auto* values : {&preparation.mean, &preparation.deviation})
    require<ValueError>(values->empty() || static_cast<int64_t>(values->size()) == dataset.channels,
                        "make_batch: {} means and {} deviations for {} channels; needs as many, or none",
                        preparation.mean.size(), preparation.deviation.size(), dataset.channels);
  for (float mean : preparation.mean)
    require<ValueError>(std::isfinite(mean), "make_batch: mean {} of a channel; needs a finite number", mean);
  for (float deviation : preparation.deviation)
    require<ValueError>(std::isfinite(deviation) && deviation > 0,
                        "make_batch: deviation {} of a channel; needs a finite number above 0", deviation);
}

void normalise(const Preparation& preparation, int64_t channels, std::span<float> image) {
  if (preparation.mean.empty() && preparation.deviation.empty()) return;
  for (size_t i = 0; i < image.size(); i += channels)
    for (int64_t channel = 0; channel < channels; ++channel) {
      if (!preparation.mean.empty()) image[i + channel] -= preparation.mean[channel];
      if (!preparation.deviation.empty()) image[i + channel] /= preparation.deviation[channel];
    }
}

// Scratch of an image's size; `unmoved` only where images move.
struct Scratch {
  std::vector<uint8_t> pixels;
  std::vector<float> unmoved;
};

void prepare_image(const Dataset& dataset, const Preparation& preparation, int64_t index, int64_t epoch,
                   Scratch& scratch, std::span<float> out) {
  const bool moves = preparation.augmentation.moves();
  const std::span<float> image = moves ? scratch.unmoved : out;
  if (preparation.augmentation.resized_crop) {
    const RandomSequence random(key_of(preparation.seed, Purpose::region, index), static_cast<uint32_t>(epoch));
    dataset.images->read_crop(index, random, scratch.pixels);
  } else {
    dataset.images->read(index, scratch.pixels);
  }
  for (size_t i = 0; i < image.size(); ++i) image[i] = static_cast<float>(scratch.pixels[i]) / 255.0f;
  add_noise(preparation.noise, index, image);
  if (moves) {
    const Move move = draw_move(preparation.augmentation, preparation.seed, epoch, index);
    apply_move(move, dataset.height, dataset.width, dataset.channels, image.data(), out.data());
  }
  normalise(preparation, dataset.channels, out);
}

}  // namespace

// Images that are in memory are prepared on one thread: while the background thread does so, the pool belongs to the
// training step. What decodes takes the pool, in pieces between which the step may have it.
Batch make_batch(const Dataset& dataset, std::span<const int32_t> indices, const Preparation& preparation,
                 int64_t epoch) {
  check(dataset, preparation);
  const int64_t count = static_cast<int64_t>(indices.size()), size = dataset.image_size();
  check_images("make_batch", dataset);
  Batch batch{Tensor::empty(Layout::packed({count, dataset.height, dataset.width, dataset.channels}, DType::f32)),
              Tensor::empty(Layout::packed({count}, DType::i32)), {indices.begin(), indices.end()}};
  float* images = batch.images.data<float>();
  int32_t* labels = batch.labels.data<int32_t>();
  for (int64_t i = 0; i < count; ++i) {
    const int32_t index = indices[i];
    require<ValueError>(index >= 0 && index < dataset.size(), "make_batch: image {}; needs 0 to {}", index,
                        dataset.size() - 1);
    const int32_t label = dataset.labels[index];
    require<ValueError>(label >= 0 && label < dataset.classes, "make_batch: label {} of image {}; needs 0 to {}", label,
                        index, dataset.classes - 1);
    labels[i] = noisy_label(preparation.noise, index, label, dataset.classes);
  }
  const auto prepare = [&](int64_t begin, int64_t end) {
    Scratch scratch{std::vector<uint8_t>(size), std::vector<float>(preparation.augmentation.moves() ? size : 0)};
    for (int64_t i = begin; i < end; ++i)
      prepare_image(dataset, preparation, indices[i], epoch, scratch, {images + i * size, static_cast<size_t>(size)});
  };
  if (count == 0 || !dataset.images->decodes()) {
    prepare(0, count);
    return batch;
  }
  for (int64_t first = 0; first < count; first += kPiece)
    cpu::parallel_for(std::min(kPiece, count - first), 1,
                      [&](int64_t begin, int64_t end) { prepare(first + begin, first + end); });
  return batch;
}

std::vector<int32_t> epoch_order(int64_t count, uint64_t seed, int64_t epoch) {
  require<ValueError>(count >= 0 && count <= INT32_MAX && epoch >= 0 && epoch <= UINT32_MAX,
                      "epoch_order: {} images, epoch {}; needs 0 to 2^31 - 1 and 0 to 2^32 - 1", count, epoch);
  std::vector<int32_t> order(count);
  std::iota(order.begin(), order.end(), 0);
  shuffle(RandomSequence(key_of(seed, Purpose::order), static_cast<uint32_t>(epoch)), std::span(order));
  return order;
}

// The batches that are left of one epoch, made when they are asked for.
class Loader::Epoch {
 public:
  Epoch(const Dataset& dataset, const LoaderOptions& options, int64_t epoch, int64_t first, int64_t last)
      : dataset_(dataset), options_(options), epoch_(epoch), next_(first), last_(last) {
    if (options_.shuffle) {
      order_ = epoch_order(dataset.size(), options_.seed, epoch);
    } else {
      order_.resize(dataset.size());
      std::iota(order_.begin(), order_.end(), 0);
    }
  }
  virtual ~Epoch() = default;
  virtual std::optional<Batch> next() { return make(); }

 protected:
  std::optional<Batch> make() {
    if (next_ == last_) return std::nullopt;
    const int64_t begin = next_++ * options_.batch_size;
    const int64_t count = std::min<int64_t>(options_.batch_size, static_cast<int64_t>(order_.size()) - begin);
    try {
      return make_batch(dataset_, std::span(order_).subspan(begin, count), options_.preparation, epoch_);
    } catch (...) {
      next_ = last_;
      throw;
    }
  }

 private:
  const Dataset& dataset_;
  const LoaderOptions options_;
  const int64_t epoch_;
  int64_t next_, last_;
  std::vector<int32_t> order_;
};

// The same batches, made ahead by a thread of its own.
class Loader::Prefetched : public Loader::Epoch {
 public:
  template <class... Args>
  explicit Prefetched(Args&&... args) : Epoch(std::forward<Args>(args)...), thread_([this] { serve(); }) {}

  ~Prefetched() override {
    {
      std::lock_guard lock(mutex_);
      stop_ = true;
    }
    changed_.notify_all();
    thread_.join();
  }

  std::optional<Batch> next() override {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return !ready_.empty() || ended_; });
    if (!ready_.empty()) {
      Batch batch = std::move(ready_.front());
      ready_.pop_front();
      lock.unlock();
      changed_.notify_all();
      return batch;
    }
    if (error_) std::rethrow_exception(std::exchange(error_, nullptr));
    return std::nullopt;
  }

 private:
  void serve() {
    try {
      while (std::optional<Batch> batch = make()) {
        std::unique_lock lock(mutex_);
        changed_.wait(lock, [&] { return ready_.size() < kAhead || stop_; });
        if (stop_) return;
        ready_.push_back(std::move(*batch));
        changed_.notify_all();
      }
      end(nullptr);
    } catch (...) {
      end(std::current_exception());
    }
  }

  void end(std::exception_ptr error) {
    {
      std::lock_guard lock(mutex_);
      error_ = error;
      ended_ = true;
    }
    changed_.notify_all();
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Batch> ready_;
  std::exception_ptr error_;
  bool stop_ = false, ended_ = false;
  std::thread thread_;  // last: it uses all of the above
};

Loader::Loader(const Dataset& dataset, LoaderOptions options) : dataset_(&dataset), options_(std::move(options)) {
  datasets::check("Loader", dataset);
  check(dataset, options_.preparation);
  require<ValueError>(options_.batch_size >= 1 && options_.batch_size <= INT32_MAX,
                      "Loader: batches of {}; needs 1 to 2^31 - 1", options_.batch_size);
}
Loader::Loader(Loader&&) noexcept = default;
Loader& Loader::operator=(Loader&&) noexcept = default;
Loader::~Loader() = default;

void Loader::start_epoch(int64_t epoch, int64_t first_batch) {
  const int64_t batches = batches_per_epoch();
  require<ValueError>(epoch >= 0 && epoch <= UINT32_MAX && first_batch >= 0 && first_batch <= batches,
                      "start_epoch: epoch {}, batch {}; needs an epoch from 0 to 2^32 - 1 and a batch from 0 to {}",
                      epoch, first_batch, batches);
  epoch_.reset();
  if (options_.prefetch)
    epoch_ = std::make_unique<Prefetched>(*dataset_, options_, epoch, first_batch, batches);
  else
    epoch_ = std::make_unique<Epoch>(*dataset_, options_, epoch, first_batch, batches);
}

std::optional<Batch> Loader::next() { return epoch_ ? epoch_->next() : std::nullopt; }

int64_t Loader::batches_per_epoch() const {
  const int64_t count = dataset_->size();
  return options_.drop_last ? count / options_.batch_size : (count + options_.batch_size - 1) / options_.batch_size;
}

}  // namespace mollify::datasets
