// Every public operation, a line and a sentence each: read this first.
//
// All of them record gradients of any order. Elementwise operations broadcast (trailing axes aligned, extents equal or
// 1); dtypes never convert by themselves: cast says so. Neither do devices: to says so; only a 0-d tensor of the CPU, a
// number, goes with any. NaN in is NaN out. Axes count from the back when negative. Shapes at fault are in the
// exception's text. Derivatives at kinks are written beside the operation.
#pragma once

#include <mollify/engine/op.h>
#include <mollify/engine/positions.h>
#include <mollify/engine/random.h>

#pragma GCC visibility push(default)
namespace mollify {

// ---- Making tensors
Tensor full(const Shape& shape, double value, DType dtype = DType::f32, Device device = Device::cpu);
Tensor zeros(const Shape& shape, DType dtype = DType::f32, Device device = Device::cpu);
Tensor ones(const Shape& shape, DType dtype = DType::f32, Device device = Device::cpu);
Tensor zeros_like(const Tensor& x);
Tensor ones_like(const Tensor& x);
Tensor arange(int64_t count, DType dtype = DType::f32, Device device = Device::cpu);  // 0, 1, …, count − 1
Tensor linspace(double first, double last, int64_t count, DType dtype = DType::f32,
                Device device = Device::cpu);                                      // both ends are in it
Tensor eye(int64_t count, DType dtype = DType::f32, Device device = Device::cpu);  // the identity matrix
// Random numbers of a seed, always the same: on (0, 1), and standard normal. For streams and steps see uniform and
// normal.
Tensor rand(const Shape& shape, uint64_t seed, DType dtype = DType::f32, Device device = Device::cpu);
Tensor randn(const Shape& shape, uint64_t seed, DType dtype = DType::f32, Device device = Device::cpu);
Tensor to(const Tensor& x, Device device);  // the same values there; itself where it is there already

// ---- Arithmetic: f32, f64, and + − * of i32, where a result that is no i32 throws ValueError
Tensor operator+(const Tensor& a, const Tensor& b);
Tensor operator-(const Tensor& a, const Tensor& b);
Tensor operator*(const Tensor& a, const Tensor& b);
Tensor operator/(const Tensor& a, const Tensor& b);
Tensor operator-(const Tensor& x);
Tensor operator+(const Tensor& a, double b);
Tensor operator-(const Tensor& a, double b);
Tensor operator*(const Tensor& a, double b);
Tensor operator/(const Tensor& a, double b);
Tensor operator+(double a, const Tensor& b);
Tensor operator-(double a, const Tensor& b);
Tensor operator*(double a, const Tensor& b);
Tensor operator/(double a, const Tensor& b);
Tensor floor(const Tensor& x);  // derivative 0
Tensor square(const Tensor& x);
Tensor sqrt(const Tensor& x);
// C's pow, but NaN in either is NaN; ∂/∂exponent is 0 at x = 0 for exponents from 0.
Tensor pow(const Tensor& x, const Tensor& exponent);
Tensor pow(const Tensor& x, double exponent);

// ---- Comparisons and choice: u8 ones and zeros; NaN compares false, except not_equal
Tensor less(const Tensor& a, const Tensor& b);
Tensor less_equal(const Tensor& a, const Tensor& b);
Tensor greater(const Tensor& a, const Tensor& b);
Tensor greater_equal(const Tensor& a, const Tensor& b);
Tensor equal(const Tensor& a, const Tensor& b);  // all comparisons also take i32 and u8
Tensor not_equal(const Tensor& a, const Tensor& b);
Tensor is_nan(const Tensor& x);
// Of truth values, any number but 0 being true: u8 ones and zeros.
Tensor logical_and(const Tensor& a, const Tensor& b);
Tensor logical_or(const Tensor& a, const Tensor& b);
Tensor logical_not(const Tensor& x);
Tensor any(const Tensor& x);  // whether some number is not 0; all(x), whether none is, stands in indexing.h
Tensor where(const Tensor& condition, const Tensor& a, const Tensor& b);  // condition (u8) ≠ 0 ? a : b
Tensor minimum(const Tensor& a, const Tensor& b);                         // half of the gradient to each at equality
Tensor maximum(const Tensor& a, const Tensor& b);                         // likewise
Tensor clip(const Tensor& x, const Tensor& low, const Tensor& high);      // gradient to x inside and on the ends
Tensor clip(const Tensor& x, double low, double high);
Tensor cast(const Tensor& x, DType dtype);  // toward zero to integers; a value that does not fit throws ValueError

// ---- Elementary functions: within 4 ulp, IEEE values at 0, infinity and NaN
Tensor exp(const Tensor& x);
Tensor expm1(const Tensor& x);
Tensor log(const Tensor& x);
Tensor log1p(const Tensor& x);
Tensor sin(const Tensor& x);
Tensor cos(const Tensor& x);
Tensor tanh(const Tensor& x);
Tensor abs(const Tensor& x);   // derivative sign(x)
Tensor sign(const Tensor& x);  // sign(0) = 0; derivative 0

// Derivatives of these and of all below hold over the whole range: orders 1 to 3 within 8ε·(|f⁽ᵏ⁾| + |x·f⁽ᵏ⁺¹⁾|), of
// Φ⁻¹ 1 + Φ⁻¹(p)² times that.

// ---- The normal distribution: within 2 ulp (f32) and 4 (f64) wherever the value is a normal number, tails included
Tensor erf(const Tensor& x);
Tensor erfc(const Tensor& x);
Tensor erfcx(const Tensor& x);            // exp(x²)·erfc(x)
Tensor normal_cdf(const Tensor& x);       // Φ
Tensor normal_pdf(const Tensor& x);       // φ
Tensor normal_quantile(const Tensor& p);  // Φ⁻¹; −∞ at 0, ∞ at 1, NaN outside [0, 1]

// ---- Activations
Tensor relu(const Tensor& x);                             // derivative 0 at 0
Tensor leaky_relu(const Tensor& x, double slope = 0.01);  // derivative `slope` at 0
Tensor sigmoid(const Tensor& x);
Tensor logistic_pdf(const Tensor& x);  // sigmoid(x)·sigmoid(−x), its derivative
Tensor softplus(const Tensor& x);  // log(1 + eˣ)
Tensor log_sigmoid(const Tensor& x);  // log of sigmoid, right in both tails
Tensor silu(const Tensor& x);      // x·sigmoid(x)
Tensor elu(const Tensor& x);       // x > 0 ? x : eˣ − 1
Tensor gelu(const Tensor& x);      // x·Φ(x)
// x > 0 ? g : 0, NaN where x is: relu's derivative applied to g; no gradient to x.
Tensor gate(const Tensor& g, const Tensor& x);

// ---- Reductions. `axes` empty: all of them. keep: reduced axes stay with extent 1. The order of summation is fixed by
// the shape.
// Long sums, here and in products, pooling and gradients, are cut into blocks of at most a few thousand terms
// (engine/cpu/long_sums.h): a sum of n terms is off by at most (5000 + n/4096)·ulp/2·Σ|terms| on the CPU, less where
// blocks are added in f64 (all but products). The sum over a patch, of a convolution and its input gradient, and
// products on CUDA may be one chain: n·ulp/2·Σ|terms|.
using Axes = std::initializer_list<int>;
Tensor sum(const Tensor& x, std::span<const int> axes, bool keep = false);
Tensor sum(const Tensor& x, Axes axes = {}, bool keep = false);
Tensor mean(const Tensor& x, Axes axes = {}, bool keep = false);  // NaN of an empty axis
// Σ(x − mean)²/(n − correction), from deviations: right for numbers far from 0. The deviation's gradient is 0 at 0.
Tensor variance(const Tensor& x, Axes axes = {}, bool keep = false, int64_t correction = 0);
Tensor standard_deviation(const Tensor& x, Axes axes = {}, bool keep = false, int64_t correction = 0);
Tensor norm(const Tensor& x, Axes axes = {}, bool keep = false);  // Euclidean, of any scale; gradient 0 at 0
Tensor prod(const Tensor& x, int axis, bool keep = false);        // in pairs: gradients are right at zeros
Tensor sum_of_squares(const Tensor& x);                           // of all numbers
Tensor max(const Tensor& x, Axes axes = {}, bool keep = false);  // ties share the gradient evenly; an empty axis throws
Tensor min(const Tensor& x, Axes axes = {}, bool keep = false);  // likewise
Tensor logsumexp(const Tensor& x, int axis = -1, bool keep = false);
// i32, so along at most 2³¹ − 1 numbers; the first of equals, the first NaN if there is one.
Tensor argmax(const Tensor& x, int axis = -1);
Tensor argmin(const Tensor& x, int axis = -1);
Tensor cumsum(const Tensor& x, int axis, bool reverse = false);  // inclusive
Tensor sum_to(const Tensor& x, const Shape& shape);       // undoes broadcasting from `shape`

struct ValuesAndIndices { Tensor values, indices; };  // indices i32, without gradient
ValuesAndIndices sort(const Tensor& x, int axis = -1, bool descending = false);    // stable; NaN last
ValuesAndIndices top_k(const Tensor& x, int64_t k, int axis = -1);  // the k largest, falling; NaN counts as largest

// ---- Products
// […, m, k]·[…, k, n]; leading axes broadcast; transposed views are read in place.
Tensor matmul(const Tensor& a, const Tensor& b);
// x[…, in]·weight[out, in]ᵀ + bias[out]; bias may be empty.
Tensor dense(const Tensor& x, const Tensor& weight, const Tensor& bias);
// Products and sums over named axes, such as "bik,bkj->bij": letters that the result lacks are summed over. Without
// "->" the result has the letters that stand once, in alphabetical order. Two operands meet in one matrix product.
Tensor einsum(const std::string& axes, std::initializer_list<Tensor> operands);

// ---- Convolution: x [N, H, W, C], w [O, KH, KW, C/groups], bias [O] or empty
struct Conv2d {
  int64_t stride_height = 1, stride_width = 1;
  int64_t pad_top = 0, pad_bottom = 0, pad_left = 0, pad_right = 0;
  int64_t dilation_height = 1, dilation_width = 1;
  int64_t groups = 1;
  static Conv2d square(int64_t stride, int64_t padding) {
    return {stride, stride, padding, padding, padding, padding, 1, 1, 1};
  }
};
Tensor conv2d(const Tensor& x, const Tensor& w, const Tensor& bias = {}, const Conv2d& how = {});
Tensor conv2d_input_gradient(const Tensor& g, const Tensor& w, int64_t height, int64_t width, const Conv2d& how = {});
Tensor conv2d_weight_gradient(const Tensor& g, const Tensor& x, int64_t kernel_height, int64_t kernel_width,
                              const Conv2d& how = {});

// ---- Pooling over [N, H, W, C]
struct Pool2d {
  int64_t kernel_height = 2, kernel_width = 2;
  int64_t stride_height = 2, stride_width = 2;
  int64_t pad_top = 0, pad_bottom = 0, pad_left = 0, pad_right = 0;
  static Pool2d square(int64_t kernel, int64_t stride, int64_t padding = 0) {
    return {kernel, kernel, stride, stride, padding, padding, padding, padding};
  }
};
Tensor average_pool2d(const Tensor& x, const Pool2d& how = {});  // padding counts as zeros and in the divisor
Tensor average_pool2d_gradient(const Tensor& g, int64_t height, int64_t width, const Pool2d& how = {});
ValuesAndIndices max_pool2d_with_indices(const Tensor& x, const Pool2d& how = {});  // indices into H·W·C of the image
// The gradient goes to the first of equals; padding never wins.
Tensor max_pool2d(const Tensor& x, const Pool2d& how = {});

// ---- Shape: views share memory where strides allow
Tensor reshape(const Tensor& x, const Shape& shape);
Tensor flatten(const Tensor& x, int first_axis = 0);                       // joins axes first_axis … last
Tensor permute(const Tensor& x, std::span<const int> order);
Tensor permute(const Tensor& x, Axes order);
Tensor transpose(const Tensor& x, int axis_a = -2, int axis_b = -1);
Tensor expand(const Tensor& x, const Shape& shape);                        // broadcast, as a view
// Numbers as in Python; step may be negative.
Tensor slice(const Tensor& x, int axis, int64_t start, int64_t stop, int64_t step = 1);
Tensor flip(const Tensor& x, int axis);
Tensor pad(const Tensor& x, int axis, int64_t before, int64_t after, double value = 0);
// Views; their gradients are laid into one tensor.
Tensors split(const Tensor& x, const std::vector<int64_t>& extents, int axis = 0);
Tensor concat(std::span<const Tensor> parts, int axis = 0);
Tensor stack(std::span<const Tensor> parts, int axis = 0);  // along a new axis
Tensor packed(const Tensor& x);  // itself, or a row-major copy

// ---- Indexing: indices i32, negative ones throw
// out[…, j, …] = x[…, indices[…, j, …], …]; other axes equal.
Tensor gather(const Tensor& x, const Tensor& indices, int axis = -1);
// gather's transpose, into zeros.
Tensor scatter_add(const Shape& shape, const Tensor& indices, const Tensor& x, int axis = -1);
Tensor take(const Tensor& x, const Tensor& indices, int axis = 0);  // whole slices by a 1-d list
Tensor one_hot(const Tensor& indices, int64_t classes, DType dtype = DType::f32);
// The vector x with values[i] at place i of the list.
Tensor put(const Tensor& x, const Positions& places, const Tensor& values);
// xᵀ·Wᵀ [rows, outputs] for columns x [inputs, rows] and the matrix W [outputs, inputs] that is 0 but for values[i] at
// place i of its row-major numbers: as much work as there are places.
Tensor sparse_dense(const Tensor& columns, const Positions& places, const Tensor& values);

// ---- Classification: logits […, classes], labels i32 […]
Tensor softmax(const Tensor& logits);      // along the last axis; zeros for a row of −∞
Tensor log_softmax(const Tensor& logits);  // relative to the largest logit: right for large logits; −∞ for a row of −∞
Tensor cross_entropy(const Tensor& logits, const Tensor& labels);  // one number per row: −log_softmax(logits)[label]

// ---- Normalisation over all axes but the last; scale and shift [C]
// Variance without Bessel's correction; beyond the dtype's range ∞, and the output 0.
struct Normalized { Tensor output, mean, variance; };
Normalized batch_norm(const Tensor& x, const Tensor& scale, const Tensor& shift, double epsilon = 1e-5);

// ---- Random numbers: a function of (key, step, index), the same on every device. `step` is a 0-d i32 tensor.
Tensor uniform(const Shape& shape, RandomKey key, const Tensor& step, DType dtype = DType::f32,
               Device device = Device::cpu);  // on (0, 1)
Tensor normal(const Shape& shape, RandomKey key, const Tensor& step, DType dtype = DType::f32,
              Device device = Device::cpu);  // standard normal
Tensor signs(const Shape& shape, RandomKey key, const Tensor& step, DType dtype = DType::f32,
             Device device = Device::cpu);  // ±1, each as often: Rademacher's distribution
// Σ coefficients[j]·z_j over the draws z_j [count] of normal (signs) with key.stream + j: no draw is ever held.
Tensor normal_sum(const Tensor& coefficients, int64_t count, RandomKey key, const Tensor& step);
Tensor signs_sum(const Tensor& coefficients, int64_t count, RandomKey key, const Tensor& step);
// Row r draws what a call with key.stream + streams[r] (i32, non-negative) and the row's shape would, where the streams
// are; `step` is one for all, or [rows].
Tensor uniform_rows(const Shape& shape, RandomKey key, const Tensor& streams, const Tensor& step,
                    DType dtype = DType::f32);
Tensor normal_rows(const Shape& shape, RandomKey key, const Tensor& streams, const Tensor& step,
                   DType dtype = DType::f32);
// x·mask/(1 − rate), mask ∈ {0, 1} with P(0) = rate ∈ [0, 1).
Tensor dropout(const Tensor& x, double rate, RandomKey key, const Tensor& step);

// ---- Overwriting: the only operations that change a buffer. Refused while an input has a history; grad notices them.
void assign(const Tensor& target, const Tensor& value);
// One pass over flat vectors; every number that a schedule moves is a 0-d tensor of their dtype.
struct SgdStep { Tensor learning_rate, momentum, weight_decay; bool nesterov = false; };
// velocity may be empty: no momentum.
void sgd_step(const Tensor& weights, const Tensor& gradient, const Tensor& velocity, const SgdStep& how);
// step counts from 1 (infinite: no bias correction); epsilon_inside joins the second moment under the root, and may be
// empty: 0.
struct AdamStep {
  Tensor learning_rate, beta1, beta2, epsilon, weight_decay, decoupled_decay, step, epsilon_inside = {};
};
void adam_step(const Tensor& weights, const Tensor& gradient, const Tensor& first, const Tensor& second,
               const AdamStep& how);

}  // namespace mollify
#pragma GCC visibility pop

#include <mollify/engine/shortcuts.h>  // other ways to write some of them: x > 0.5, sum(x, 1), x(0, all)
