// Activations smoothed with Gaussian noise of standard deviation s: the functions by name, and the table that the
// smoothing of whole networks looks activations up in. Conventions as in smoothing/ops.h: x and s broadcast, gradients
// of any order in both, s = 0 gives the activation itself. Rounding errors are a few ε·(1 + |F| + |x F_x| + |s F_s|)
// unless said otherwise.
#pragma once

#include <mollify/smoothing/ops.h>

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#pragma GCC visibility push(default)
namespace mollify::smoothing {

// ---- Closed forms
Tensor step_smoothed(const Tensor& x, const Tensor& s);                           // of 1{x > 0}: Φ(x/s)
Tensor relu_squared_smoothed(const Tensor& x, const Tensor& s);                   // relative, as relu_smoothed
Tensor leaky_relu_smoothed(const Tensor& x, const Tensor& s, double slope = 0.01);
Tensor erf_smoothed(const Tensor& x, const Tensor& s, double c = 1);              // of erf(c·x)
Tensor sin_smoothed(const Tensor& x, const Tensor& s, double omega = 1);          // of sin(ω·x)
Tensor cos_smoothed(const Tensor& x, const Tensor& s, double omega = 1);
Tensor exp_smoothed(const Tensor& x, const Tensor& s);
Tensor power_smoothed(const Tensor& x, const Tensor& s, int exponent);  // of x², x³, x⁴; ValueError for others
Tensor gaussian_smoothed(const Tensor& x, const Tensor& s, double c = 1);         // of exp(−c·x²), c >= 0
// Of slope·x + intercept + Σ jumps[i]·relu(x − kinks[i]), kinks rising. Stable for s far above their spacing too.
Tensor piecewise_linear_smoothed(const Tensor& x, const Tensor& s, const std::vector<double>& kinks,
                                 const std::vector<double>& jumps, double slope = 0, double intercept = 0);
// Of x·g(x), given g_s(x) and g_s'(x) (Stein): x·g_s + s²·g_s'.
Tensor stein_smoothed(const Tensor& x, const Tensor& s, const Tensor& g, const Tensor& g_derivative);

// ---- Approximations
// sigmoid(x/√(1 + πs²/8)), MacKay's probit approximation: within 0.02 of the smoothed sigmoid.
Tensor sigmoid_probit_smoothed(const Tensor& x, const Tensor& s);

// Gauss–Hermite quadrature with an even number of nodes, written f(x) + Σ w_i (f(x + s z_i) + f(x − s z_i) − 2f(x)).
// For smooth functions only: at a kink the error falls like 1/nodes. Greatest error with 64 nodes, f64, over x in [−8,
// 8]:
//            s = 0.1   s = 1     s = 3
//   sigmoid  1e-16     1e-16     2e-07
//   tanh     1e-16     2e-10     4e-04
//   softplus 4e-16     1e-15     3e-08
//   silu     5e-16     1e-15     5e-07
using Function = std::function<Tensor(const Tensor&)>;
Tensor gauss_hermite_smoothed(const Function& function, const Tensor& x, const Tensor& s, int nodes = 64);
Moments gauss_hermite_moments(const Function& function, const Tensor& x, const Tensor& s, int nodes = 64);

// Nodes z_i > 0 of the rule for the standard normal weight, falling, and their weights; the rule is symmetric.
struct GaussHermite { std::vector<double> nodes, weights; };
const GaussHermite& gauss_hermite(int nodes);  // even, 2 … 256; computed once

// The maximum of two normal numbers with these means and variances (Clark 1961), mean and variance matched: exact
// moments, but the maximum is not normal, so that applying it again, as to more than two numbers, is an approximation.
Moments clark_max(const Moments& first, const Moments& second);
Moments clark_max(const Moments& first, const Moments& second, const Tensor& covariance);

// ---- The table: one row per activation
struct Activation {
  const char* name;  // of the operation in a network's record, such as "relu"
  bool closed_form;  // false: an approximation, used only on request
  // h_s at in[0]; in[1], … are the operation's other inputs, 0-d: leaky_relu's slope, clip's low and high.
  Tensor (*mean)(Inputs in, const Attributes& attributes, const Tensor& s);
  Tensor (*square_mean)(Inputs in, const Attributes& attributes, const Tensor& s);  // (h²)_s
  // Mean and variance h_s and (h²)_s − h_s²; null: made of the two above, with a variance error of a few ε·(1 +
  // (h²)_s).
  Moments (*moments)(Inputs in, const Attributes& attributes, const Tensor& s);
  // The same with the sum of the variances, 0-d; null: made of moments.
  Moments (*total)(Inputs in, const Attributes& attributes, const Tensor& s) = nullptr;
};
const Activation* find_activation(std::string_view op_name);  // null where there is none; valid for the program's life
std::vector<std::string> activation_names();                  // in alphabetical order
void add_activation(
    const Activation& activation);  // replaces a row of that name; its name must outlive the program's use of it
Moments moments_of(const Activation& activation, Inputs in, const Attributes& attributes, const Tensor& s);
Moments total_of(const Activation& activation, Inputs in, const Attributes& attributes, const Tensor& s);

}  // namespace mollify::smoothing
#pragma GCC visibility pop
