#include <mollify/nn/formats/npy.h>

#include <mollify/engine/file.h>
#include <mollify/engine/ops.h>
#include <mollify/nn/formats/zip.h>

#include <algorithm>
#include <charconv>
#include <cstring>
#include <limits>
#include <set>

namespace mollify::nn::formats {
namespace {

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "array data is copied as it is in memory");

constexpr int64_t kLongestFile = int64_t{1} << 33;
constexpr std::string_view kMagic = "\x93NUMPY";
constexpr size_t kAlignment = 64;  // of the data, within files that are written
constexpr uint64_t kLargestExtent = uint64_t{1} << 46;

struct Header {
  std::string descr;
  bool fortran_order = false;
  std::vector<uint64_t> shape;
  size_t data = 0;  // where the array begins
};

// The Python dictionary of the header: {'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), } and spaces.
class HeaderParser {
 public:
  HeaderParser(const std::string& where, std::string_view bytes, size_t begin, size_t end)
      : where_(where), text_(bytes.substr(0, end)), at_(begin) {}

  Header parse() {
    Header header;
    std::set<std::string> keys;
    expect('{');
    while (!accept('}')) {
      skip_space();
      const size_t begin = at_;
      const std::string key = string();
      if (!keys.insert(key).second) fail(begin, format("the key {} is there twice", excerpt(key)));
      expect(':');
      if (key == "descr") header.descr = string();
      else if (key == "fortran_order") header.fortran_order = boolean();
      else if (key == "shape") header.shape = tuple();
      else fail(begin, format("the key {}; needs descr, fortran_order and shape", excerpt(key)));
      if (accept(',')) continue;
      expect('}');
      break;
    }
    skip_space();
    if (at_ != text_.size())
      fail(at_, format("{} follows the header's dictionary; needs spaces", excerpt(text_.substr(at_))));
    if (keys.size() != 3) fail(at_, "the header's dictionary lacks keys; needs descr, fortran_order and shape");
    header.data = text_.size();
    return header;
  }

 private:
  [[noreturn]] void fail(size_t at, const std::string& what) const {
    throw FormatError(format("{}, byte {}: {}", where_, at, what));
  }
  void skip_space() { at_ = std::min(text_.find_first_not_of(" \t\n\r", at_), text_.size()); }
  bool accept(char wanted) {
    skip_space();
    const bool found = at_ < text_.size() && text_[at_] == wanted;
    at_ += found;
    return found;
  }
  void expect(char wanted) {
    if (!accept(wanted))
      fail(at_, format("the header goes on with {}; needs '{}'", excerpt(text_.substr(at_)), std::string(1, wanted)));
  }

  std::string string() {
    skip_space();
    const char quote = at_ < text_.size() ? text_[at_] : '\0';
    if (quote != '\'' && quote != '"')
      fail(at_, format("the header goes on with {}; needs a string (structured arrays cannot be read)",
                       excerpt(text_.substr(at_))));
    const size_t end = text_.find(quote, at_ + 1);
    if (end == text_.npos) fail(at_, "a string of the header does not end; needs its quote");
    const std::string value(text_.substr(at_ + 1, end - at_ - 1));
    at_ = end + 1;
    return value;
  }

  bool boolean() {
    skip_space();
    for (const std::string_view word : {"True", "False"})
      if (text_.substr(at_).starts_with(word)) {
        at_ += word.size();
        return word == "True";
      }
    fail(at_, format("fortran_order is {}; needs True or False", excerpt(text_.substr(at_))));
  }

  std::vector<uint64_t> tuple() {
    std::vector<uint64_t> extents;
    expect('(');
    while (!accept(')')) {
      skip_space();
      uint64_t extent = 0;
      const auto [end, status] = std::from_chars(text_.data() + at_, text_.data() + text_.size(), extent);
      if (status != std::errc() || extent > kLargestExtent)
        fail(at_, format("the shape goes on with {}; needs extents of at most 2^46", excerpt(text_.substr(at_))));
      at_ = static_cast<size_t>(end - text_.data());
      if (at_ < text_.size() && text_[at_] == 'L') ++at_;  // Python 2 wrote 3L
      extents.push_back(extent);
      if (extents.size() > kMaxRank) fail(at_, format("the shape has more than {} axes; needs at most that", kMaxRank));
      if (accept(',')) continue;
      expect(')');
      break;
    }
    return extents;
  }

  const std::string& where_;
  std::string_view text_;
  size_t at_;
};

Header parse_header(const std::string& where, std::string_view bytes) {
  const size_t given = std::min(bytes.size(), kMagic.size());
  require<FormatError>(bytes.substr(0, given) == kMagic.substr(0, given),
                       "{}, byte 0: begins with {}; needs \\x93NUMPY", where, excerpt(bytes.substr(0, given)));
  require<FormatError>(bytes.size() >= 10, "{}, byte {}: the file ends within its header; needs the header's length",
                       where, bytes.size());
  const int major = static_cast<uint8_t>(bytes[6]), minor = static_cast<uint8_t>(bytes[7]);
  require<FormatError>(major >= 1 && major <= 3 && minor == 0, "{}, byte 6: NPY version {}.{}; needs 1.0, 2.0 or 3.0",
                       where, major, minor);
  const size_t begin = major == 1 ? 10 : 12;
  require<FormatError>(bytes.size() >= begin, "{}, byte {}: the file ends within its header; needs the header's length",
                       where, bytes.size());
  uint32_t length = 0;
  std::memcpy(&length, bytes.data() + 8, begin - 8);
  require<FormatError>(length <= bytes.size() - begin,
                       "{}, byte {}: the file ends after {} bytes of its header; needs {}", where, bytes.size(),
                       bytes.size() - begin, length);
  return HeaderParser(where, bytes, begin, begin + length).parse();
}

struct Kind { const char* code; const char* name; uint64_t size; };
constexpr Kind kKinds[] = {{"f4", "float32", 4}, {"f8", "float64", 8}, {"i4", "int32", 4},
                           {"i8", "int64", 8},   {"u1", "uint8", 1},   {"b1", "bool", 1}};

const Kind& kind_of(const std::string& where, const std::string& descr) {
  const std::string code = descr.substr(std::min<size_t>(1, descr.size()));
  const Kind* kind =
      std::find_if(std::begin(kKinds), std::end(kKinds), [&](const Kind& entry) { return code == entry.code; });
  const bool known = kind != std::end(kKinds);
  require<FormatError>(!known || kind->size == 1 || descr[0] != '>',
                       "{}: dtype {} ({}, big endian); needs little endian: astype('<{}')", where, excerpt(descr),
                       known ? kind->name : "", code);
  require<FormatError>(known && (descr[0] == '<' || (descr[0] == '|' && kind->size == 1)),
                       "{}: dtype {}; needs <f4, <f8, <i4, <i8, |u1 or |b1", where, excerpt(descr));
  return *kind;
}

template <class T>
Tensor copied(std::string_view bytes, const Shape& shape) {
  Tensor out = Tensor::empty(Layout::packed(shape, dtype_of<T>));
  if (!bytes.empty()) std::memcpy(out.data<T>(), bytes.data(), bytes.size());
  return out;
}

Tensor narrowed(const std::string& where, std::string_view bytes, size_t data, const Shape& shape) {
  Tensor out = Tensor::empty(Layout::packed(shape, DType::i32));
  int32_t* const values = bytes.empty() ? nullptr : out.data<int32_t>();
  for (size_t i = 0; i < bytes.size() / 8; ++i) {
    int64_t value = 0;
    std::memcpy(&value, bytes.data() + 8 * i, 8);
    values[i] = static_cast<int32_t>(value);
    require<FormatError>(values[i] == value, "{}, byte {}: the int64 value {}; needs values of 32 bits", where,
                         data + 8 * i, value);
  }
  return out;
}

Tensor values_of(const std::string& where, const Kind& kind, std::string_view bytes, size_t data, const Shape& shape) {
  const std::string_view code = kind.code;
  if (code == "f4") return copied<float>(bytes, shape);
  if (code == "f8") return copied<double>(bytes, shape);
  if (code == "i4") return copied<int32_t>(bytes, shape);
  if (code == "i8") return narrowed(where, bytes, data, shape);
  if (code == "b1")
    for (size_t i = 0; i < bytes.size(); ++i)
      require<FormatError>(bytes[i] == 0 || bytes[i] == 1, "{}, byte {}: the bool {}; needs 0 or 1", where, data + i,
                           static_cast<int>(static_cast<uint8_t>(bytes[i])));
  return copied<uint8_t>(bytes, shape);
}

Tensor parse_npy(const std::string& where, std::span<const uint8_t> file) {
  const std::string_view bytes(reinterpret_cast<const char*>(file.data()), file.size());
  const Header header = parse_header(where, bytes);
  const Kind& kind = kind_of(where, header.descr);
  Shape shape;
  uint64_t size = kind.size;  // with empty axes as 1, so that no order of the axes overflows
  bool empty = false;
  for (const uint64_t extent : header.shape) {
    shape.push_back(static_cast<int64_t>(extent));
    empty = empty || extent == 0;
    require<FormatError>(!__builtin_mul_overflow(size, std::max<uint64_t>(extent, 1), &size) && size <= kLargestExtent,
                         "{}: a shape of more than 2^46 bytes; needs at most that", where);
  }
  if (empty) size = 0;
  const uint64_t present = bytes.size() - header.data;
  require<FormatError>(present == size, "{}, byte {}: {} bytes follow the header; {} of shape {} needs {}", where,
                       header.data, present, kind.name, shape, size);
  const int rank = shape.rank();
  Shape stored;  // row-major, as the bytes are
  for (int axis = 0; axis < rank; ++axis) stored.push_back(shape[header.fortran_order ? rank - 1 - axis : axis]);
  const Tensor values = values_of(where, kind, bytes.substr(header.data), header.data, stored);
  if (!header.fortran_order || rank < 2) return values;
  std::vector<int> reversed;
  for (int axis = rank - 1; axis >= 0; --axis) reversed.push_back(axis);
  return packed(permute(values, std::span<const int>(reversed)));
}

const char* descr_of(DType dtype) {
  switch (dtype) {
    case DType::f32: return "<f4";
    case DType::f64: return "<f8";
    case DType::i32: return "<i4";
    case DType::u8: return "|u1";
  }
  return "";
}

}  // namespace

Tensor read_npy(const std::filesystem::path& path) {
  return parse_npy("read_npy: " + path.string(), read_bytes("read_npy", path, kLongestFile));
}

std::map<std::string, Tensor> read_npz(const std::filesystem::path& path) {
  constexpr std::string_view kSuffix = ".npy";
  const std::string where = "read_npz: " + path.string();
  const std::vector<uint8_t> file = read_bytes("read_npz", path, kLongestFile);
  std::map<std::string, Tensor> arrays;
  for (const ZipMember& member : zip_members(where, file)) {
    const std::string inside = where + ", member " + excerpt(member.name);
    require<FormatError>(member.name.ends_with(kSuffix), "{}: no array; needs a name that ends in .npy", inside);
    const std::string name = member.name.substr(0, member.name.size() - kSuffix.size());
    require<FormatError>(!arrays.contains(name), "{}: is there twice; needs names that differ", inside);
    arrays[name] = parse_npy(inside, unpack(inside, file, member, kLongestFile));
  }
  return arrays;
}

namespace {

// What stands before an array's bytes.
std::string npy_header(const Tensor& rows) {
  std::string shape;
  for (const int64_t extent : rows.shape()) shape += std::to_string(extent) + ", ";
  if (rows.rank() > 1) shape.resize(shape.size() - 2);  // "(3,)" has its comma, "(2, 3)" none
  std::string dictionary =
      format("{'descr': '{}', 'fortran_order': False, 'shape': ({}), }", descr_of(rows.dtype()), shape);
  dictionary.resize((10 + dictionary.size() + 1 + kAlignment - 1) / kAlignment * kAlignment - 11, ' ');
  dictionary += '\n';
  const uint16_t length = static_cast<uint16_t>(dictionary.size());  // six extents give at most 200 characters
  std::string header = std::string(kMagic) + '\1' + '\0';
  header.append(reinterpret_cast<const char*>(&length), 2);
  return header + dictionary;
}

std::string_view bytes_of(const Tensor& rows) {
  const char* const data = rows.first_byte();
  return {data, static_cast<size_t>(rows.size() * size_of(rows.dtype()))};
}

}  // namespace

void write_npy(const std::filesystem::path& path, const Tensor& values) {
  const Tensor rows = packed(values.detach());
  const std::string header = npy_header(rows);
  const std::string_view parts[] = {header, bytes_of(rows)};
  write_bytes("write_npy", path, parts);
}

void write_npz(const std::filesystem::path& path, const std::map<std::string, Tensor>& arrays) {
  std::vector<StoredMember> members;
  for (const auto& [name, values] : arrays) {
    require<FormatError>(!name.empty() && name.find('/') == std::string::npos,
                         "write_npz: {}: array '{}'; needs a name without /", path.string(), excerpt(name));
    const Tensor rows = packed(values.detach());
    members.push_back({name + ".npy", npy_header(rows) + std::string(bytes_of(rows))});
  }
  const std::string file = zip_of("write_npz: " + path.string(), members);
  const std::string_view parts[] = {file};
  write_bytes("write_npz", path, parts);
}

}  // namespace mollify::nn::formats
