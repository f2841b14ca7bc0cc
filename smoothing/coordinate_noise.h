// Noise of each coordinate by one of seven laws, for smoothing f_δ(x) = E f(x − δu) with other noise than Gaussian.
#pragma once

#include <mollify/engine/random.h>
#include <mollify/engine/tensor.h>

#include <complex>
#include <span>
#include <string>

#pragma GCC visibility push(default)
namespace mollify::smoothing {

// Their standard forms: N(0, 1), on (−1, 1), of mean 1, of mode 1, with P(v > t) = 1/t from 1, of half-width 1, and
// 1/z² for a standard normal z.
enum class Law { gaussian, uniform, exponential, rayleigh, pareto, cauchy, levy };
std::span<const Law> all_laws();
const char* to_string(Law law);
Law law_named(const std::string& name);  // throws ValueError, naming those there are

// u = shift + scale·v, v of the law's standard form; coordinates are independent.
class CoordinateNoise {
 public:
  // As in Sato & Iiduka's demonstration: N(0, 1), on (−2, 2), exponential of mean 1.5, Rayleigh of mode 1, Pareto of
  // index 1, Cauchy, and Lévy's law from 1 on: its scale was passed as the location.
  static CoordinateNoise published(Law law);
  // As their definition of f_δ wants it, E u = 0 and E‖u‖ ≤ 1 over `dimension` coordinates: of deviation 1/√dimension
  // each, since E‖u‖ ≤ √E‖u‖². Throws ValueError for a law without a mean and for no dimension.
  static CoordinateNoise centred(Law law, int64_t dimension = 1);

  Law law() const { return law_; }
  double shift() const { return shift_; }
  double scale() const { return scale_; }

  // E|u|^p is finite for p below this; infinite for light tails.
  double tail_index() const;
  // Of all that follows: throws ValueError for a law whose tail_index is finite.
  double mean() const;
  double central_moment(int order) const;               // E(u − mean)ⁿ, n = 2, 3, 4
  std::complex<double> characteristic(double t) const;  // E e^(itu)

  double standard_density(double v) const;
  // Where the standard form lies, but for less than 1e-30 of a light tail; infinite ends for heavy ones.
  std::pair<double, double> standard_range() const;
  double standard_tails(double far) const;  // P(|v| > far), far ≥ 1, of heavy tails; 0 for light ones

  // Draws of u, f64: a function of key and step.
  Tensor draw(const Shape& shape, RandomKey key, const Tensor& step) const;

 private:
  CoordinateNoise(Law law, double shift, double scale) : law_(law), shift_(shift), scale_(scale) {}
  void require_light(const char* what) const;

  Law law_;
  double shift_, scale_;
};

}  // namespace mollify::smoothing
#pragma GCC visibility pop
