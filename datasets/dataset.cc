#include <mollify/datasets/dataset.h>
#include <mollify/datasets/streams.h>

#include <algorithm>
#include <numeric>

namespace mollify::datasets {
namespace {

Dataset like(const Dataset& dataset, int64_t count) {
  Dataset out{.name = dataset.name, .height = dataset.height, .width = dataset.width, .channels = dataset.channels,
              .classes = dataset.classes, .class_names = dataset.class_names};
  out.pixels.reserve(count * dataset.image_size());
  out.labels.reserve(count);
  return out;
}

void append_image(const Dataset& from, int64_t index, Dataset& to) {
  to.pixels.insert(to.pixels.end(), from.image(index), from.image(index) + from.image_size());
  to.labels.push_back(from.labels[index]);
}

}  // namespace

void check(const char* operation, const Dataset& dataset) {
  require<ValueError>(dataset.height > 0 && dataset.width > 0 && dataset.channels > 0 && dataset.classes > 0,
                      "{}: a dataset of {} by {} pixels, {} channels, {} classes; needs at least 1 of each", operation,
                      dataset.height, dataset.width, dataset.channels, dataset.classes);
  require<ValueError>(dataset.size() <= INT32_MAX, "{}: {} images; needs at most 2^31 - 1", operation, dataset.size());
  require<ValueError>(static_cast<int64_t>(dataset.pixels.size()) == dataset.size() * dataset.image_size(),
                      "{}: a dataset of {} labels and {} pixels; needs {} pixels an image", operation, dataset.size(),
                      dataset.pixels.size(), dataset.image_size());
  require<ValueError>(
      dataset.class_names.empty() || static_cast<int64_t>(dataset.class_names.size()) == dataset.classes,
      "{}: {} class names; needs {} or none", operation, dataset.class_names.size(), dataset.classes);
  for (int32_t label : dataset.labels)
    require<ValueError>(label >= 0 && label < dataset.classes, "{}: label {}; needs 0 to {}", operation, label,
                        dataset.classes - 1);
}

Dataset take(const Dataset& dataset, int64_t first, int64_t count) {
  require<ValueError>(first >= 0 && count >= 0 && first <= dataset.size() && count <= dataset.size() - first,
                      "take: {} images from {} on; needs them within {} images", count, first, dataset.size());
  Dataset out = like(dataset, count);
  for (int64_t i = first; i < first + count; ++i) append_image(dataset, i, out);
  return out;
}

Splits split(const Dataset& dataset, int64_t count, uint64_t seed) {
  require<ValueError>(count >= 0 && count <= dataset.size(), "split: {} images to hold out; needs 0 to {}", count,
                      dataset.size());
  std::vector<int64_t> order(dataset.size());
  std::iota(order.begin(), order.end(), 0);
  shuffle(RandomSequence(key_of(seed, Purpose::held_out)), std::span(order));
  std::sort(order.begin() + count, order.end());
  Splits out{like(dataset, dataset.size() - count), like(dataset, count)};
  for (int64_t i = 0; i < dataset.size(); ++i) append_image(dataset, order[i], i < count ? out.test : out.train);
  return out;
}

}  // namespace mollify::datasets
