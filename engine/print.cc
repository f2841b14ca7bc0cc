// Tensors as text, as NumPy prints arrays: numbers in columns, as few digits as tell them apart up to eight, and of
// long axes the first and last three.
#include <mollify/engine/ops/rules.h>
#include <mollify/engine/trace.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <ostream>

namespace mollify {
namespace {

constexpr int64_t kWhole = 1000, kEdge = 3;  // numbers that are all shown; those at either end of longer axes
constexpr size_t kLine = 75;
constexpr int kDigits = 8;

template <class T>
std::string in_form(T value, std::chars_format form, int digits) {
  char text[400];
  const auto end = digits < 0 ? std::to_chars(text, text + sizeof text, value, form).ptr
                              : std::to_chars(text, text + sizeof text, value, form, digits).ptr;
  return {text, end};
}

// Digits behind the point that the shortest form has.
template <class T>
int fraction(T value, std::chars_format form) {
  const std::string text = in_form(value, form, -1);
  const size_t point = text.find('.'), end = std::min(text.find('e'), text.size());
  return point == std::string::npos ? 0 : static_cast<int>(end - point - 1);
}

std::string right_aligned(const std::string& word, size_t width) {
  return std::string(width - word.size(), ' ') + word;
}

// All numbers in one form, with as many digits behind the point as any needs.
template <class T>
class Floats {
 public:
  explicit Floats(const std::vector<T>& values) {
    double largest = 0, smallest = INFINITY;
    for (const T value : values)
      if (std::isfinite(value) && value != 0) {
        largest = std::max(largest, std::abs(static_cast<double>(value)));
        smallest = std::min(smallest, std::abs(static_cast<double>(value)));
      }
    const bool exponents = largest > 0 && (largest >= 1e8 || smallest < 1e-4 || largest / smallest > 1000);
    form_ = exponents ? std::chars_format::scientific : std::chars_format::fixed;
    for (const T value : values)
      if (std::isfinite(value)) digits_ = std::max(digits_, std::min(kDigits, fraction(value, form_)));
    for (const T value : values) width_ = std::max(width_, bare(value).size());
  }
  std::string text(T value) const { return right_aligned(bare(value), width_); }

 private:
  // "1." has no zeros behind the point; shorter fractions end in spaces, so that points stand below each other.
  std::string bare(T value) const {
    if (!std::isfinite(value)) return std::isnan(value) ? "nan" : value > 0 ? "inf" : "-inf";
    std::string word = in_form(value, form_, digits_);
    const size_t end = std::min(word.find('e'), word.size());
    if (digits_ == 0) return word.insert(end, ".");
    if (form_ == std::chars_format::scientific) return word;
    size_t zeros = 0;
    while (word[word.size() - 1 - zeros] == '0') ++zeros;
    return word.substr(0, word.size() - zeros) + std::string(zeros, ' ');
  }

  std::chars_format form_;
  int digits_ = 0;
  size_t width_ = 0;
};

template <class T>
class Whole {
 public:
  explicit Whole(const std::vector<T>& values) {
    for (const T value : values) width_ = std::max(width_, std::to_string(value).size());
  }
  std::string text(T value) const { return right_aligned(std::to_string(value), width_); }

 private:
  size_t width_ = 0;
};

// The places along an axis that are shown; −1 stands for those that are not.
std::vector<int64_t> shown(int64_t extent, bool all) {
  std::vector<int64_t> places;
  for (int64_t i = 0; i < extent; ++i) {
    if (!all && extent > 2 * kEdge && i == kEdge) {
      places.push_back(-1);
      i = extent - kEdge;
    }
    places.push_back(i);
  }
  return places;
}

class Writer {
 public:
  Writer(const Shape& shape, bool all, std::function<std::string(int64_t)> number)
      : shape_(shape), all_(all), number_(std::move(number)) {}

  std::string text() { return shape_.rank() == 0 ? number_(0) : block(0, 0); }

 private:
  std::string block(int axis, int64_t first) {
    const auto indent = std::string(static_cast<size_t>(axis) + 1, ' ');
    const bool row = axis + 1 == shape_.rank();
    const int64_t stride = extent_product(shape_, axis + 1, shape_.rank());
    std::string out = "[",
                between = row ? " " : std::string(static_cast<size_t>(shape_.rank() - axis - 1), '\n') + indent;
    size_t line = indent.size();
    bool start = true;
    for (const int64_t i : shown(shape_[axis], all_)) {
      const std::string word = i < 0 ? "..." : row ? number_(first + i) : block(axis + 1, first + i * stride);
      if (!start) {
        const bool breaks = row && line + 1 + word.size() > kLine - 1;
        out += breaks ? "\n" + indent : between;
        line = breaks ? indent.size() : line + 1;
      }
      out += word;
      line += word.size();
      start = false;
    }
    return out + "]";
  }

  const Shape& shape_;
  bool all_;
  std::function<std::string(int64_t)> number_;
};

// The numbers that are shown: of a long tensor only those are looked at.
void collect(const Shape& shape, bool all, int axis, int64_t first, std::vector<int64_t>& places) {
  if (axis == shape.rank()) return places.push_back(first);
  const int64_t stride = extent_product(shape, axis + 1, shape.rank());
  for (const int64_t i : shown(shape[axis], all))
    if (i >= 0) collect(shape, all, axis + 1, first + i * stride, places);
}

template <class T, template <class> class Form>
std::string text_of(const Tensor& x) {
  const std::vector<T> values = x.to_vector<T>();
  const bool all = x.size() <= kWhole;
  std::vector<int64_t> places;
  collect(x.shape(), all, 0, 0, places);
  std::vector<T> seen;
  for (const int64_t place : places) seen.push_back(values[static_cast<size_t>(place)]);
  const Form<T> form(seen);
  return Writer(x.shape(), all, [&](int64_t i) { return form.text(values[static_cast<size_t>(i)]); }).text();
}

}  // namespace

std::string to_string(const Tensor& x) {
  if (!x.defined()) return "empty";
  if (is_abstract(x)) return format("{} {} without values", x.dtype(), x.shape());
  switch (x.dtype()) {
    case DType::f32: return text_of<float, Floats>(x);
    case DType::f64: return text_of<double, Floats>(x);
    case DType::i32: return text_of<int32_t, Whole>(x);
    case DType::u8: return text_of<uint8_t, Whole>(x);
  }
  return "";
}

std::ostream& operator<<(std::ostream& out, const Tensor& x) { return out << to_string(x); }

}  // namespace mollify
