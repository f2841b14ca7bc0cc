#include "files.h"

#include <mollify/datasets/datasets.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <numeric>

namespace mollify::datasets {
namespace {

std::vector<Batch> epoch_of(Loader& loader, int64_t epoch, int64_t first = 0) {
  std::vector<Batch> out;
  loader.start_epoch(epoch, first);
  while (auto batch = loader.next()) out.push_back(std::move(*batch));
  EXPECT_FALSE(loader.next().has_value());
  return out;
}

std::vector<int32_t> indices_of(const std::vector<Batch>& batches) {
  std::vector<int32_t> out;
  for (const Batch& batch : batches) out.insert(out.end(), batch.indices.begin(), batch.indices.end());
  return out;
}

void expect_same(const std::vector<Batch>& a, const std::vector<Batch>& b) {
  ASSERT_EQ(a.size(), b.size());
  for (size_t i = 0; i < a.size(); ++i) {
    EXPECT_EQ(a[i].indices, b[i].indices);
    ASSERT_EQ(a[i].images.shape(), b[i].images.shape());
    ASSERT_EQ(a[i].labels.size(), b[i].labels.size());
    EXPECT_TRUE(std::equal(a[i].images.data<float>(), a[i].images.data<float>() + a[i].images.size(),
                           b[i].images.data<float>()));
    EXPECT_TRUE(std::equal(a[i].labels.data<int32_t>(), a[i].labels.data<int32_t>() + a[i].labels.size(),
                           b[i].labels.data<int32_t>()));
  }
}

LoaderOptions everything() {
  return {.batch_size = 16,
          .seed = 4,
          .preparation = {.noise = {.input_deviation = 0.25, .label_share = 0.4, .seed = 5},
                          .augmentation = {.padding = 4, .flip = true},
                          .mean = {0.1f},
                          .deviation = {0.3f},
                          .seed = 6}};
}

class LoaderTest : public ::testing::Test {
 protected:
  Dataset dataset = digits(100, 1, Split::train);
};

TEST_F(LoaderTest, VisitsEveryImageOnceAnEpoch) {
  for (bool prefetch : {false, true}) {
    Loader loader(dataset, {.batch_size = 32, .prefetch = prefetch});
    EXPECT_FALSE(loader.next().has_value());
    EXPECT_EQ(loader.batches_per_epoch(), 4);
    std::vector<std::vector<int32_t>> orders;
    for (int64_t epoch : {0, 1, 0}) {
      const auto batches = epoch_of(loader, epoch);
      ASSERT_EQ(batches.size(), 4u);
      EXPECT_EQ(batches[0].images.shape(), (Shape{32, 28, 28, 1}));
      EXPECT_EQ(batches[3].labels.shape(), (Shape{4}));
      orders.push_back(indices_of(batches));
      std::vector<int32_t> sorted = orders.back(), all(100);
      std::sort(sorted.begin(), sorted.end());
      std::iota(all.begin(), all.end(), 0);
      EXPECT_EQ(sorted, all);
      EXPECT_EQ(orders.back(), epoch_order(100, 0, epoch));
    }
    EXPECT_NE(orders[0], orders[1]);
    EXPECT_EQ(orders[0], orders[2]);
  }
}

TEST_F(LoaderTest, DeliversTheDatasetsPixelsAndLabels) {
  Loader loader(dataset, {.batch_size = 7});
  for (const Batch& batch : epoch_of(loader, 2))
    for (int64_t i = 0; i < batch.size(); ++i) {
      ASSERT_EQ(batch.labels.data<int32_t>()[i], dataset.labels[batch.indices[i]]);
      const std::vector<uint8_t> image = dataset.image(batch.indices[i]);
      for (int64_t j = 0; j < 784; ++j)
        ASSERT_EQ(batch.images.data<float>()[i * 784 + j], static_cast<float>(image[j]) / 255.0f);
    }
}

TEST_F(LoaderTest, DropsTheLastSmallBatch) {
  Loader loader(dataset, {.batch_size = 32, .shuffle = false, .drop_last = true});
  EXPECT_EQ(loader.batches_per_epoch(), 3);
  const std::vector<int32_t> visited = indices_of(epoch_of(loader, 0));
  std::vector<int32_t> expected(96);
  std::iota(expected.begin(), expected.end(), 0);
  EXPECT_EQ(visited, expected);
}

TEST_F(LoaderTest, PrefetchingChangesNothing) {
  LoaderOptions options = everything();
  Loader ahead(dataset, options);
  options.prefetch = false;
  Loader plain(dataset, options);
  for (int64_t epoch : {0, 1, 5}) expect_same(epoch_of(ahead, epoch), epoch_of(plain, epoch));
}

TEST_F(LoaderTest, ResumesWhereItStopped) {
  for (bool prefetch : {false, true}) {
    LoaderOptions options = everything();
    options.prefetch = prefetch;
    Loader loader(dataset, options);
    std::vector<Batch> whole = epoch_of(loader, 3);
    Loader fresh(dataset, options);
    for (int64_t first : {0, 1, 4, 7}) expect_same(epoch_of(fresh, 3, first), {whole.begin() + first, whole.end()});
    EXPECT_THROW(loader.start_epoch(0, 8), ValueError);
    EXPECT_THROW(loader.start_epoch(-1), ValueError);
  }
}

TEST_F(LoaderTest, NoiseBelongsToTheImage) {
  Preparation preparation{.noise = {.input_deviation = 0.25, .label_share = 0.5, .seed = 5}};
  Loader loader(dataset, {.batch_size = 9, .preparation = preparation});
  const Batch all = make_batch(dataset, epoch_order(100, 77, 0), preparation);
  std::vector<int64_t> place(100);
  for (int64_t i = 0; i < 100; ++i) place[all.indices[i]] = i;
  for (const Batch& batch : epoch_of(loader, 4))
    for (int64_t i = 0; i < batch.size(); ++i) {
      const int64_t same = place[batch.indices[i]];
      EXPECT_EQ(batch.labels.data<int32_t>()[i], all.labels.data<int32_t>()[same]);
      const float* image = batch.images.data<float>() + i * 784;
      EXPECT_TRUE(std::equal(image, image + 784, all.images.data<float>() + same * 784));
    }
}

TEST_F(LoaderTest, AugmentationBelongsToTheImageAndTheEpoch) {
  const Preparation preparation{.augmentation = {.padding = 3, .flip = true}, .seed = 8};
  const std::vector<int32_t> order = epoch_order(100, 0, 0);
  const Batch plain = make_batch(dataset, order), first = make_batch(dataset, order, preparation, 6);
  int64_t moved = 0;
  for (int64_t i = 0; i < 100; ++i) {
    const Move move = draw_move(preparation.augmentation, 8, 6, order[i]);
    std::vector<float> expected(784);
    apply_move(move, 28, 28, 1, plain.images.data<float>() + i * 784, expected.data());
    EXPECT_TRUE(std::equal(expected.begin(), expected.end(), first.images.data<float>() + i * 784));
    const Move later = draw_move(preparation.augmentation, 8, 7, order[i]);
    moved += later.row_shift != move.row_shift || later.column_shift != move.column_shift || later.flip != move.flip;
  }
  EXPECT_GT(moved, 90);
}

TEST_F(LoaderTest, NormalisesByChannel) {
  const Dataset colours{.name = "colours",
                        .height = 1,
                        .width = 2,
                        .channels = 3,
                        .classes = 1,
                        .images = in_memory({0, 51, 102, 153, 204, 255}, 6),
                        .labels = {0}};
  const std::vector<int32_t> order{0};
  const Batch batch = make_batch(colours, order, {.mean = {0.5f, 0.25f, 0}, .deviation = {0.5f, 1, 2}});
  const float expected[] = {-1, -0.05f, 0.2f, 0.2f, 0.55f, 0.5f};
  for (int i = 0; i < 6; ++i) EXPECT_NEAR(batch.images.data<float>()[i], expected[i], 1e-6) << i;
}

// Images that are made when they are asked for, more than memory would hold; one of them cannot be read.
class Computed final : public ImageSource {
 public:
  static constexpr int64_t kCount = int64_t{1} << 30, kBad = 12345;
  int64_t count() const override { return kCount; }
  int64_t image_size() const override { return 64; }
  void read(int64_t index, std::span<uint8_t> pixels) const override {
    require<FormatError>(index != kBad, "image {} is damaged", index);
    ++reads;
    for (size_t i = 0; i < pixels.size(); ++i) pixels[i] = static_cast<uint8_t>(index + static_cast<int64_t>(i));
  }
  mutable std::atomic<int64_t> reads = 0;
};

TEST_F(LoaderTest, ReadsImagesAsTheyAreNeeded) {
  const auto source = std::make_shared<Computed>();
  std::vector<int64_t> picked;
  for (int64_t i = 0; i < 100; ++i) picked.push_back((Computed::kCount - 1) / 99 * i);
  Dataset far{.name = "far", .height = 8, .width = 8, .channels = 1, .classes = 2};
  far.images = chosen(source, picked);
  far.labels.assign(100, 1);
  far = take(split(far, 20, 3).train, 10, 60);
  EXPECT_EQ(source->reads, 0);
  for (bool prefetch : {true, false}) {
    source->reads = 0;
    Loader loader(far, {.batch_size = 16, .prefetch = prefetch});
    for (const Batch& batch : epoch_of(loader, 0))
      for (int64_t i = 0; i < batch.size(); ++i) {
        const uint8_t first = far.image(batch.indices[i])[0];
        --source->reads;
        for (int64_t j = 0; j < 64; ++j)
          ASSERT_EQ(batch.images.data<float>()[i * 64 + j], static_cast<float>(static_cast<uint8_t>(first + j)) / 255);
      }
    EXPECT_EQ(source->reads, 60);
  }
  far.images = chosen(source, std::vector<int64_t>(60, Computed::kBad));
  Loader loader(far, {.batch_size = 16});
  loader.start_epoch(0);
  expect_error<FormatError>([&] { loader.next(); }, {"image 12345 is damaged"});
  EXPECT_FALSE(loader.next().has_value());
}

TEST_F(LoaderTest, StopsEarlyAndMoves) {
  for (int64_t taken = 0; taken < 4; ++taken) {
    Loader loader(dataset, everything());
    loader.start_epoch(0);
    for (int64_t i = 0; i < taken; ++i) EXPECT_TRUE(loader.next().has_value());
    Loader moved = std::move(loader);
    EXPECT_EQ(moved.next()->indices[0], epoch_order(100, 4, 0)[taken * 16]);
    moved.start_epoch(1);
    EXPECT_EQ(moved.next()->indices[0], epoch_order(100, 4, 1)[0]);
  }
}

TEST_F(LoaderTest, HandsExceptionsToTheConsumer) {
  for (bool prefetch : {false, true}) {
    Dataset changing = dataset;
    Loader loader(changing, {.batch_size = 10, .shuffle = false, .prefetch = prefetch});
    changing.labels[25] = 10;
    loader.start_epoch(0);
    EXPECT_TRUE(loader.next().has_value());
    EXPECT_TRUE(loader.next().has_value());
    expect_error<ValueError>([&] { loader.next(); }, {"label 10 of image 25"});
    EXPECT_FALSE(loader.next().has_value());
    changing.labels[25] = 0;
    EXPECT_EQ(epoch_of(loader, 1).size(), 10u);
  }
}

TEST_F(LoaderTest, RefusesWhatDoesNotFit) {
  const auto refused = [&](LoaderOptions options, const std::string& fragment) {
    expect_error<ValueError>([&] { Loader(dataset, options); }, {fragment});
  };
  refused({.batch_size = 0}, "batches of 0");
  refused({.preparation = {.mean = {1, 2}}}, "2 means");
  refused({.preparation = {.deviation = {0}}}, "deviation 0");
  refused({.preparation = {.deviation = {NAN}}}, "deviation nan");
  refused({.preparation = {.mean = {NAN}}}, "mean nan");
  refused({.preparation = {.noise = {.input_deviation = -1}}}, "deviation -1");
  refused({.preparation = {.noise = {.input_deviation = NAN}}}, "deviation nan");
  refused({.preparation = {.noise = {.label_share = 1.5}}}, "share 1.5");
  refused({.preparation = {.augmentation = {.padding = -1}}}, "padding -1");
  const std::vector<int32_t> outside{100};
  EXPECT_THROW(make_batch(dataset, outside), ValueError);
}

TEST_F(LoaderTest, AnEmptyDatasetHasNoBatches) {
  const Dataset nothing = take(dataset, 0, 0);
  Loader loader(nothing);
  EXPECT_EQ(loader.batches_per_epoch(), 0);
  EXPECT_TRUE(epoch_of(loader, 0).empty());
}

}  // namespace
}  // namespace mollify::datasets
