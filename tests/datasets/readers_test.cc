#include "files.h"

#include <mollify/datasets/datasets.h>

namespace mollify::datasets {
namespace {

namespace fs = std::filesystem;

class Mnist : public ::testing::Test {
 protected:
  Dataset read(const Bytes& images, const Bytes& labels) {
    return read_mnist(folder.write("images", images), folder.write("labels", labels));
  }
  void expect_images_refused(const Bytes& images, std::initializer_list<std::string> fragments) {
    expect_error<FormatError>([&] { read(images, small_labels()); }, fragments);
  }
  void expect_labels_refused(const Bytes& labels, std::initializer_list<std::string> fragments) {
    expect_error<FormatError>([&] { read(small_images(), labels); }, fragments);
  }
  TemporaryFolder folder;
};

TEST_F(Mnist, ReadsPlainAndPacked) {
  for (bool packed : {false, true}) {
    const Dataset dataset =
        packed ? read(gzip(small_images()), gzip(small_labels())) : read(small_images(), small_labels());
    EXPECT_EQ(dataset.size(), 5);
    EXPECT_EQ(dataset.height, 4);
    EXPECT_EQ(dataset.width, 3);
    EXPECT_EQ(dataset.channels, 1);
    EXPECT_EQ(dataset.classes, 10);
    EXPECT_EQ(all_pixels(dataset), random_bytes(60, 1));
    EXPECT_EQ(dataset.labels, (std::vector<int32_t>{5, 0, 4, 1, 9}));
    check("test", dataset);
  }
}

TEST_F(Mnist, JoinsGzipMembers) {
  const Bytes all = small_labels();
  Bytes members = gzip(Bytes(all.begin(), all.begin() + 6));
  const Bytes rest = gzip(Bytes(all.begin() + 6, all.end()));
  members.insert(members.end(), rest.begin(), rest.end());
  EXPECT_EQ(read(small_images(), members).labels[4], 9);
}

TEST_F(Mnist, RefusesTruncatedFiles) {
  const Bytes whole = small_images();
  for (size_t size = 0; size < whole.size(); ++size)
    expect_images_refused(Bytes(whole.begin(), whole.begin() + static_cast<int64_t>(size)),
                          {"images, byte " + std::to_string(size)});
  const Bytes packed = gzip(whole);
  for (size_t size = 2; size < packed.size(); ++size)
    expect_images_refused(Bytes(packed.begin(), packed.begin() + static_cast<int64_t>(size)),
                          {"images, byte " + std::to_string(size), "truncated"});
}

TEST_F(Mnist, RefusesWrongHeaders) {
  Bytes images = small_images();
  images[3] = 1;
  expect_images_refused(images, {"images, byte 0", "magic number 2049; needs 2051"});
  expect_images_refused(idx({0xFFFFFFFF, 0xFFFFFFFF, 0xFFFFFFFF}, random_bytes(60, 1)),
                        {"byte 4", "extent 4294967295"});
  expect_images_refused(idx({5, 0xFFFFFFFF, 3}, random_bytes(60, 1)), {"byte 8"});
  expect_images_refused(idx({5, 4, 0}, {}), {"byte 12", "extent 0"});
  expect_images_refused(idx({1u << 30, 1, 1}, random_bytes(60, 1)),
                        {"byte 76", "ends after 60 values; needs 1073741824"});
  expect_images_refused(idx({4, 4, 3}, random_bytes(48, 1)), {"4 images", "5 labels"});
}

TEST_F(Mnist, RefusesTrailingBytes) {
  Bytes images = small_images(), packed = gzip(small_images());
  images.push_back(7);
  expect_images_refused(images, {"images, byte 76", "1 more bytes"});
  expect_images_refused(gzip(images), {"images, byte 76", "1 more bytes"});
  packed.insert(packed.end(), {'m', 'o', 'r', 'e'});
  expect_images_refused(packed, {"images, byte", "damaged"});
}

TEST_F(Mnist, RefusesLabelsOutOfRange) {
  expect_labels_refused(idx({5}, {5, 0, 10, 1, 9}), {"labels, byte 10", "label 10; needs 0 to 9"});
}

TEST_F(Mnist, RefusesBrokenGzip) {
  const Bytes whole = gzip(small_images());
  Bytes crc = whole, length = whole;
  crc[whole.size() - 8] ^= 1;
  length[whole.size() - 1] ^= 1;
  expect_images_refused(crc, {"images, byte", "incorrect data check"});
  expect_images_refused(length, {"images, byte", "incorrect length check"});
}

TEST_F(Mnist, RefusesWhatIsNoFile) {
  expect_error<FormatError>([&] { read_mnist(folder / "absent", folder / "absent"); }, {"absent is no file"});
  expect_error<FormatError>([&] { read_mnist(folder.path(), folder.path()); }, {"is no file"});
}

// Mutations, truncations and insertions of good files either load or throw an Error: nothing else may happen.
TEST_F(Mnist, SurvivesDamage) {
  std::mt19937 random(3);
  const Bytes originals[] = {small_images(), gzip(small_images())};
  int loaded = 0, refused = 0;
  const fs::path labels = folder.write("labels", small_labels());
  for (int round = 0; round < 4000; ++round) {
    Bytes bytes = originals[round % 2];
    for (uint32_t edits = 1 + random() % 3; edits > 0; --edits) {
      const size_t at = random() % bytes.size();
      const uint32_t kind = random() % 8;
      if (kind == 0 && at > 0) bytes.resize(at);
      else if (kind == 1) bytes.insert(bytes.begin() + static_cast<int64_t>(at), static_cast<uint8_t>(random()));
      else bytes[at] = kind == 2 ? 0xFF : static_cast<uint8_t>(random());
    }
    try {
      check("test", read_mnist(folder.write("images", bytes), labels));
      ++loaded;
    } catch (const Error&) {
      ++refused;
    }
  }
  EXPECT_GT(loaded, 100);
  EXPECT_GT(refused, 100);
}

Bytes record(const Bytes& labels, uint32_t seed) {
  Bytes out = labels;
  const Bytes planes = random_bytes(3072, seed);
  out.insert(out.end(), planes.begin(), planes.end());
  return out;
}

Bytes join(const Bytes& a, const Bytes& b) {
  Bytes out = a;
  out.insert(out.end(), b.begin(), b.end());
  return out;
}

void expect_channels_last(const Dataset& dataset, int64_t image, const Bytes& planes) {
  const Bytes pixels = dataset.image(image);
  for (int64_t pixel = 0; pixel < 1024; ++pixel)
    for (int64_t channel = 0; channel < 3; ++channel)
      ASSERT_EQ(pixels[pixel * 3 + channel], planes[channel * 1024 + pixel]);
}

TEST(Cifar, ReadsBothKinds) {
  TemporaryFolder folder;
  const fs::path first = folder.write("a.bin", join(record({3}, 1), record({9}, 2)));
  const fs::path second = folder.write("b.bin", join(record({0}, 3), record({7}, 4)));
  const Dataset ten = read_cifar(Cifar::ten, {first, second}, 2);
  EXPECT_EQ(ten.labels, (std::vector<int32_t>{3, 9, 0, 7}));
  EXPECT_EQ(ten.class_names[3], "cat");
  for (uint32_t i = 0; i < 4; ++i) expect_channels_last(ten, i, random_bytes(3072, i + 1));
  const Dataset hundred =
      read_cifar(Cifar::hundred, {folder.write("c.bin", join(record({19, 99}, 5), record({0, 20}, 6)))}, 2);
  EXPECT_EQ(hundred.labels, (std::vector<int32_t>{99, 20}));
  EXPECT_EQ(hundred.class_names.size(), 100u);
  EXPECT_EQ(hundred.class_names[99], "worm");
  EXPECT_EQ(hundred.class_names[50], "mouse");
  expect_channels_last(hundred, 1, random_bytes(3072, 6));
  check("test", ten);
  check("test", hundred);
}

TEST(Cifar, RefusesDamagedFiles) {
  TemporaryFolder folder;
  const Bytes good = join(record({3}, 1), record({9}, 2));
  const auto refused = [&](Cifar kind, const Bytes& bytes, std::initializer_list<std::string> fragments) {
    expect_error<FormatError>([&] { read_cifar(kind, {folder.write("a.bin", bytes)}, 2); }, fragments);
  };
  refused(Cifar::ten, {}, {"a.bin, byte 0"});
  refused(Cifar::ten, Bytes(good.begin(), good.end() - 1), {"a.bin, byte 6145", "needs 2 records of 3073 bytes"});
  refused(Cifar::ten, Bytes(good.begin(), good.begin() + 3073), {"a.bin, byte 3073"});
  refused(Cifar::ten, join(good, {1}), {"a.bin, byte 6146", "goes on"});
  refused(Cifar::ten, join(record({3}, 1), record({10}, 2)), {"a.bin, byte 3073", "label 10; needs 0 to 9"});
  refused(Cifar::hundred, join(record({20, 1}, 1), record({0, 0}, 2)), {"a.bin, byte 0", "label 20; needs 0 to 19"});
  refused(Cifar::hundred, join(record({1, 1}, 1), record({0, 100}, 2)),
          {"a.bin, byte 3075", "label 100; needs 0 to 99"});
}

// Sets $MOLLIFY_DATA (empty: unsets) and works in another folder until the end of its scope.
class Surroundings {
 public:
  Surroundings(const std::string& data, const fs::path& folder) : folder_(fs::current_path()) {
    if (const char* before = std::getenv("MOLLIFY_DATA")) before_ = before;
    set(data);
    fs::current_path(folder);
  }
  ~Surroundings() {
    set(before_);
    fs::current_path(folder_);
  }

 private:
  static void set(const std::string& data) {
    data.empty() ? unsetenv("MOLLIFY_DATA") : setenv("MOLLIFY_DATA", data.c_str(), 1);
  }
  std::string before_;
  fs::path folder_;
};

TEST(Load, FindsFilesAndSaysWhereItLooked) {
  TemporaryFolder folder, elsewhere;
  const Surroundings surroundings("", elsewhere.path());
  expect_error<MissingData>(
      [&] { load("cifar10", folder.path()); },
      {(folder / "cifar-10-batches-bin").string(), (folder / "cifar10/cifar-10-batches-bin").string(), "data/cifar-10",
       "https://www.cs.toronto.edu"});
  expect_error<MissingData>([&] { load("cifar100", folder.path()); },
                            {(folder / "cifar-100-binary").string(), "cifar-100-binary.tar.gz"});
  expect_error<ValueError>([&] { load("nothing"); }, {"'nothing'", "digits, mnist, cifar10, cifar100 or folder"});
  folder.write("mnist/train-images-idx3-ubyte.gz", gzip(small_images()));
  folder.write("mnist/train-labels-idx1-ubyte", small_labels());
  folder.write("mnist/t10k-images-idx3-ubyte", small_images());
  expect_error<MissingData>([&] { load("mnist", folder.path()); },
                            {"t10k-labels-idx1-ubyte.gz is in " + (folder / "mnist").string()});
  folder.write("mnist/t10k-labels-idx1-ubyte.gz", gzip(small_labels()));
  const Splits both = load("mnist", folder.path());
  EXPECT_EQ(both.train.labels, both.test.labels);
  EXPECT_EQ(all_pixels(both.train), all_pixels(both.test));
  const Surroundings named(folder.path().string(), elsewhere.path());
  EXPECT_EQ(load("mnist").train.labels, both.train.labels);
  EXPECT_EQ(load("mnist", elsewhere.path()).train.labels, both.train.labels);
  fs::rename(folder / "mnist", elsewhere / "mnist");
  fs::create_directories(elsewhere / "data");
  fs::rename(elsewhere / "mnist", elsewhere / "data/mnist");
  EXPECT_EQ(load("mnist").train.labels, both.train.labels);
}

// A build that cannot read folders of images says so before it looks at one.
TEST(Load, ReadsFoldersOfImagesOrSaysWhatToInstall) {
  const TemporaryFolder folder;
  try {
    load("folder", folder.path());
    ADD_FAILURE() << "an empty folder was read";
  } catch (const MissingData& missing) {
    EXPECT_NE(std::string(missing.what()).find("train is not in"), std::string::npos) << missing.what();
  } catch (const Error& absent) {
    EXPECT_NE(std::string(absent.what()).find("libturbojpeg0-dev"), std::string::npos) << absent.what();
  }
}

// Where the tests look for real files, besides $MOLLIFY_DATA.
fs::path shared_data(const std::string& name) {
  for (const char* folder : {"../shared/data", "../../shared/data"})
    if (fs::exists(fs::path(folder) / name)) return folder;
  return {};
}

TEST(Load, RealMnist) {
  Splits mnist;
  try {
    mnist = load("mnist", shared_data("mnist"));
  } catch (const MissingData& missing) {
    GTEST_SKIP() << missing.what();
  }
  EXPECT_EQ(mnist.train.size(), 60000);
  EXPECT_EQ(mnist.test.size(), 10000);
  EXPECT_EQ(mnist.train.height, 28);
  EXPECT_EQ(mnist.train.width, 28);
  EXPECT_EQ(std::vector<int32_t>(mnist.train.labels.begin(), mnist.train.labels.begin() + 5),
            (std::vector<int32_t>{5, 0, 4, 1, 9}));
  EXPECT_EQ(std::vector<int32_t>(mnist.test.labels.begin(), mnist.test.labels.begin() + 4),
            (std::vector<int32_t>{7, 2, 1, 0}));
}

TEST(Load, RealCifar10) {
  Splits cifar;
  try {
    cifar = load("cifar10", shared_data("cifar10/cifar-10-batches-bin"));
  } catch (const MissingData& missing) {
    GTEST_SKIP() << missing.what();
  }
  EXPECT_EQ(cifar.train.size(), 50000);
  EXPECT_EQ(cifar.test.size(), 10000);
  std::vector<int> counts(10);
  for (int32_t label : cifar.train.labels) ++counts[label];
  EXPECT_EQ(counts, std::vector<int>(10, 5000));
}

}  // namespace
}  // namespace mollify::datasets
