#include <mollify/datasets/dataset.h>
#include <mollify/datasets/streams.h>

#include <algorithm>
#include <numeric>

namespace mollify::datasets {
namespace {

Dataset chosen(const Dataset& dataset, const std::vector<int64_t>& indices) {
  Dataset out = dataset;
  out.labels.clear();
  for (int64_t index : indices) out.labels.push_back(dataset.labels[static_cast<size_t>(index)]);
  if (dataset.images) out.images = chosen(dataset.images, indices);
  return out;
}

}  // namespace

std::vector<uint8_t> Dataset::image(int64_t index) const {
  require<ValueError>(index >= 0 && index < size(), "image {} of {}; needs 0 to {}", index, name, size() - 1);
  std::vector<uint8_t> pixels(static_cast<size_t>(image_size()));
  images->read(index, pixels);
  return pixels;
}

void check_images(const char* operation, const Dataset& dataset) {
  const int64_t images = dataset.images ? dataset.images->count() : 0;
  require<ValueError>(images == dataset.size() && (images == 0 || dataset.images->image_size() == dataset.image_size()),
                      "{}: a dataset of {} labels and {} images of {} bytes; needs as many, of {} bytes", operation,
                      dataset.size(), images, images == 0 ? 0 : dataset.images->image_size(), dataset.image_size());
}

void check(const char* operation, const Dataset& dataset) {
  require<ValueError>(dataset.height > 0 && dataset.width > 0 && dataset.channels > 0 && dataset.classes > 0,
                      "{}: a dataset of {} by {} pixels, {} channels, {} classes; needs at least 1 of each", operation,
                      dataset.height, dataset.width, dataset.channels, dataset.classes);
  require<ValueError>(dataset.size() <= INT32_MAX, "{}: {} images; needs at most 2^31 - 1", operation, dataset.size());
  check_images(operation, dataset);
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
  std::vector<int64_t> indices(static_cast<size_t>(count));
  std::iota(indices.begin(), indices.end(), first);
  return chosen(dataset, indices);
}

Splits split(const Dataset& dataset, int64_t count, uint64_t seed) {
  require<ValueError>(count >= 0 && count <= dataset.size(), "split: {} images to hold out; needs 0 to {}", count,
                      dataset.size());
  std::vector<int64_t> order(dataset.size());
  std::iota(order.begin(), order.end(), 0);
  shuffle(RandomSequence(key_of(seed, Purpose::held_out)), std::span(order));
  std::sort(order.begin() + count, order.end());
  const auto rest = order.begin() + count;
  return {chosen(dataset, {rest, order.end()}), chosen(dataset, {order.begin(), rest})};
}

}  // namespace mollify::datasets
