#include <mollify/nn/models.h>
#include <mollify/nn/weights_file.h>

#include <gtest/gtest.h>

#include <cstring>
#include <fstream>

namespace mollify::nn {
namespace {

namespace fs = std::filesystem;

class WeightsFile : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::temp_directory_path() / ("mollify-weights-" + std::to_string(::getpid()));
    fs::create_directories(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }

  fs::path path(const std::string& name = "file.safetensors") const { return folder_ / name; }

  // A file of the given header and data.
  fs::path raw(const std::string& header, const std::string& data = "", int64_t claimed = -1) const {
    const uint64_t length = claimed < 0 ? header.size() : static_cast<uint64_t>(claimed);
    std::string bytes(8, '\0');
    std::memcpy(bytes.data(), &length, 8);
    write(bytes + header + data);
    return path();
  }
  void write(const std::string& bytes) const { std::ofstream(path(), std::ios::binary) << bytes; }
  std::string bytes() const {
    std::ifstream in(path(), std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
  }

  fs::path folder_;
};

TEST_F(WeightsFile, RoundTripsEveryDtypeAndShape) {
  SafeTensors content;
  content.metadata = {{"model", "cnn"}, {"text", "\"quoted\" and ünïcode"}};
  content.tensors["a"] = Tensor::from(std::vector<float>{1, -2, std::nanf(""), 4, 5, 6}, {2, 3});
  content.tensors["b.scalar"] = Tensor::scalar(1.5, DType::f64);
  content.tensors["empty"] = zeros({0, 4});
  content.tensors["int"] = Tensor::from(std::vector<int32_t>{-1, 7}, {2});
  content.tensors["bytes"] = Tensor::from(std::vector<uint8_t>{1, 2, 255}, {3});
  content.tensors["view"] = transpose(content.tensors["a"]);
  write_safetensors(path(), content);
  const SafeTensors read = read_safetensors(path());
  EXPECT_EQ(read.metadata, content.metadata);
  ASSERT_EQ(read.tensors.size(), content.tensors.size());
  EXPECT_EQ(read.tensors.at("b.scalar").item(), 1.5);
  EXPECT_EQ(read.tensors.at("empty").shape(), (Shape{0, 4}));
  EXPECT_EQ(read.tensors.at("int").to_vector<int32_t>(), (std::vector<int32_t>{-1, 7}));
  EXPECT_EQ(read.tensors.at("bytes").to_vector<uint8_t>(), (std::vector<uint8_t>{1, 2, 255}));
  EXPECT_EQ(read.tensors.at("view").to_vector<float>()[1], 4);
  EXPECT_TRUE(std::isnan(read.tensors.at("a").to_vector<float>()[2]));
  EXPECT_EQ(std::distance(fs::directory_iterator(folder_), fs::directory_iterator()), 1) << "no temporary file stays";
}

class WeightsFileOf : public WeightsFile, public ::testing::WithParamInterface<const char*> {};
INSTANTIATE_TEST_SUITE_P(Models, WeightsFileOf, ::testing::Values("lenet_300_100", "cifar_resnet20", "heat_resnet34"));

TEST_P(WeightsFileOf, SavesAndLoadsANetworkWithItsState) {
  const std::string name = GetParam();
  const Network network = make(name, {28, 28, 1}, 10);
  const Tensor w = network.initial_weights(Initialization::xavier_normal, 1), state = network.initial_state() + 0.25;
  save(path(), network, w, state, {{"epoch", "3"}});
  const Loaded loaded = load(path(), network);
  EXPECT_EQ(loaded.weights.to_vector<float>(), w.to_vector<float>());
  EXPECT_EQ(loaded.state.to_vector<float>(), state.to_vector<float>());
  EXPECT_EQ(loaded.metadata.at("model"), name);
  const Network again = described_network("file", loaded.metadata);
  EXPECT_EQ(again.input(), network.input());
  EXPECT_EQ(again.output(), network.output());
  EXPECT_EQ(again.weight_count(), network.weight_count());
  EXPECT_EQ(loaded.metadata.at("epoch"), "3");
  EXPECT_THROW(load(path(), make("cnn", {28, 28, 1}, 10)), FormatError);
  EXPECT_THROW(load(path(), make("linear", {28, 28, 1}, 10)), FormatError);
}

TEST(DescribedNetwork, RefusesHostileMetadata) {
  const std::map<std::string, std::string> good{{"model", "cnn"}, {"input", "28,28,1"}, {"output", "10"}};
  EXPECT_EQ(described_network("f", good).weight_count(), 591'786);
  const auto with = [&](const char* key, const char* text) {
    auto metadata = good;
    if (text)
      metadata[key] = text;
    else
      metadata.erase(key);
    return metadata;
  };
  for (const auto& [key, text] : {std::pair<const char*, const char*>{"model", nullptr},
                                  {"model", "vgg"},
                                  {"input", nullptr},
                                  {"input", ""},
                                  {"input", "28,28"},
                                  {"input", "28,28,x"},
                                  {"input", "28,,1"},
                                  {"input", "28,28,1,"},
                                  {"input", "0,28,1"},
                                  {"input", "-1,28,1"},
                                  {"input", "1,1,1,1,1,1,1,1"},
                                  {"input", "99999999999,99999999999,9"},
                                  {"input", "2,2,1"},
                                  {"output", "10,10"},
                                  {"output", "0"},
                                  {"output", "1e9"}})
    EXPECT_THROW(described_network("f", with(key, text)), FormatError) << key << " " << (text ? text : "none");
}

TEST_F(WeightsFile, RefusesWhatDoesNotFit) {
  const std::string good = R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})", data(8, 'x');
  EXPECT_NO_THROW(read_safetensors(raw(good, data)));
  EXPECT_NO_THROW(read_safetensors(raw(good + "   ", data)));
  const std::pair<std::string, std::string> bad[] = {
      {good, data + "y"},
      {good, data.substr(1)},
      {"[1,2]", ""},
      {"{", ""},
      {"", ""},
      {"null", ""},
      {R"({"a":{"dtype":"F16","shape":[2],"data_offsets":[0,4]}})", "xxxx"},
      {R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}})", "xxxx"},
      {R"({"a":{"dtype":"F32","shape":[-2],"data_offsets":[0,8]}})", data},
      {R"({"a":{"dtype":"F32","shape":[2.5],"data_offsets":[0,8]}})", data},
      {R"({"a":{"dtype":"F32","shape":[1,1,1,1,1,1,1,2],"data_offsets":[0,8]}})", data},
      {R"({"a":{"dtype":"F32","shape":[4294967296,4294967296,2],"data_offsets":[0,8]}})", data},
      {R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[8,0]}})", data},
      {R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}})", data + "xxxx"},
      {R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0]}})", data},
      {R"({"a":{"dtype":"F32","data_offsets":[0,8]}})", data},
      {R"({"a":7})", ""},
      {R"({"__metadata__":{"k":1}})", ""},
      {R"({"__metadata__":7})", ""},
      {R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})",
       "x"},
      {R"({"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"b":{"dtype":"U8","shape":[2],"data_offsets":[1,3]}})",
       "xxx"},
      {std::string(5000, '[') + std::string(5000, ']'), ""}};
  for (const auto& [header, tail] : bad)
    EXPECT_THROW(read_safetensors(raw(header, tail)), FormatError) << header.substr(0, 100);
  EXPECT_THROW(read_safetensors(raw(good, data, 1 << 30)), FormatError) << "a header longer than the file";
  EXPECT_THROW(read_safetensors(raw(good, data, 3)), FormatError);
  write("1234");
  EXPECT_THROW(read_safetensors(path()), FormatError);
  EXPECT_THROW(read_safetensors(path("missing")), FormatError);
  EXPECT_THROW(write_safetensors(folder_ / "no" / "folder", {}), FormatError);
}

TEST_F(WeightsFile, MutatedFilesLoadOrThrow) {
  const Network network = make("cnn3_tiny", {28, 28, 1}, 10);
  save(path(), network, network.initial_weights(Initialization::kaiming_normal, 1), {});
  const std::string whole = bytes();
  RandomSequence random({42, 0});
  int loaded = 0, refused = 0;
  for (int i = 0; i < 3000; ++i) {
    std::string mutated = whole;
    for (uint64_t k = 0; k <= random.below(3); ++k) mutated[random.below(900)] = static_cast<char>(random.below(256));
    if (random.below(4) == 0) mutated.resize(random.below(mutated.size()));
    write(mutated);
    try {
      load(path(), network);
      ++loaded;
    } catch (const Error&) { ++refused; }
  }
  EXPECT_EQ(loaded + refused, 3000);
  EXPECT_GT(refused, 1000);
}

}  // namespace
}  // namespace mollify::nn
