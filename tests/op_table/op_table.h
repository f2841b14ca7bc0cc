// The table of operations: for each public function of engine/ops.h, smoothing/ops.h and nn/bounds/ops.h how to call
// it, on what, and what it must give. The generic tests beside this file run over all rows; coverage_test fails when a
// function has no row.
#pragma once

#include <mollify/engine/ops.h>

#include <algorithm>
#include <functional>
#include <string>
#include <vector>

namespace mollify::op_table {

using Index = std::vector<int64_t>;

// What references compute with: values of any dtype, in row-major order, as doubles.
struct Array {
  Shape shape;
  std::vector<double> values;
  DType dtype = DType::f64;  // of the tensor that it stands for: random draws and rounded constants depend on it

  double at(const Index& index) const { return values[position(index)]; }
  double& at(const Index& index) { return values[position(index)]; }
  size_t position(const Index& index) const;
};
using Arrays = std::vector<Array>;

using Run = std::function<Tensors(const Tensors&)>;
using Reference = std::function<Arrays(const Arrays&)>;

// Where samples of an input are drawn: uniformly, but not closer than 0.05 to a kink.
struct Domain {
  double low = -2, high = 2;
  std::vector<double> kinks = {};
};

// Shapes of the inputs, the call and what it must return.
struct Case {
  std::vector<Shape> shapes;
  Run run;
  Reference reference;
  bool rows = false;  // linear in input 0, row by row of axis 0: the rule must take k·B rows of a gradient at once
};

// Inputs that must be refused with a ShapeError whose text has the operation's name and all these shapes.
struct Misfit {
  std::vector<Shape> shapes;
  Run run;
};

struct Row {
  std::string name;        // as declared in its header
  std::string label = {};  // tells apart the rows of one name
  std::vector<Domain> domains = {{}};  // of each input; the last one serves all that follow
  std::vector<Case> cases = {};
  std::vector<Case> large = {};  // no reference: for equal bits on any number of threads
  std::vector<Misfit> misfits = {};
  std::function<double(const double*)> scalar = {};  // of an elementwise operation: one element from one of each input
  std::string reported_as = {};  // the name in error texts where it is not `name`
  std::string types_reported_as = {};  // the same in texts about dtypes, where that differs again
  double ulps = 4;  // tolerance in units of the last place: of the value if elementwise, else of the largest value or 1
  bool differentiable = true;    // to any order
  bool takes_integers = false;
  bool selects = false;          // NaN in an input that was not chosen does not reach the output
  bool zero_times_nan = false;   // padding may meet a NaN, so NaN may reach more of the output than the reference says
  double slack = 1;              // factor on the tolerance of derivatives

  bool elementwise() const { return static_cast<bool>(scalar); }
  const std::string& error_name() const { return reported_as.empty() ? name : reported_as; }
  const std::string& type_error_name() const { return types_reported_as.empty() ? error_name() : types_reported_as; }
  const Domain& domain(size_t input) const { return domains[std::min(input, domains.size() - 1)]; }

  Row& labelled(std::string text) { label = std::move(text); return *this; }
  Row& reported(std::string text) { reported_as = std::move(text); return *this; }
  Row& types_reported(std::string text) { types_reported_as = std::move(text); return *this; }
  Row& within(double units) { ulps = units; return *this; }
  Row& derivative_slack(double factor) { slack = factor; return *this; }
  Row& constant() { differentiable = false; return *this; }
  Row& of_integers_too() { takes_integers = true; return *this; }
  Row& selecting() { selects = true; return *this; }
  Row& with_large(std::vector<Case> of) { large = std::move(of); return *this; }
  Row& refusing(std::vector<Misfit> of) { misfits = std::move(of); return *this; }
};
using Rows = std::vector<Row>;

// ---- An elementwise row is one of these statements: name, call, formula on one element, domains.
Row unary(std::string name, std::function<Tensor(const Tensor&)> op, std::function<double(double)> formula,
          Domain domain = {});
Row binary(std::string name, std::function<Tensor(const Tensor&, const Tensor&)> op,
           std::function<double(double, double)> formula, Domain a = {}, Domain b = {});
Row ternary(std::string name, std::function<Tensor(const Tensor&, const Tensor&, const Tensor&)> op,
            std::function<double(double, double, double)> formula, Domain a = {}, Domain b = {}, Domain c = {});

// ---- Any other row.
Row general(std::string name, std::vector<Case> cases, std::vector<Domain> domains = {{}});
Case of_one(Shape shape, std::function<Tensor(const Tensor&)> run, std::function<Array(const Array&)> reference,
            bool rows = false);
Case of_many(std::vector<Shape> shapes, std::function<Tensor(const Tensors&)> run,
             std::function<Array(const Arrays&)> reference, bool rows = false);
Case large_one(Shape shape, std::function<Tensor(const Tensor&)> run);
Case large_many(std::vector<Shape> shapes, std::function<Tensor(const Tensors&)> run);
Misfit misfit_one(Shape shape, std::function<Tensor(const Tensor&)> run);
Misfit misfit_many(std::vector<Shape> shapes, std::function<Tensor(const Tensors&)> run);

// ---- For references: naive and slow.
void for_each(const Shape& shape, const std::function<void(const Index&)>& f);
Array build(const Shape& shape, const std::function<double(const Index&)>& f);
// Replaces every vector along `axis` by f(vector); drop: f gives one number, and the axis goes.
Array along(const Array& x, int axis, const std::function<std::vector<double>(const std::vector<double>&)>& f,
            bool drop = false);

// ---- The table.
const Rows& table();
std::string test_name(const Row& row, size_t number);  // letters, digits and underscores, unique

// ---- For the generic tests.
Tensor tensor_of(const Array& array);  // of the array's dtype
Tensor beside(const Tensor& x, const Array& array);  // the same, on the device of x
Array array_of(const Tensor& tensor);
Arrays arrays_of(const Tensors& tensors);
// Random inputs of a case, representable in dtype; the same for the same row, case and seed.
Arrays sample(const Row& row, const std::vector<Shape>& shapes, DType dtype, uint64_t seed = 0);
Tensors tensors_of(const Arrays& arrays);
Array random_array(const Shape& shape, DType dtype, uint64_t seed);  // uniform on (−1, 1)
double epsilon_of(DType dtype);
// Empty where the values agree within `ulps` of each |expected| + scale, NaN with NaN and infinity with infinity; else
// the first difference.
std::string difference(const Array& got, const Array& expected, double ulps, double scale);
double largest(const Array& array);  // largest finite magnitude

}  // namespace mollify::op_table
