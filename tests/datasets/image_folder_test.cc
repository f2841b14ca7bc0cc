#include "jpeg_files.h"

#include <mollify/datasets/datasets.h>
#include <mollify/datasets/resize.h>
#include <mollify/engine/cpu/threads.h>

#include <algorithm>
#include <cmath>

namespace mollify::datasets {
namespace {

namespace fs = std::filesystem;

Bytes text(const std::string& words) { return {words.begin(), words.end()}; }

Bytes grey_square(uint8_t value, int extent = 8) {
  return jpeg(Bytes(static_cast<size_t>(extent * extent), value), extent, TJPF_GRAY);
}

// The grey of an image that is of one colour, as the test files are.
int grey_of(const Dataset& dataset, int64_t index) { return dataset.image(index)[0]; }

std::vector<int> greys_of(const Dataset& dataset) {
  std::vector<int> out;
  for (int64_t i = 0; i < dataset.size(); ++i) out.push_back(grey_of(dataset, i));
  return out;
}

class ImageFolder : public ::testing::Test {
 protected:
  void write_imagenet() {
    folder.write("train/n02/n02_7.JPEG", grey_square(40));
    folder.write("train/n01/n01_9.JPEG", grey_square(20));
    folder.write("train/n01/n01_10.jpg", grey_square(10));
    folder.write("train/n10/b.Jpeg", grey_square(60));
    folder.write("train/n10/a.jpeg", grey_square(50));
    folder.write("val/n10/v1.JPEG", grey_square(70));
    folder.write("val/n01/v2.JPEG", grey_square(80));
  }
  void write_tiny() {
    for (uint32_t i = 0; i < 3; ++i)
      folder.write("train/n0" + std::to_string(2 - i) + "/images/t.JPEG", jpeg(waves(64, 64, i), 64));
    folder.write("val/images/val_1.JPEG", grey_square(11, 64));
    folder.write("val/images/val_0.JPEG", grey_square(22, 64));
    folder.write("val/val_annotations.txt", text("val_1.JPEG\tn02\t0\t1\t2\t3\r\nval_0.JPEG\tn00\t0\t1\t2\t3\r\n"));
  }
  void expect_refused(std::initializer_list<std::string> fragments) {
    expect_error<FormatError>([&] { read_image_folder(folder.path()); }, fragments);
  }
  Dataset single(const Bytes& file, int64_t size) {
    folder.write("train/c/image.jpg", file);
    folder.write("val/c/image.jpg", file);
    return read_image_folder(folder.path(), size).train;
  }

  TemporaryFolder folder;
};

TEST_F(ImageFolder, ReadsImageNetsLayoutInOrder) {
  write_imagenet();
  for (const char* ignored : {"train/n01/n01_boxes.txt", "train/n01/.n01_1.JPEG", "train/n01/x.png", "train/notes.jpg"})
    folder.write(ignored, text("not an image"));
  fs::create_directories(folder / "train/.cache");
  folder.write("words.txt", text("n99\tnothing\nn10\ttench, Tinca tinca\n"));
  const Splits splits = load("folder", folder.path());
  check("test", splits.train);
  check("test", splits.test);
  EXPECT_EQ(splits.train.labels, (std::vector<int32_t>{0, 1, 2, 0, 2})) << "round the classes";
  EXPECT_EQ(greys_of(splits.train), (std::vector<int>{10, 40, 50, 20, 60}));
  EXPECT_EQ(splits.test.labels, (std::vector<int32_t>{0, 2}));
  EXPECT_EQ(greys_of(splits.test), (std::vector<int>{80, 70}));
  EXPECT_EQ(splits.train.class_names, (std::vector<std::string>{"n01", "n02", "tench, Tinca tinca"}));
  EXPECT_EQ(splits.test.classes, 3);
  EXPECT_EQ(splits.train.height, 224);
  EXPECT_EQ(splits.train.width, 224);
  EXPECT_EQ(splits.train.channels, 3);
  EXPECT_EQ(load("folder", folder.path(), 32).test.height, 32);
}

TEST_F(ImageFolder, TakesTestWhereThereIsNoVal) {
  write_imagenet();
  fs::rename(folder / "val", folder / "test");
  EXPECT_EQ(read_image_folder(folder.path(), 8).test.labels, (std::vector<int32_t>{0, 2}));
  write_imagenet();
  fs::remove(folder / "val/n10/v1.JPEG");
  fs::remove(folder / "val/n10");
  EXPECT_EQ(read_image_folder(folder.path(), 8).test.labels, (std::vector<int32_t>{0}));
}

TEST_F(ImageFolder, ReadsTinyImageNetsLayoutPixelByPixel) {
  write_tiny();
  const Splits splits = load("folder", folder.path());
  EXPECT_EQ(splits.train.height, 64);
  EXPECT_EQ(splits.train.labels, (std::vector<int32_t>{0, 1, 2}));
  for (uint32_t i = 0; i < 3; ++i) EXPECT_EQ(splits.train.image(i), decoded(jpeg(waves(64, 64, 2 - i), 64)));
  EXPECT_EQ(splits.test.labels, (std::vector<int32_t>{0, 2}));
  EXPECT_EQ(greys_of(splits.test), (std::vector<int>{22, 11}));
  EXPECT_EQ(load("folder", folder.path(), 48).train.height, 48);
}

TEST_F(ImageFolder, GreyAndInksBecomeRgb) {
  const Bytes grey = single(jpeg(random_bytes(64, 3), 8, TJPF_GRAY), 8).image(0);
  for (size_t i = 0; i < grey.size(); i += 3) EXPECT_TRUE(grey[i] == grey[i + 1] && grey[i] == grey[i + 2]);
  EXPECT_EQ(grey, decoded(jpeg(random_bytes(64, 3), 8, TJPF_GRAY)));
  // Stored inverted: 255 is no ink. Both files' numbers are within 2 of what was given.
  for (const auto& [c, m, y, k] : {std::array<uint8_t, 4>{255, 255, 255, 255},
                                   {200, 100, 50, 255},
                                   {200, 100, 50, 128},
                                   {0, 255, 255, 200},
                                   {90, 80, 70, 0}}) {
    const Bytes image = single(jpeg(solid({c, m, y, k}, 64), 8, TJPF_CMYK), 8).image(0);
    const double black = k / 255.0;
    for (size_t i = 0; i < image.size(); i += 3) {
      EXPECT_NEAR(image[i], c * black, 3);
      EXPECT_NEAR(image[i + 1], m * black, 3);
      EXPECT_NEAR(image[i + 2], y * black, 3);
    }
  }
}

// Without the conversion to YCCK, which the file's Adobe marker tells: its numbers are then the inks themselves.
TEST_F(ImageFolder, ReadsInksThatAreStoredAsTheyAre) {
  Bytes file = jpeg(solid({200, 100, 50, 128}, 64), 8, TJPF_CMYK);
  const std::string name = "Adobe";
  const auto marker = std::search(file.begin(), file.end(), name.begin(), name.end());
  ASSERT_LT(marker - file.begin(), static_cast<int64_t>(file.size()) - 12);
  ASSERT_EQ(marker[11], 2);
  marker[11] = 0;
  const Bytes image = single(file, 8).image(0);
  // The conversion that is not undone: of red, green and blue 55, 155 and 205.
  const double y = 0.299 * 55 + 0.587 * 155 + 0.114 * 205, blueness = 128 + 0.564 * (205 - y),
               redness = 128 + 0.713 * (55 - y);
  for (size_t i = 0; i < image.size(); i += 3) {
    EXPECT_NEAR(image[i], y * 128 / 255, 2);
    EXPECT_NEAR(image[i + 1], blueness * 128 / 255, 2);
    EXPECT_NEAR(image[i + 2], redness * 128 / 255, 2);
  }
}

TEST_F(ImageFolder, ShowsTheMiddleAntialiased) {
  const Bytes file = jpeg(waves(90, 130, 4), 90), pixels = decoded(file);
  Bytes expected(28 * 28 * 3);
  resize(centre_view(90, 130, 28), 90, 130, pixels, 28, expected);
  EXPECT_EQ(single(file, 28).image(0), expected);
  // 64 is 8/7 of 56: nothing is resized, 4 rows and 36 columns are cut off on each side.
  Bytes ramp;
  for (int row = 0; row < 64; ++row)
    for (int column = 0; column < 128; ++column) ramp.push_back(static_cast<uint8_t>(row + column));
  const Bytes whole = decoded(jpeg(ramp, 64, TJPF_GRAY)), middle = single(jpeg(ramp, 64, TJPF_GRAY), 56).image(0);
  for (size_t row = 0; row < 56; ++row)
    for (size_t column = 0; column < 56; ++column)
      ASSERT_EQ(middle[(row * 56 + column) * 3], whole[((row + 4) * 128 + column + 36) * 3]);
}

// Of this image the decoder makes an eighth, of an odd number of rows, before the filter; smooth as it is, it looks the
// same.
TEST_F(ImageFolder, ReducedDecodingShowsTheSame) {
  const Bytes file = jpeg(waves(1005, 1101, 1), 1005), pixels = decoded(file);
  Bytes expected(24 * 24 * 3);
  resize(centre_view(1005, 1101, 24), 1005, 1101, pixels, 24, expected);
  const Bytes image = single(file, 24).image(0);
  for (size_t i = 0; i < image.size(); ++i) ASSERT_NEAR(image[i], expected[i], 1) << i;
}

TEST_F(ImageFolder, BatchesAreTheSameOnAnyNumberOfThreads) {
  for (uint32_t i = 0; i < 40; ++i)
    folder.write("train/c" + std::to_string(i % 3) + "/" + std::to_string(i) + ".jpg",
                 jpeg(waves(20 + static_cast<int>(i), 33, i), 20 + static_cast<int>(i), TJPF_RGB, 80));
  folder.write("val/c0/0.jpg", grey_square(9));
  const Dataset dataset = read_image_folder(folder.path(), 16).train;
  const Preparation preparation{.noise = {.input_deviation = 0.1, .seed = 2},
                                .augmentation = {.flip = true, .resized_crop = true},
                                .mean = {0.4f, 0.5f, 0.6f},
                                .deviation = {0.2f, 0.3f, 0.4f},
                                .seed = 3};
  const std::vector<int32_t> order = epoch_order(40, 1, 0);
  const int before = num_threads();
  std::vector<std::vector<float>> batches;
  for (const int threads : {1, 2, 4}) {
    set_num_threads(threads);
    batches.push_back(make_batch(dataset, order, preparation, 5).images.to_vector<float>());
    Loader loader(dataset, {.batch_size = 40, .seed = 1, .preparation = preparation});
    loader.start_epoch(0);
    EXPECT_EQ(loader.next()->images.to_vector<float>(),
              make_batch(dataset, order, preparation, 0).images.to_vector<float>());
  }
  set_num_threads(before);
  EXPECT_EQ(batches[0], batches[1]);
  EXPECT_EQ(batches[0], batches[2]);
  EXPECT_NE(batches[0], make_batch(dataset, order, preparation, 6).images.to_vector<float>());
}

// Crops are functions of seed, epoch and image, also behind a choice of images.
TEST_F(ImageFolder, CropsBelongToTheImageAndTheEpoch) {
  for (uint32_t i = 0; i < 6; ++i) folder.write("train/c/" + std::to_string(i) + ".jpg", jpeg(waves(50, 70, i), 50));
  folder.write("val/c/0.jpg", grey_square(9));
  const Dataset all = read_image_folder(folder.path(), 12).train;
  const Preparation preparation{.augmentation = {.resized_crop = true}, .seed = 8};
  const std::vector<int32_t> third{3}, first{0};
  const Batch batch = make_batch(all, third, preparation, 2);
  const Region region = draw_region(50, 70, RandomSequence({8, stream_of(Purpose::region, 3)}, 2));
  Bytes expected(12 * 12 * 3);
  resize(region_view(region, 12), 50, 70, decoded(jpeg(waves(50, 70, 3), 50)), 12, expected);
  for (size_t i = 0; i < expected.size(); ++i)
    ASSERT_EQ(batch.images.data<float>()[i], static_cast<float>(expected[i]) / 255.0f);
  EXPECT_EQ(make_batch(take(all, 0, 4), third, preparation, 2).images.to_vector<float>(),
            batch.images.to_vector<float>());
  EXPECT_NE(make_batch(take(all, 3, 1), first, preparation, 3).images.to_vector<float>(),
            batch.images.to_vector<float>());
}

TEST_F(ImageFolder, KeepsNamesOnly) {
  write_imagenet();
  folder.write("train/n01/n01_10.jpg", text("no JPEG until it is asked for"));
  const Dataset dataset = read_image_folder(folder.path(), 8).train;
  EXPECT_EQ(grey_of(dataset, 1), 40);
  folder.write("train/n02/n02_7.JPEG", grey_square(99));
  EXPECT_EQ(grey_of(dataset, 1), 99);
  fs::remove(folder / "train/n02/n02_7.JPEG");
  expect_error<FormatError>([&] { dataset.image(1); }, {"train/n02/n02_7.JPEG is no file"});
  expect_error<FormatError>([&] { dataset.image(0); }, {"train/n01/n01_10.jpg: ", "Not a JPEG file"});
  Loader loader(dataset, {.batch_size = 5});
  loader.start_epoch(0);
  expect_error<FormatError>([&] { loader.next(); }, {"train/n0"});
}

TEST_F(ImageFolder, RefusesTruncatedAndForeignFiles) {
  const Bytes whole = jpeg(waves(16, 24, 1), 16, TJPF_RGB, 70);
  const Dataset dataset = single(whole, 8);
  for (size_t size = 0; size < whole.size(); ++size) {
    folder.write("train/c/image.jpg", Bytes(whole.begin(), whole.begin() + static_cast<int64_t>(size)));
    expect_error<FormatError>([&] { dataset.image(0); }, {(folder / "train/c/image.jpg").string()});
  }
  folder.write("train/c/image.jpg", {0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n', 0, 0, 0, 13, 'I', 'H', 'D', 'R'});
  expect_error<FormatError>([&] { dataset.image(0); }, {"image.jpg: ", "Not a JPEG file"});
}

// A header may claim what it likes; what memory it asks for is bounded.
TEST_F(ImageFolder, RefusesEnormousExtents) {
  Bytes file = grey_square(5);
  for (size_t i = 0; i + 8 < file.size(); ++i)
    if (file[i] == 0xFF && file[i + 1] == 0xC0) std::fill_n(file.begin() + static_cast<int64_t>(i) + 5, 4, 0xF0);
  const Dataset dataset = single(file, 8);
  expect_error<FormatError>([&] { dataset.image(0); }, {"image.jpg", "61680 by 61680 pixels"});
}

TEST_F(ImageFolder, SurvivesDamage) {
  std::mt19937 random(5);
  const Bytes originals[] = {jpeg(waves(16, 24, 1), 16, TJPF_RGB, 70),
                             jpeg(solid({9, 80, 200, 240}, 384), 16, TJPF_CMYK)};
  const Dataset dataset = single(originals[0], 8);
  int read = 0, refused = 0;
  for (int round = 0; round < 600; ++round) {
    Bytes file = originals[round % 2];
    for (uint32_t edits = 1 + random() % 3; edits > 0; --edits)
      file[random() % file.size()] = static_cast<uint8_t>(random());
    folder.write("train/c/image.jpg", file);
    try {
      dataset.image(0);
      ++read;
    } catch (const FormatError&) { ++refused; }
  }
  EXPECT_GT(read, 50);
  EXPECT_GT(refused, 50);
}

TEST_F(ImageFolder, RefusesFoldersThatDoNotFit) {
  const auto missing = [&](std::initializer_list<std::string> fragments) {
    expect_error<MissingData>([&] { read_image_folder(folder.path()); }, fragments);
  };
  missing({"train is not in " + folder.path().string()});
  folder.write("train/notes.txt", text("nothing"));
  missing({"val is not in ", "train and val (or test)"});
  expect_error<MissingData>([&] { read_image_folder(std::string(5000, 'x')); }, {"train is not in xxx"});
  fs::create_directories(folder / "val");
  expect_refused({"train holds no folder"});
  write_imagenet();
  fs::create_directories(folder / "train/n05");
  expect_refused({"train/n05 holds no image", ".jpg or .jpeg"});
  fs::remove(folder / "train/n05");
  folder.write("val/n03/v.JPEG", grey_square(1));
  expect_refused({(folder / "val").string(), "class 'n03'", "3 that have a folder in train"});
  expect_error<ValueError>([&] { read_image_folder(folder.path(), 5000); }, {"images of 5000 pixels"});
  expect_error<MissingData>([&] { load("folder"); }, {"no folder given"});
  expect_error<ValueError>([&] { load("digits", {}, 64); }, {"digits with images of 64 pixels"});
}

TEST_F(ImageFolder, RefusesAnnotationsThatDoNotFit) {
  write_tiny();
  const auto refused = [&](const std::string& annotations, std::initializer_list<std::string> fragments) {
    folder.write("val/val_annotations.txt", text(annotations));
    expect_refused(fragments);
  };
  refused("val_0.JPEG\tn00\t0\nval_1.JPEG\tn07\t0\n", {"val_annotations.txt, line 2", "class 'n07'"});
  refused("val_0.JPEG\tn00\nval_1.JPEG\n", {"line 2", "'val_1.JPEG'"});
  refused("val_0.JPEG\tn00\n\nval_0.JPEG\tn01\n", {"line 3", "'val_0.JPEG' for the second time"});
  refused("val_0.JPEG\tn00\n", {"val_1.JPEG is not in", "val_annotations.txt"});
  refused("val_0.JPEG\tn00\nval_1.JPEG\tn01\nval_2.JPEG\tn01\n", {"names val_2.JPEG"});
  fs::remove(folder / "val/val_annotations.txt");
  expect_refused({"val_annotations.txt is no file"});
}

TEST_F(ImageFolder, OnlyDecodedImagesHaveCrops) {
  const Dataset drawn = digits(3, 0, Split::train);
  expect_error<ValueError>([&] { Loader(drawn, {.preparation = {.augmentation = {.resized_crop = true}}}); },
                           {"resized crops of digits"});
  Bytes pixels(784);
  EXPECT_THROW(drawn.images->read_crop(0, RandomSequence({}), pixels), ValueError);
}

}  // namespace
}  // namespace mollify::datasets
