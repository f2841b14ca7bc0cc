#include "../../datasets/files.h"

#include <mollify/engine/ops.h>
#include <mollify/nn/formats/npy.h>

#include <cstring>

namespace mollify::nn::formats {
namespace {

namespace fs = std::filesystem;
using datasets::Bytes;
using datasets::expect_error;

// Files as numpy 2.4 wrote them.
// asfortranarray([[1.5, -2, 3], [4, 5, 1e-300]])
constexpr const char* kFortran =
    "934e554d5059010076007b276465736372273a20273c6638272c2027666f727472616e5f6f72646572273a20547275652c2027736861706527"
    "3a2028322c2033"
    "292c207d2020202020202020202020202020202020202020202020202020202020202020202020202020202020202020202020202020202020"
    "2020202020200a"
    "000000000000f83f000000000000104000000000000000c00000000000001440000000000000084059f3f8c21f6ea501";
// [[1, -2**31], [2**31 - 1, 0]] of int64, NPY 2.0
constexpr const char* kLongs =
    "934e554d50590200740000007b276465736372273a20273c6938272c2027666f727472616e5f6f72646572273a2046616c73652c2027736861"
    "7065273a202832"
    "2c2032292c207d2020202020202020202020202020202020202020202020202020202020202020202020202020202020202020202020202020"
    "2020202020200a"
    "010000000000000000000080ffffffffffffff7f000000000000000000000000";
// savez(w=[1, 2.5] of float32, b=[[True], [False]])
constexpr const char* kStored =
    "504b03042d00000000000000210038ee2f72ffffffffffffffff05001400772e6e70790100100088000000000000008800000000000000934e"
    "554d5059010076"
    "007b276465736372273a20273c6634272c2027666f727472616e5f6f72646572273a2046616c73652c20277368617065273a2028322c292c20"
    "7d202020202020"
    "2020202020202020202020202020202020202020202020202020202020202020202020202020202020202020202020202020202020200a0000"
    "803f0000204050"
    "4b03042d000000000000002100f46c7e67ffffffffffffffff05001400622e6e70790100100082000000000000008200000000000000934e55"
    "4d505901007600"
    "7b276465736372273a20277c6231272c2027666f727472616e5f6f72646572273a2046616c73652c20277368617065273a2028322c2031292c"
    "207d2020202020"
    "20202020202020202020202020202020202020202020202020202020202020202020202020202020202020202020202020202020200a010050"
    "4b01022d032d00"
    "000000000000210038ee2f728800000088000000050000000000000000000000800100000000772e6e7079504b01022d032d00000000000000"
    "2100f46c7e6782"
    "000000820000000500000000000000000000008001bf000000622e6e7079504b0506000000000200020066000000780100000000";
// savez_compressed(w=arange(2000).reshape(2, 1000) // 500 of int32, b=7 of uint8)
constexpr const char* kDeflated =
    "504b03042d0000000800000021002cb7c9ecffffffffffffffff05001400772e6e707901001000c01f0000000000007700000000000000edc8"
    "b10ac2301485e1"
    "54b73ec5ddae4286284ee2dc4d71e9e024a18d28882d49e9223e852fdcfa0a6e81ff876f38e77baa8fe74b6146f3d636a426ea5ef4f0d8a915"
    "bd757188fe75ed"
    "621b7e7fe59f29cc7fbafb3ecc7bb5b5b271ceadad7ce4bf4a43444444d957000080ec2d000040f6960000207b13504b03042d000000080000"
    "002100760e1389"
    "ffffffffffffffff05001400622e6e707901001000810000000000000043000000000000009bec17ea1b10c9c850c650ad9e925a9c5ca46ea5"
    "a05e536aa8aea3"
    "a09e965f54529498179f5f94920a12774bcc294e058a17672416a402f91a9a3a0ab50a14012e7600504b01022d032d0000000800000021002c"
    "b7c9ec77000000"
    "c01f0000050000000000000000000000800100000000772e6e7079504b01022d032d000000080000002100760e138943000000810000000500"
    "00000000000000"
    "0000008001ae000000622e6e7079504b0506000000000200020066000000280100000000";

Bytes from_hex(const std::string& text) {
  Bytes out;
  for (size_t i = 0; i < text.size(); i += 2)
    out.push_back(static_cast<uint8_t>(std::stoi(text.substr(i, 2), nullptr, 16)));
  return out;
}

// An NPY 1.0 file of the given dictionary and data, or one whose header claims another length.
Bytes npy(const std::string& dictionary, const Bytes& data, int claimed = -1) {
  const int length = claimed < 0 ? static_cast<int>(dictionary.size()) : claimed;
  const std::string text =
      std::string("\x93NUMPY\1\0", 8) + static_cast<char>(length) + static_cast<char>(length >> 8) + dictionary;
  Bytes out(text.begin(), text.end());
  out.insert(out.end(), data.begin(), data.end());
  return out;
}
Bytes npy_of(const std::string& descr, const std::string& shape, const Bytes& data) {
  return npy("{'descr': '" + descr + "', 'fortran_order': False, 'shape': " + shape + ", }\n", data);
}

class Npy : public ::testing::Test {
 protected:
  Tensor read(const Bytes& bytes) { return read_npy(fresh("a.npy", bytes)); }
  std::map<std::string, Tensor> read_zip(const Bytes& bytes) { return read_npz(fresh("a.npz", bytes)); }
  // Removed before, because some file systems wait for the disk when a file is overwritten.
  fs::path fresh(const std::string& name, const Bytes& bytes) {
    fs::remove(folder / name);
    return folder.write(name, bytes);
  }
  void expect_refused(const Bytes& bytes, std::initializer_list<std::string> fragments) {
    expect_error<FormatError>([&] { read(bytes); }, fragments);
  }
  Bytes written(const Tensor& values) {
    write_npy(folder / "w.npy", values);
    std::ifstream in(folder / "w.npy", std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
  }
  datasets::TemporaryFolder folder;
};

TEST_F(Npy, ReadsNumpysFiles) {
  const Tensor fortran = read(from_hex(kFortran));
  EXPECT_EQ(fortran.shape(), (Shape{2, 3}));
  EXPECT_TRUE(fortran.is_packed());
  EXPECT_EQ(fortran.to_vector<double>(), (std::vector<double>{1.5, -2, 3, 4, 5, 1e-300}));
  const Tensor longs = read(from_hex(kLongs));
  EXPECT_EQ(longs.shape(), (Shape{2, 2}));
  EXPECT_EQ(longs.to_vector<int32_t>(), (std::vector<int32_t>{1, INT32_MIN, INT32_MAX, 0}));
}

TEST_F(Npy, ReadsNumpysArchives) {
  const std::map<std::string, Tensor> stored = read_zip(from_hex(kStored)), deflated = read_zip(from_hex(kDeflated));
  ASSERT_EQ(stored.size(), 2u);
  EXPECT_EQ(stored.at("w").to_vector<float>(), (std::vector<float>{1, 2.5}));
  EXPECT_EQ(stored.at("b").to_vector<uint8_t>(), (std::vector<uint8_t>{1, 0}));
  EXPECT_EQ(stored.at("b").shape(), (Shape{2, 1}));
  ASSERT_EQ(deflated.size(), 2u);
  EXPECT_EQ(deflated.at("b").item(), 7);
  EXPECT_EQ(deflated.at("b").rank(), 0);
  EXPECT_EQ(deflated.at("w").shape(), (Shape{2, 1000}));
  for (int i = 0; i < 2000; ++i) ASSERT_EQ(deflated.at("w").to_vector<int32_t>()[static_cast<size_t>(i)], i / 500);
}

TEST_F(Npy, ReadsEveryVersionAndSpelling) {
  for (const char* dictionary : {"{'shape': (2,), 'descr': '|u1', 'fortran_order': True}",
                                 "{\"descr\":\"<u1\",\"shape\":(2L,),\"fortran_order\":False,}   \n",
                                 "  { 'fortran_order' : False , 'shape' : ( 2 , ) , 'descr' : '|u1' }"})
    EXPECT_EQ(read(npy(dictionary, {3, 4})).to_vector<uint8_t>(), (std::vector<uint8_t>{3, 4}));
  Bytes third = from_hex(kLongs);
  third[6] = 3;
  EXPECT_EQ(read(third).size(), 4);
  third[6] = 4;
  expect_refused(third, {"a.npy, byte 6: NPY version 4.0; needs 1.0, 2.0 or 3.0"});
}

TEST_F(Npy, RoundTrips) {
  for (const Shape& shape : {Shape{}, Shape{3}, Shape{2, 3}, Shape{0, 4}, Shape{4, 0}, Shape{1, 2, 1, 3, 2, 1}}) {
    const Tensor values = reshape(arange(shape.size()), shape) - 0.5;
    for (const DType dtype : {DType::f32, DType::f64}) {
      const Tensor given = cast(values, dtype), got = read(written(given));
      EXPECT_EQ(got.dtype(), dtype);
      EXPECT_EQ(got.shape(), shape);
      EXPECT_EQ(cast(got, DType::f64).to_vector<double>(), cast(given, DType::f64).to_vector<double>());
    }
  }
  const std::vector<int32_t> whole{INT32_MIN, 7};
  const std::vector<uint8_t> bytes{0, 255};
  EXPECT_EQ(read(written(Tensor::from(whole, {2}))).to_vector<int32_t>(), whole);
  EXPECT_EQ(read(written(Tensor::from(bytes, {2, 1}))).to_vector<uint8_t>(), bytes);
  const Tensor matrix = Tensor::from(std::vector<float>{1, 2, 3, 4, 5, 6}, {2, 3});
  EXPECT_EQ(read(written(transpose(matrix))).to_vector<float>(), (std::vector<float>{1, 4, 2, 5, 3, 6}));
  EXPECT_EQ(read(written(slice(matrix, 0, 1, 2))).to_vector<float>(), (std::vector<float>{4, 5, 6}));
  EXPECT_EQ(std::distance(fs::directory_iterator(folder.path()), fs::directory_iterator()), 2)
      << "no temporary file stays";
  expect_error<FormatError>([&] { write_npy(folder / "no/folder.npy", matrix); }, {"write_npy: ", "cannot be written"});
}

TEST_F(Npy, WritesAsNumpyDoes) {
  const Bytes expected = from_hex(kFortran),
              got = written(Tensor::from(std::vector<double>{1.5, 4, -2, 5, 3, 1e-300}, {3, 2}));
  const std::string text(got.begin(), got.begin() + 128);
  EXPECT_EQ(text.substr(0, 69),
            std::string("\x93NUMPY\1\0v\0", 10) + "{'descr': '<f8', 'fortran_order': False, 'shape': (3, 2), }");
  EXPECT_EQ(text.find_first_not_of(' ', 69), 127u);
  EXPECT_EQ(text.back(), '\n');
  EXPECT_EQ(Bytes(got.begin() + 128, got.end()), Bytes(expected.begin() + 128, expected.end()));
  const Bytes row = written(zeros({3}));
  EXPECT_NE(std::string(row.begin(), row.end()).find("'shape': (3,"), std::string::npos);
}

TEST_F(Npy, RefusesOtherDtypesByName) {
  expect_refused(npy_of(">f4", "(1,)", Bytes(4)),
                 {"a.npy: dtype '>f4' (float32, big endian); needs little endian: astype('<f4')"});
  expect_refused(npy_of(">i8", "(1,)", Bytes(8)), {"'>i8' (int64, big endian)"});
  for (const char* descr :
       {"<f2", "<c8", "<U3", "|S1", "|O", "<u4", "<i2", "|i1", "<M8[s]", "=f4", "f4", "<", "", "|f4"})
    expect_refused(npy_of(descr, "(1,)", Bytes(4)), {"dtype '" + std::string(descr) + "'; needs <f4"});
  expect_refused(npy("{'descr': [('a', '<i4')], 'fortran_order': False, 'shape': (1,), }", Bytes(4)),
                 {"byte 20", "structured arrays cannot be read"});
  Bytes wide(16);
  wide[12] = 1;
  expect_refused(npy_of("<i8", "(2,)", wide), {"the int64 value 4294967296; needs values of 32 bits"});
  expect_refused(npy_of("|b1", "(2,)", {1, 2}), {"the bool 2; needs 0 or 1"});
}

TEST_F(Npy, RefusesHostileHeaders) {
  const Bytes eight(8);
  expect_refused({}, {"a.npy, byte 0: the file ends within its header"});
  expect_refused({'P', 'K', 3, 4}, {"byte 0: begins with 'PK?\?'; needs \\x93NUMPY"});
  expect_refused(npy("{}", eight, 60000), {"the file ends after 10 bytes of its header; needs 60000"});
  for (const char* shape : {"(3,)", "(1,)", "()", "(2, 0)", "(17592186044416,)"})
    expect_refused(npy_of("<f4", shape, eight), {"8 bytes follow the header"});
  for (const char* shape : {"(70368744177665,)", "(-1,)", "(99999999999999999999999,)", "(,)", "(a)"})
    expect_refused(npy_of("<f4", shape, eight), {"the shape goes on with '"});
  expect_refused(npy_of("<f4", "(70368744177664, 70368744177664, 0)", {}), {"a shape of more than 2^46 bytes"});
  expect_refused(npy_of("<f4", "(0, 70368744177664, 70368744177664)", {}), {"a shape of more than 2^46 bytes"});
  expect_refused(npy_of("<f4", "(1, 1, 1, 1, 1, 1, 2)", eight), {"the shape has more than 6 axes"});
  for (const char* shape : {"(2 2)", "(1.5,)"}) expect_refused(npy_of("<f4", shape, eight), {"needs ')'"});
  expect_refused(npy_of("<f4", "2", eight), {"needs '('"});
  for (const char* dictionary : {"", "{", "{}", "{'descr'", "{'descr: ", "{'shape': (", "{'shape': (2", "[]"})
    expect_refused(npy(dictionary, eight), {"a.npy, byte ", "needs "});
  expect_refused(npy("{'fortran_order': 1", eight), {"byte 28: fortran_order is '1'; needs True or False"});
  const std::string good = "{'descr': '<f4', 'fortran_order': False, 'shape': (2,)";
  expect_refused(npy(good + ", 'shape': (2,)}", eight), {"the key 'shape' is there twice"});
  expect_refused(npy(good + ", 'more': 1}", eight), {"the key 'more'; needs descr"});
  expect_refused(npy(good + "} x", eight), {"'x' follows the header's dictionary"});
  EXPECT_EQ(read(npy(good + "}", eight)).size(), 2);
}

// Every truncation is refused. Changed bytes either give an array or FormatError.
TEST_F(Npy, SurvivesDamage) {
  const auto cut = [](const Bytes& whole, size_t size) {
    return Bytes(whole.begin(), whole.begin() + static_cast<int64_t>(size));
  };
  const Bytes array = from_hex(kFortran), archives[] = {from_hex(kStored), from_hex(kDeflated)};
  for (size_t size = 0; size < array.size(); ++size) EXPECT_THROW(read(cut(array, size)), FormatError) << size;
  for (const Bytes& whole : archives)
    for (size_t size = 0; size < whole.size(); ++size) EXPECT_THROW(read_zip(cut(whole, size)), FormatError) << size;
  std::mt19937 random(5);
  int loaded = 0, refused = 0;
  for (int round = 0; round < 3000; ++round) {
    Bytes bytes = round % 3 == 0 ? array : archives[round % 3 - 1];
    for (uint32_t edits = 1 + random() % 3; edits > 0; --edits) {
      const size_t at = random() % bytes.size();
      const uint32_t kind = random() % 8;
      if (kind == 1) bytes.insert(bytes.begin() + static_cast<int64_t>(at), static_cast<uint8_t>(random()));
      else bytes[at] = kind == 2 ? 0xFF : kind == 3 ? 0 : static_cast<uint8_t>(random());
    }
    try {
      if (round % 3 == 0) read(bytes);
      else read_zip(bytes);
      ++loaded;
    } catch (const FormatError&) {
      ++refused;
    }
  }
  EXPECT_GT(loaded, 200);
  EXPECT_GT(refused, 1000);
}

TEST_F(Npy, RefusesHostileArchives) {
  const Bytes whole = from_hex(kStored);
  const auto refused = [&](size_t at, std::initializer_list<uint8_t> values,
                           std::initializer_list<std::string> fragments) {
    Bytes bytes = whole;
    std::copy(values.begin(), values.end(), bytes.begin() + static_cast<int64_t>(at));
    expect_error<FormatError>([&] { read_zip(bytes); }, fragments);
  };
  const size_t end = whole.size() - 22, directory = whole[end + 16] + size_t{256} * whole[end + 17];
  const size_t entry = directory + 46 + 5;  // of b.npy, after that of w.npy
  ASSERT_EQ(whole[entry], 'P');
  refused(end, {'x'}, {"a.npz, byte " + std::to_string(whole.size()) + ": no zip directory"});
  refused(end + 4, {1}, {"several disks"});
  refused(end + 8, {3, 0, 3}, {"2 of 3 directory entries"});
  refused(end + 8, {1, 0, 1}, {"byte " + std::to_string(entry) + ": the directory goes on after its 1 entries"});
  refused(end + 16, {0, 0}, {"needs one that ends here"});
  refused(entry + 8, {1}, {"member 'b.npy' is encrypted"});
  refused(entry + 10, {12}, {"packed by method 12"});
  refused(entry + 16, {0, 0, 0, 0}, {"member 'b.npy': checksum "});
  refused(entry + 20, {0xFF, 0xFF, 0xFF, 0xFF}, {"is zip64"});
  refused(entry + 20, {0xFF, 0xFF, 0xFF, 0x7F}, {"has 2147483647 bytes at", "needs members that lie apart"});
  refused(entry + 24, {0xFF, 0xFF, 0xFF, 0x7F}, {"130 bytes; needs the directory's 2147483647"});
  refused(entry + 42, {0, 0, 0, 0}, {"another name than the directory's 'b.npy'"});
  refused(entry + 42, {1, 0, 0, 0}, {"no member's header"});
  refused(entry + 46, {'w'}, {"another name than the directory's 'w.npy'"});
  const std::string text(whole.begin(), whole.end());
  Bytes renamed = whole;
  for (size_t at = text.find("b.npy"); at != text.npos; at = text.find("b.npy", at + 1)) renamed[at] = 'w';
  expect_error<FormatError>([&] { read_zip(renamed); }, {"member 'w.npy': is there twice"});
  renamed = whole;
  for (size_t at = text.find("b.npy"); at != text.npos; at = text.find("b.npy", at + 1)) renamed[at + 4] = 'z';
  expect_error<FormatError>([&] { read_zip(renamed); }, {"member 'b.npz': no array"});
  EXPECT_TRUE(read_zip({'P', 'K', 5, 6, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}).empty());
}

// A member whose directory says less than it unpacks to is refused when that much is there, not later.
TEST_F(Npy, StopsAtTheSizeOfTheDirectory) {
  Bytes bytes = from_hex(kDeflated);
  const size_t end = bytes.size() - 22, directory = bytes[end + 16] + size_t{256} * bytes[end + 17];
  bytes[directory + 24] = 10;
  bytes[directory + 25] = 0;
  expect_error<FormatError>([&] { read_zip(bytes); }, {"member 'w.npy', byte", "unpacks to more than 10 bytes"});
}

TEST_F(Npy, NpzFilesReadBackEqual) {
  const std::map<std::string, Tensor> arrays{{"x", Tensor::from<float>(std::vector<float>{1, 2, 3, 4, 5, 6}, {2, 3})},
                                             {"labels", Tensor::from<int32_t>(std::vector<int32_t>{7, -8}, {2})},
                                             {"none", zeros({0, 4}, DType::f64)},
                                             {"one", Tensor::scalar(0.1, DType::f64)}};
  write_npz(folder / "w.npz", arrays);
  const auto back = read_npz(folder / "w.npz");
  ASSERT_EQ(back.size(), arrays.size());
  for (const auto& [name, values] : arrays) {
    EXPECT_EQ(back.at(name).shape(), values.shape()) << name;
    EXPECT_EQ(back.at(name).dtype(), values.dtype()) << name;
  }
  EXPECT_EQ(back.at("x").to_vector<float>(), arrays.at("x").to_vector<float>());
  EXPECT_EQ(back.at("labels").to_vector<int32_t>(), arrays.at("labels").to_vector<int32_t>());
  EXPECT_EQ(back.at("one").item(), 0.1);
  write_npz(folder / "empty.npz", {});
  EXPECT_TRUE(read_npz(folder / "empty.npz").empty());
  expect_error<FormatError>([&] { write_npz(folder / "w.npz", {{"a/b", arrays.at("x")}}); }, {"write_npz: ", "'a/b'"});
}

}  // namespace
}  // namespace mollify::nn::formats
