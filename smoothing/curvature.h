// The Hessian of a loss by its products with vectors: largest eigenvalues, trace and spectral density.
#pragma once

#include <mollify/smoothing/loss/landscape.h>
#include <mollify/smoothing/loss/sample_losses.h>

#pragma GCC visibility push(default)
namespace mollify::smoothing {

// A symmetric matrix that is known by its products with vectors [size]. Eigenvalues of small matrices are eigh's:
// what needs them throws Error in a build without LAPACK.
struct SymmetricMatrix {
  int64_t size = 0;
  std::function<Tensor(const Tensor& v)> times;  // in the dtype and on the device of v
  DType dtype = DType::f64;
  Device device = Device::cpu;
};

// Of the mean of all samples' losses, which are taken `batch` at a time; their products are captured and added in f64.
SymmetricMatrix hessian_of(const SampleLosses& losses, const Tensor& weights, int64_t batch = 256);

struct LanczosOptions {
  int64_t products = 100;   // at most; all of the matrix's size are enough
  double tolerance = 1e-6;  // of the largest magnitude: errors of all values that are asked for
  uint64_t seed = 0;        // of the start
};

struct Eigenvalues {
  // Falling. Each has an eigenvalue of the matrix within its error; one that stands several times may count once.
  std::vector<double> values, errors;
  double smallest;   // of those that were found on the way
  int64_t products;  // that it took
};

// The `count` largest, by Lanczos with full reorthogonalisation: as many vectors as products are kept. Throws
// ValueError unless 1 ≤ count ≤ size and count ≤ products.
Eigenvalues largest_eigenvalues(const SymmetricMatrix& matrix, int64_t count, const LanczosOptions& how = {});

// A measure that stands for the eigenvalues: Σ weight·f(node) ≈ (1/d) Σ f(λ).
struct Spectrum {
  std::vector<double> nodes, weights;  // weights add up to 1

  double density(double at, double deviation) const;  // each node as a normal density of this deviation
};

// Stochastic Lanczos quadrature (Ubaru, Chen & Saad 2017): the mean over `probes` vectors of signs of Gauss quadratures
// with `products` nodes, exact for polynomials up to degree 2·products − 1 of the vector's own measure. Throws
// ValueError without a probe or a product.
Spectrum spectral_density(const SymmetricMatrix& matrix, int64_t probes = 10, int64_t products = 50, uint64_t seed = 0);

// Hutchinson's estimate: the mean of vᵀHv over vectors v of signs. Throws ValueError unless there are two.
Measured trace_of(const SymmetricMatrix& matrix, int64_t probes = 30, uint64_t seed = 0);

}  // namespace mollify::smoothing
#pragma GCC visibility pop
