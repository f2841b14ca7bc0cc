// LAPACK reads columns first: what it sees of a row-major matrix is the transpose, of a lower triangle an upper one.
#include <mollify/engine/linear_algebra.h>

#include <mollify/engine/cpu/lapack.h>
#include <mollify/engine/ops.h>
#include <mollify/engine/ops/rules.h>

#include <algorithm>
#include <cmath>
#include <limits>

namespace mollify {
namespace {

struct Solving {
  bool transposed;
};

int64_t rows_of(const Tensor& a) { return a.dim(-1); }
int64_t count_of(const Tensor& a) { return a.size() / std::max<int64_t>(1, a.dim(-1) * a.dim(-2)); }

void require_square(const char* operation, const Tensor& a) {
  require_floating(operation, a);
  require(a.rank() >= 2 && a.dim(-1) == a.dim(-2), "{}: given {}; needs square matrices", operation, a.shape());
  require(a.dim(-1) <= std::numeric_limits<int>::max(), "{}: given {}; LAPACK counts to 2^31 - 1", operation,
          a.shape());
}

Layouts square_shape(const Op& op, Inputs in, const Attributes&) {
  require_square(op.name, in[0]);
  return Layout::packed(in[0].shape(), in[0].dtype(), in[0].device());
}

Layouts solve_shape(const Op& op, Inputs in, const Attributes&) {
  require_square(op.name, in[0]);
  require_same_dtype(op.name, in[0], in[1]);
  Shape expected = in[0].shape();
  if (in[1].rank() >= 2) expected[expected.rank() - 1] = in[1].dim(-1);
  require(in[1].rank() >= 2 && in[1].shape() == expected, "{}: matrices {} and right sides {}; needs {} columns of {}",
          op.name, in[0].shape(), in[1].shape(), "any number of", in[0].dim(-1));
  return Layout::packed(in[1].shape(), in[1].dtype(), in[1].device());
}

// The lower triangle, with zeros above.
Tensor lower(const Tensor& a) {
  const Tensor places = arange(rows_of(a), DType::i32, a.device());
  const Tensor below = less_equal(places, reshape(places, {rows_of(a), 1}));
  return where(below, a, Tensor::scalar(0, a.dtype()));
}
Tensor diagonal_halved(const Tensor& a) { return a * (1.0 - eye(rows_of(a), a.dtype(), a.device()) * 0.5); }
Tensor symmetric(const Tensor& a) { return (a + transpose(a)) * 0.5; }

template <class T>
void to_columns(const T* rows, int64_t n, int64_t m, T* columns) {
  for (int64_t i = 0; i < n; ++i)
    for (int64_t j = 0; j < m; ++j) columns[j * n + i] = rows[i * m + j];
}

void require_solved(const char* operation, int info, int64_t matrix, const char* what) {
  require<ValueError>(info == 0, "{}: matrix {} is {} (LAPACK says {})", operation, matrix, what, info);
}

template <class T>
void run_cholesky(const KernelArguments& a) {
  const int64_t n = rows_of(a.out[0]);
  std::copy_n(a.in[0].data<T>(), a.in[0].size(), a.out[0].data<T>());
  for (int64_t k = 0; n > 0 && k < count_of(a.out[0]); ++k) {
    T* l = a.out[0].data<T>() + k * n * n;
    require_solved("cholesky", cpu::lapack::cholesky_upper(static_cast<int>(n), l), k, "not positive definite");
    for (int64_t i = 0; i < n; ++i) std::fill(l + i * n + i + 1, l + (i + 1) * n, T{0});
  }
}

// Right sides by columns, solved, and back.
template <class T, class Solve>
void run_columns(const KernelArguments& a, const Solve& solve) {
  const int64_t n = rows_of(a.in[0]), m = a.in[1].dim(-1);
  std::vector<T> columns(static_cast<size_t>(n * m));
  for (int64_t k = 0; n > 0 && m > 0 && k < count_of(a.in[0]); ++k) {
    to_columns(a.in[1].data<T>() + k * n * m, n, m, columns.data());
    solve(k, static_cast<int>(n), static_cast<int>(m), a.in[0].data<T>() + k * n * n, columns.data());
    to_columns(columns.data(), m, n, a.out[0].data<T>() + k * n * m);
  }
}

template <class T>
void run_triangular(const KernelArguments& a) {
  const bool transposed = a.attributes.as<Solving>().transposed;
  run_columns<T>(a, [&](int64_t k, int n, int m, const T* l, T* b) {
    require_solved("triangular_solve", cpu::lapack::solve_upper(!transposed, n, m, l, b), k, "singular");
  });
}

template <class T>
void run_solve(const KernelArguments& a) {
  run_columns<T>(a, [&](int64_t k, int n, int m, const T* matrix, T* b) {
    std::vector<T> own(matrix, matrix + int64_t{n} * n);
    require_solved("solve", cpu::lapack::solve_transposed(n, m, own.data(), b), k, "singular");
  });
}

template <class T>
void run_eigh(const KernelArguments& a) {
  const int64_t n = rows_of(a.in[0]);
  std::vector<T> vectors(static_cast<size_t>(n * n));
  for (int64_t k = 0; n > 0 && k < count_of(a.in[0]); ++k) {
    std::copy_n(a.in[0].data<T>() + k * n * n, n * n, vectors.data());
    require_solved("eigh", cpu::lapack::eigen_upper(static_cast<int>(n), vectors.data(), a.out[0].data<T>() + k * n), k,
                   "not finite, or its values were not found");
    for (int64_t j = 0; j < n; ++j) {  // vector j is a column there, and becomes one here
      const T* v = vectors.data() + j * n;
      const T largest = *std::max_element(v, v + n, [](T x, T y) { return std::abs(x) < std::abs(y); });
      for (int64_t i = 0; i < n; ++i) a.out[1].data<T>()[(k * n + i) * n + j] = largest < 0 ? -v[i] : v[i];
    }
  }
}

template <void (*f32)(const KernelArguments&), void (*f64)(const KernelArguments&)>
void by_dtype(const KernelArguments& a) {
  (a.in[0].dtype() == DType::f32 ? f32 : f64)(a);
}

extern const Op triangular_op, solve_op;
Tensor triangular(const Tensor& l, const Tensor& b, bool transposed) {
  return apply(triangular_op, {l, b}, Solving{transposed});
}

// With S = L⁻ᵀ Φ(Lᵀ g) L⁻¹, Φ the lower triangle with half the diagonal: the symmetric part of S (Murray 2016).
Tensors cholesky_rule(const VjpArguments& a) {
  const Tensor l = a.out(), phi = diagonal_halved(lower(matmul(transpose(l), a.g)));
  return symmetric(transpose(triangular(l, transpose(triangular(l, phi, true)), true)));
}

Tensors triangular_rule(const VjpArguments& a) {
  const bool transposed = a.as<Solving>().transposed;
  const Tensor gb = triangular(a.in[0], a.g, !transposed);
  if (!a.needs(0)) return {Tensor(), gb};
  const Tensor x = a.out(), gl = transposed ? matmul(x, transpose(gb)) : matmul(gb, transpose(x));
  return {-lower(gl), gb};
}

Tensors solve_rule(const VjpArguments& a) {
  const Tensor gb = apply(solve_op, {transpose(a.in[0]), a.g});
  return {a.needs(0) ? -matmul(gb, transpose(a.out())) : Tensor(), gb};
}

// V (diag(g_values) + F ∘ (Vᵀ g_vectors)) Vᵀ with F_ij = 1/(λ_j − λ_i) off the diagonal (Giles 2008).
Tensors eigh_rule(const VjpArguments& a) {
  const Tensor values = a.out(0), v = a.out(1), identity = eye(rows_of(v), v.dtype());
  const auto as_rows = [](const Tensor& x) {
    Shape shape = x.shape();
    shape.insert(x.rank() - 1, 1);
    return reshape(x, shape);
  };
  Tensor inner;
  if (a.gradients[0].defined()) inner = identity * as_rows(a.gradients[0]);
  if (a.gradients[1].defined()) {
    const Tensor rows = as_rows(values), gaps = rows - transpose(rows);
    const Tensor turned = matmul(transpose(v), a.gradients[1]) / (gaps + identity) * (1.0 - identity);
    inner = inner.defined() ? inner + turned : turned;
  }
  return symmetric(matmul(matmul(v, inner), transpose(v)));
}

const Op cholesky_op{.name = "cholesky",
                     .shape = square_shape,
                     .cpu = by_dtype<run_cholesky<float>, run_cholesky<double>>,
                     .operands = packed_operands,
                     .vjp = cholesky_rule};
const Op triangular_op{.name = "triangular_solve",
                       .shape = solve_shape,
                       .cpu = by_dtype<run_triangular<float>, run_triangular<double>>,
                       .operands = packed_operands,
                       .vjp = triangular_rule};
const Op solve_op{.name = "solve",
                  .shape = solve_shape,
                  .cpu = by_dtype<run_solve<float>, run_solve<double>>,
                  .operands = packed_operands,
                  .vjp = solve_rule};
const Op eigh_op{.name = "eigh",
                 .shape = [](const Op& op, Inputs in, const Attributes&) -> Layouts {
                   require_square(op.name, in[0]);
                   Shape values = in[0].shape();
                   values.erase(values.rank() - 1);
                   return {Layout::packed(values, in[0].dtype(), in[0].device()),
                           Layout::packed(in[0].shape(), in[0].dtype(), in[0].device())};
                 },
                 .cpu = by_dtype<run_eigh<float>, run_eigh<double>>,
                 .operands = packed_operands,
                 .vjp = eigh_rule};

Tensor here(const Tensor& x) { return to(x, Device::cpu); }

}  // namespace

Tensor cholesky(const Tensor& a) {
  require_square("cholesky", a);
  return to(apply(cholesky_op, {symmetric(here(a))}), a.device());
}
Tensor triangular_solve(const Tensor& l, const Tensor& b, bool transposed) {
  return to(triangular(here(l), here(b), transposed), l.device());
}
Tensor solve(const Tensor& a, const Tensor& b) { return to(apply(solve_op, {here(a), here(b)}), a.device()); }

Eigen eigh(const Tensor& a) {
  require_square("eigh", a);
  const Tensors found = apply_all(eigh_op, {symmetric(here(a))});
  return {to(found[0], a.device()), to(found[1], a.device())};
}

}  // namespace mollify
