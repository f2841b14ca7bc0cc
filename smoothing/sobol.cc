#include <mollify/smoothing/sobol.h>

#include <mollify/engine/cpu/threads.h>

#include <algorithm>
#include <bit>
#include <memory>
#include <mutex>

namespace mollify::smoothing {
namespace {

constexpr int kDigits = 32;

uint32_t reversed(uint32_t x) {
  x = (x & 0x55555555) << 1 | (x >> 1 & 0x55555555);
  x = (x & 0x33333333) << 2 | (x >> 2 & 0x33333333);
  x = (x & 0x0F0F0F0F) << 4 | (x >> 4 & 0x0F0F0F0F);
  x = (x & 0x00FF00FF) << 8 | (x >> 8 & 0x00FF00FF);
  return x << 16 | x >> 16;
}

// Primitive polynomials over GF(2), bit i the coefficient of xⁱ, in order of degree and number: x + 1, x² + x + 1, …
class PrimitivePolynomials {
 public:
  uint32_t next() {
    do {
      candidate_ += 2;
      if (candidate_ >> (degree_ + 1)) set_degree(degree_ + 1);
    } while (!is_primitive());
    return candidate_;
  }

 private:
  void set_degree(int degree) {
    degree_ = degree;
    order_ = (uint32_t{1} << degree) - 1;
    factors_.clear();
    uint32_t rest = order_;
    for (uint32_t factor = 3; factor * factor <= rest; factor += 2) {
      if (rest % factor) continue;
      factors_.push_back(factor);
      while (rest % factor == 0) rest /= factor;
    }
    if (rest > 1) factors_.push_back(rest);
  }
  // x has the order 2^degree − 1.
  bool is_primitive() const {
    return power_of_x(order_) == 1 &&
           std::none_of(factors_.begin(), factors_.end(), [&](uint32_t q) { return power_of_x(order_ / q) == 1; });
  }
  uint32_t power_of_x(uint32_t exponent) const {
    uint32_t power = 1;
    for (int bit = degree_ - 1; bit >= 0; --bit) {
      power = product(power, power);
      if (exponent >> bit & 1) power = reduced(power << 1);
    }
    return power;
  }
  uint32_t product(uint32_t a, uint32_t b) const {
    uint32_t sum = 0;
    for (; b; b >>= 1, a = reduced(a << 1))
      if (b & 1) sum ^= a;
    return sum;
  }
  uint32_t reduced(uint32_t a) const { return a >> degree_ & 1 ? a ^ candidate_ : a; }

  uint32_t candidate_ = 1, order_ = 1;
  int degree_ = 1;
  std::vector<uint32_t> factors_;
};

// m_1, m_2, … of dimensions 2 … 21, as many as the polynomial's degree.
constexpr uint8_t kInitialNumbers[][7] = {{1},
                                          {1, 3},
                                          {1, 3, 1},
                                          {1, 1, 1},
                                          {1, 1, 3, 3},
                                          {1, 3, 5, 13},
                                          {1, 1, 5, 5, 17},
                                          {1, 1, 5, 5, 5},
                                          {1, 1, 7, 11, 19},
                                          {1, 1, 5, 1, 1},
                                          {1, 1, 1, 3, 11},
                                          {1, 3, 5, 5, 31},
                                          {1, 3, 3, 9, 7, 49},
                                          {1, 1, 1, 15, 21, 21},
                                          {1, 3, 1, 13, 27, 49},
                                          {1, 1, 1, 15, 7, 5},
                                          {1, 3, 1, 15, 13, 25},
                                          {1, 1, 5, 5, 19, 61},
                                          {1, 3, 7, 11, 23, 15, 103},
                                          {1, 3, 7, 13, 13, 15, 69}};

// v_{k−1} of a dimension from 1 on, its first digit the highest bit: the first `degree` are m_k, odd and below 2ᵏ, the
// others follow from the polynomial.
void direction_numbers(int64_t dimension, uint32_t polynomial, uint32_t* v) {
  const int degree = std::bit_width(polynomial) - 1;
  const bool tabulated = dimension <= static_cast<int64_t>(std::size(kInitialNumbers));
  for (int k = 0; k < kDigits; ++k) {
    if (k < degree) {
      const uint32_t drawn = random_words({0, stream_of(Purpose::sobol_directions, static_cast<uint64_t>(dimension))},
                                          0, static_cast<uint32_t>(k))
                                     .word[0] %
                                 (uint32_t{1} << k) * 2 +
                             1;
      v[k] = (tabulated ? kInitialNumbers[dimension - 1][k] : drawn) << (kDigits - 1 - k);
    } else {
      v[k] = v[k - degree] ^ v[k - degree] >> degree;
      for (int i = 1; i < degree; ++i)
        if (polynomial >> (degree - i) & 1) v[k] ^= v[k - i];
    }
  }
}

struct Directions {
  int64_t dimensions = 0;
  std::vector<uint32_t> reversed_digits;  // [kDigits, dimensions]: first digits lowest, as the hash takes them

  const uint32_t* digit(int k) const { return reversed_digits.data() + k * dimensions; }
};

std::shared_ptr<const Directions> make_directions(int64_t dimensions) {
  auto table = std::make_shared<Directions>();
  table->dimensions = dimensions;
  table->reversed_digits.resize(static_cast<size_t>(kDigits * dimensions));
  PrimitivePolynomials polynomials;
  for (int64_t d = 0; d < dimensions; ++d) {
    uint32_t v[kDigits];
    if (d == 0) for (int k = 0; k < kDigits; ++k) v[k] = uint32_t{1} << (kDigits - 1 - k);
    else direction_numbers(d, polynomials.next(), v);
    for (int k = 0; k < kDigits; ++k) table->reversed_digits[static_cast<size_t>(k * dimensions + d)] = reversed(v[k]);
  }
  return table;
}

// At least so many dimensions; kept, since thousands take milliseconds.
std::shared_ptr<const Directions> directions(int64_t dimensions) {
  static std::mutex mutex;
  static std::shared_ptr<const Directions> table = make_directions(32);
  const std::lock_guard lock(mutex);
  if (table->dimensions < dimensions)
    table = make_directions(
        std::min<int64_t>(kSobolDimensions, static_cast<int64_t>(std::bit_ceil(static_cast<uint64_t>(dimensions)))));
  return table;
}

// A permutation in which a digit depends on those before it only; digits are bits, the first one the lowest.
uint32_t scrambled(uint32_t x, uint32_t seed) {
  x += seed;
  x ^= x * 0x6C50B47C;
  x ^= x * 0xB82F1E52;
  x ^= x * 0xC7AFE638;
  return x ^ x * 0x8D22F6E6;
}

template <class T>
T fraction(uint32_t word) {
  if constexpr (std::is_same_v<T, float>) return uniform_f32(word);
  else return (static_cast<T>(word) + T(0.5)) * T(0x1p-32);
}

template <class T>
void fill(const Directions& table, const std::vector<uint32_t>& seeds, RandomKey key, int64_t first,
          const Tensor& out) {
  constexpr int64_t kRows = 64;  // of a run, whose points follow from one another in the order of Gray's code
  const int64_t count = out.shape()[0], dimensions = out.shape()[1], digital = static_cast<int64_t>(seeds.size());
  T* values = out.data<T>();
  cpu::parallel_for((count + kRows - 1) / kRows, 1, [&](int64_t begin, int64_t end) {
    std::vector<uint32_t> point(seeds.size());
    for (int64_t row = begin * kRows; row < std::min(end * kRows, count); ++row) {
      const auto number = static_cast<uint32_t>(first + row), code = number ^ number >> 1;
      const bool restart = row == begin * kRows;
      if (restart) std::fill(point.begin(), point.end(), 0);
      for (uint32_t digits = restart ? code : number & -number; digits; digits &= digits - 1) {
        const uint32_t* digit = table.digit(std::countr_zero(digits));
        for (int64_t d = 0; d < digital; ++d) point[static_cast<size_t>(d)] ^= digit[d];
      }
      T* to = values + row * dimensions;
      for (size_t d = 0; d < seeds.size(); ++d) to[d] = fraction<T>(reversed(scrambled(point[d], seeds[d])));
      for (int64_t d = digital; d < dimensions; d += 4) {
        const RandomWords words = random_words(key, number, static_cast<uint32_t>(d / 4));
        for (int64_t i = 0; i < std::min<int64_t>(4, dimensions - d); ++i) to[d + i] = fraction<T>(words.word[i]);
      }
    }
  });
}

}  // namespace

Tensor sobol_points(int64_t first, int64_t count, int64_t dimensions, RandomKey key, DType dtype) {
  require<ValueError>(first >= 0 && count >= 0 && dimensions >= 0 && count <= (int64_t{1} << kDigits) - first,
                      "sobol_points: {} points from {} on in {} dimensions; there are 2^32 points", count, first,
                      dimensions);
  require<TypeError>(is_floating(dtype), "sobol_points: dtype {} asked for; needs f32 or f64", dtype);
  const Tensor out = Tensor::empty(Layout::packed({count, dimensions}, dtype));
  std::vector<uint32_t> seeds(static_cast<size_t>(std::min(dimensions, kSobolDimensions)));
  for (size_t d = 0; d < seeds.size(); ++d) seeds[d] = random_words(key, 0, static_cast<uint32_t>(d / 4)).word[d % 4];
  const auto table = directions(static_cast<int64_t>(seeds.size()));
  if (dtype == DType::f32) fill<float>(*table, seeds, key, first, out);
  else fill<double>(*table, seeds, key, first, out);
  return out;
}

Tensor sobol_normals(int64_t first, int64_t count, int64_t dimensions, RandomKey key, DType dtype) {
  return normal_quantile(sobol_points(first, count, dimensions, key, dtype));
}

}  // namespace mollify::smoothing
