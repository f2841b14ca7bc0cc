#include <mollify/smoothing/curvature.h>

#include <mollify/engine/grad.h>
#include <mollify/engine/linear_algebra.h>
#include <mollify/engine/plan.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <numeric>

namespace mollify::smoothing {
namespace {

// Kinds of vectors, beyond the numbers of directions.
enum class Drawn : uint64_t { start = 2, probe = 3 };
RandomKey key_of(uint64_t seed, Drawn kind, int64_t number) {
  return {seed, stream_of(Purpose::landscape, static_cast<uint64_t>(kind) << 48 | static_cast<uint64_t>(number))};
}

double product(const Tensor& a, const Tensor& b) { return sum(a * b).item(); }

Tensor times(const SymmetricMatrix& matrix, const Tensor& v) {
  const Tensor found = matrix.times(v);
  require(found.shape() == v.shape() && found.dtype() == v.dtype(),
          "curvature: the matrix gives {} of {} for a vector {} of {}; needs the same", found.shape(), found.dtype(),
          v.shape(), v.dtype());
  return found;
}

Tensor drawn_signs(const SymmetricMatrix& matrix, uint64_t seed, int64_t number) {
  return signs({matrix.size}, key_of(seed, Drawn::probe, number), Tensor::scalar(0, DType::i32), matrix.dtype,
               matrix.device);
}

// An orthonormal basis that grows by products, in which the matrix is tridiagonal.
class Krylov {
 public:
  Krylov(const SymmetricMatrix& matrix, const Tensor& start, uint64_t seed)
      : matrix_(matrix), seed_(seed), next_(start / norm(start)) {}

  int64_t size() const { return static_cast<int64_t>(basis_.size()); }
  bool is_whole() const { return size() == matrix_.size; }

  void grow() {
    Tensor ahead = times(matrix_, next_);
    diagonal_.push_back(product(next_, ahead));
    basis_.push_back(next_);
    ahead = orthogonal(ahead);
    const double length = norm(ahead).item();
    largest_ = std::max({largest_, std::abs(diagonal_.back()), length});
    const double unit =
        matrix_.dtype == DType::f32 ? std::numeric_limits<float>::epsilon() : std::numeric_limits<double>::epsilon();
    const bool ends = is_whole() || length <= 10 * unit * largest_;  // the basis holds its products
    beside_.push_back(ends ? 0 : length);
    if (!ends) {
      next_ = ahead / length;
    } else if (!is_whole()) {
      const Tensor fresh = normal({matrix_.size}, key_of(seed_, Drawn::start, size()), Tensor::scalar(0, DType::i32),
                                  matrix_.dtype, matrix_.device);
      const Tensor other = orthogonal(fresh);
      next_ = other / norm(other);
    }
  }

  // Of the tridiagonal matrix: its eigenvalues, rising, the first numbers of their vectors, and how far each may be
  // from the matrix's.
  struct Ritz {
    std::vector<double> values, first, errors;
  };
  Ritz ritz() const {
    const size_t n = basis_.size();
    std::vector<double> numbers(n * n);
    for (size_t i = 0; i < n; ++i) {
      numbers[i * n + i] = diagonal_[i];
      if (i + 1 < n) numbers[i * n + i + 1] = numbers[(i + 1) * n + i] = beside_[i];
    }
    const Eigen found = eigh(Tensor::from(numbers, {size(), size()}));
    Ritz out{found.values.to_vector<double>(), found.vectors[0].to_vector<double>(),
             found.vectors[-1].to_vector<double>()};
    for (double& last : out.errors) last = std::abs(last) * beside_.back();
    return out;
  }

 private:
  Tensor orthogonal(Tensor x) const {
    for (int twice = 0; twice < 2; ++twice)
      for (const Tensor& q : basis_) x = x - q * sum(q * x);
    return x;
  }

  const SymmetricMatrix& matrix_;
  const uint64_t seed_;
  std::vector<Tensor> basis_;
  std::vector<double> diagonal_, beside_;
  double largest_ = 0;
  Tensor next_;
};

}  // namespace

SymmetricMatrix hessian_of(const SampleLosses& losses, const Tensor& weights, int64_t batch) {
  check("hessian_of", losses, weights);
  require<ValueError>(batch >= 1, "hessian_of: batch {}; needs at least 1", batch);
  const Tensor w = weights.detach();
  const auto plan = std::make_shared<Captured>([losses](const Tensors& in) -> Tensors {
    const Tensors taken = without_first(without_first(in));
    return cast(hvp([&](const Tensor& at) { return losses.mean(at, taken); }, in[0], in[1]), DType::f64);
  });
  const auto times = [losses, w, batch, plan](const Tensor& v) {
    const NoGrad quiet;
    Tensor sum = zeros(v.shape(), DType::f64, v.device());
    for (int64_t first = 0; first < losses.count; first += batch) {
      const std::vector<int32_t> which = samples_from(first, batch, losses.count);
      sum += (*plan)(with_first(w, with_first(v, losses.take(which))))[0] *
             (static_cast<double>(which.size()) / static_cast<double>(losses.count));
    }
    return cast(sum, v.dtype());
  };
  return {.size = w.size(), .times = times, .dtype = w.dtype(), .device = w.device()};
}

Eigenvalues largest_eigenvalues(const SymmetricMatrix& matrix, int64_t count, const LanczosOptions& how) {
  require<ValueError>(
      1 <= count && count <= matrix.size && count <= how.products && how.tolerance >= 0,
      "largest_eigenvalues: {} of {} by {} products to a tolerance of {}; needs at least 1, at most all "
      "and as many as products, and a tolerance from 0 on",
      count, matrix.size, how.products, how.tolerance);
  constexpr int64_t kEvery = 8;  // products between looks at the errors
  const NoGrad quiet;
  Krylov krylov(matrix,
                normal({matrix.size}, key_of(how.seed, Drawn::start, 0), Tensor::scalar(0, DType::i32), matrix.dtype,
                       matrix.device),
                how.seed);
  Krylov::Ritz ritz;
  while (true) {
    krylov.grow();
    const bool last = krylov.is_whole() || krylov.size() >= how.products;
    if (krylov.size() < count || (!last && krylov.size() % kEvery != 0)) continue;
    ritz = krylov.ritz();
    const double largest = std::max(std::abs(ritz.values.front()), std::abs(ritz.values.back()));
    if (last || *std::max_element(ritz.errors.end() - count, ritz.errors.end()) <= how.tolerance * largest) break;
  }
  return {.values = {ritz.values.rbegin(), ritz.values.rbegin() + count},
          .errors = {ritz.errors.rbegin(), ritz.errors.rbegin() + count},
          .smallest = ritz.values.front(),
          .products = krylov.size()};
}

double Spectrum::density(double at, double deviation) const {
  double sum = 0;
  for (size_t i = 0; i < nodes.size(); ++i) {
    const double z = (at - nodes[i]) / deviation;
    sum += weights[i] * std::exp(-z * z / 2);
  }
  return sum / (deviation * 2.5066282746310002);  // √2π
}

Spectrum spectral_density(const SymmetricMatrix& matrix, int64_t probes, int64_t products, uint64_t seed) {
  require<ValueError>(probes >= 1 && products >= 1 && matrix.size >= 1,
                      "spectral_density: {} probes and {} products of {} numbers; needs 1 of each at least", probes,
                      products, matrix.size);
  const NoGrad quiet;
  Spectrum all;
  for (int64_t probe = 0; probe < probes; ++probe) {
    Krylov krylov(matrix, drawn_signs(matrix, seed, probe), seed);
    while (krylov.size() < std::min(products, matrix.size)) krylov.grow();
    const Krylov::Ritz ritz = krylov.ritz();
    all.nodes.insert(all.nodes.end(), ritz.values.begin(), ritz.values.end());
    for (const double first : ritz.first) all.weights.push_back(first * first / static_cast<double>(probes));
  }
  return all;
}

Measured trace_of(const SymmetricMatrix& matrix, int64_t probes, uint64_t seed) {
  require<ValueError>(probes >= 2, "trace_of: {} probes; needs at least two", probes);
  const NoGrad quiet;
  std::vector<double> found;
  for (int64_t probe = 0; probe < probes; ++probe) {
    const Tensor v = drawn_signs(matrix, seed, probe);
    found.push_back(product(v, times(matrix, v)));
  }
  const double n = static_cast<double>(probes), mean = std::accumulate(found.begin(), found.end(), 0.0) / n;
  double squares = 0;
  for (const double x : found) squares += (x - mean) * (x - mean);
  return {mean, std::sqrt(squares / (n - 1) / n)};
}

}  // namespace mollify::smoothing
