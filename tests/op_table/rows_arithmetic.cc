// Arithmetic, comparisons and choice.
#include "rows.h"

#include <cmath>
#include <limits>

namespace mollify::op_table {
namespace {

using In = const Tensor&;

double nan_or(double a, double b, double value) {
  return std::isnan(a) || std::isnan(b) ? std::numeric_limits<double>::quiet_NaN() : value;
}

Row comparison(std::string name, std::function<Tensor(In, In)> op, std::function<bool(double, double)> formula) {
  Row row = binary(std::move(name), std::move(op), [formula](double a, double b) { return formula(a, b) ? 1.0 : 0.0; });
  return row.constant().of_integers_too().selecting();
}

Tensor positive(In x) { return greater(x, zeros_like(x)); }

}  // namespace

Rows arithmetic_rows() {
  const Domain positive_values{0.2, 4}, away{-3, 3, {-0.25, -0.15, -0.05, 0.05, 0.15, 0.25}};
  Rows rows;
  // One text for tensors and for numbers.
  const auto add = [](const auto& a, const auto& b) { return a + b; };
  const auto subtract = [](const auto& a, const auto& b) { return a - b; };
  const auto multiply = [](const auto& a, const auto& b) { return a * b; };
  const auto divide = [](const auto& a, const auto& b) { return a / b; };
  const auto negate = [](const auto& x) { return -x; };
  const auto with_right = [](const auto& op) { return [op](const auto& x) { return op(x, 1.25); }; };
  const auto with_left = [](const auto& op) { return [op](const auto& x) { return op(1.25, x); }; };
  const auto beside_number = [&rows](const char* name, const char* label, const auto& op, const char* reported,
                                     const Domain& domain) {
    rows.push_back(unary(name, op, op, domain).labelled(label).reported(reported));
    rows.back().takes_integers = std::string(reported) != "divide";
  };
  rows.push_back(binary("operator+", add, add).reported("add").of_integers_too());
  rows.push_back(binary("operator-", subtract, subtract).reported("subtract").of_integers_too());
  rows.push_back(binary("operator*", multiply, multiply).reported("multiply").of_integers_too());
  rows.push_back(binary("operator/", divide, divide, {}, positive_values).reported("divide"));
  rows.push_back(unary("operator-", negate, negate).labelled("of_one").reported("negative").of_integers_too());
  beside_number("operator+", "number_right", with_right(add), "add", {});
  beside_number("operator-", "number_right", with_right(subtract), "subtract", {});
  beside_number("operator*", "number_right", with_right(multiply), "multiply", {});
  beside_number("operator/", "number_right", with_right(divide), "divide", {});
  beside_number("operator+", "number_left", with_left(add), "add", {});
  beside_number("operator-", "number_left", with_left(subtract), "subtract", {});
  beside_number("operator*", "number_left", with_left(multiply), "multiply", {});
  beside_number("operator/", "number_left", with_left(divide), "divide", away);
  rows.push_back(unary("square", square, [](double x) { return x * x; }));
  rows.push_back(unary("sqrt", sqrt, [](double x) { return std::sqrt(x); }, positive_values));
  const auto power = [](double x, double y) { return nan_or(x, y, std::pow(x, y)); };
  rows.push_back(binary("pow", [](In x, In y) { return pow(x, y); }, power, positive_values, {-2, 3}));
  rows.push_back(unary(
                     "pow", [](In x) { return pow(x, 3.0); }, [power](double x) { return power(x, 3); }, away)
                     .labelled("number"));

  rows.push_back(comparison("less", less, [](double a, double b) { return a < b; }));
  rows.push_back(comparison("less_equal", less_equal, [](double a, double b) { return a <= b; }));
  rows.push_back(comparison("greater", greater, [](double a, double b) { return a > b; }).reported("less"));
  rows.push_back(
      comparison("greater_equal", greater_equal, [](double a, double b) { return a >= b; }).reported("less_equal"));
  rows.push_back(comparison("equal", equal, [](double a, double b) { return a == b; }));
  rows.push_back(comparison("not_equal", not_equal, [](double a, double b) { return a != b; }));
  const auto chosen = [](double c, double a, double b) { return c > 0 ? a : b; };
  rows.push_back(ternary("where", [](In c, In a, In b) { return where(positive(c), a, b); }, chosen, {-2, 2, {0}})
                     .selecting()
                     .of_integers_too());
  rows.push_back(binary(
      "minimum", [](In a, In b) { return minimum(a, b); },
      [](double a, double b) { return nan_or(a, b, a < b ? a : b); }));
  rows.push_back(binary(
      "maximum", [](In a, In b) { return maximum(a, b); },
      [](double a, double b) { return nan_or(a, b, a > b ? a : b); }));
  const auto clipped = [](double x, double low, double high) {
    if (std::isnan(x) || std::isnan(low) || std::isnan(high)) return std::numeric_limits<double>::quiet_NaN();
    const double raised = x > low ? x : low;
    return raised < high ? raised : high;
  };
  rows.push_back(
      ternary("clip", [](In x, In low, In high) { return clip(x, low, high); }, clipped, {-3, 3}, {-2, 0}, {-0.5, 2}));
  const auto clipped_between = [clipped](double x) { return clipped(x, -0.75, 1.25); };
  rows.push_back(unary("clip", [](In x) { return clip(x, -0.75, 1.25); }, clipped_between, {-3, 3, {-0.75, 1.25}})
                     .labelled("numbers"));
  rows.push_back(unary("cast", [](In x) { return cast(x, DType::f64); }, [](double x) { return x; }).of_integers_too());
  const auto truncated = [](const Array& x) {
    return build(x.shape, [&](const Index& i) { return std::trunc(x.at(i)); });
  };
  rows.push_back(general("cast", {of_one({7, 30}, [](In x) { return cast(x, DType::i32); }, truncated)}, {{-100, 100}})
                     .labelled("to_i32")
                     .constant()
                     .of_integers_too());

  rows.push_back(unary("abs", abs, [](double x) { return std::abs(x); }, {-2, 2, {0}}));
  rows.push_back(unary("sign", sign, [](double x) { return nan_or(x, x, x > 0 ? 1 : x < 0 ? -1 : x); }, {-2, 2, {0}}));
  rows.push_back(unary("floor", floor, [](double x) { return std::floor(x); }, {-3, 3, {-2, -1, 0, 1, 2}}));
  rows.push_back(unary("relu", relu, [](double x) { return nan_or(x, x, x > 0 ? x : 0); }, {-2, 2, {0}}));
  const auto leaky = [](double x) { return x > 0 ? x : 0.25 * x; };
  rows.push_back(unary("leaky_relu", [](In x) { return leaky_relu(x, 0.25); }, leaky, {-2, 2, {0}}));
  const auto gated = [](double g, double x) { return nan_or(x, x, x > 0 ? g : 0); };
  rows.push_back(binary("gate", gate, gated, {}, {-2, 2, {0}}).selecting());
  return rows;
}

}  // namespace mollify::op_table
