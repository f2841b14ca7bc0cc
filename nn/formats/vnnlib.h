// Properties of networks in VNN-LIB 1.0, the text format of the VNN-COMP competitions (a subset of SMT-LIB 2).
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#pragma GCC visibility push(default)
namespace mollify::nn::formats {

// Row r is the constraint Σ_j coefficients[r·outputs + j]·y_j ≤ bounds[r]. All rows hold together; without rows every y
// does.
struct Halfspaces {
  std::vector<double> coefficients;
  std::vector<double> bounds;

  int64_t rows() const { return static_cast<int64_t>(bounds.size()); }
};

// Inputs of one box, and the sets of outputs of which none may be reached from it.
struct Case {
  std::vector<double> lower, upper;  // finite, lower ≤ upper
  std::vector<Halfspaces> unsafe;
};

// What a network of so many inputs and outputs (both flattened) must not do. The property is violated ("sat") when an
// input within the box of some case gives an output within one of this case's unsafe sets; it holds ("unsat") when none
// does. Boxes differ between cases.
struct Property {
  int64_t inputs = 0, outputs = 0;
  std::vector<Case> cases;
};

// Reads (declare-const X_i Real), (declare-const Y_j Real) and (assert …) of <=, >=, and, or, nested in any way, into
// disjunctive normal form. A comparison relates an input and a number, an output and a number, or two outputs; bounds
// are the doubles nearest to the text.
// Files packed by gzip are read too. Throws FormatError with the file's name and the line at fault: all else that the
// text may hold, variables that are not declared (or not all from 0 on), an input without both bounds in some case or
// with an empty interval, numbers outside a double's range, nesting above 100, and normal forms of more than 2^22
// constraints or 2^25 numbers.
Property read_vnnlib(const std::filesystem::path& path);

// The same of a text; `name` stands for the file in errors.
Property parse_vnnlib(const std::string& name, std::string_view text);

// Whether input x with the network's output y shows that the property is violated: replays a witness. Comparisons are
// exact for all rows of a file (y_i ≤ c, c ≤ y_i, y_i ≤ y_j). NaN meets no constraint. Throws ShapeError unless x and y
// have the property's sizes.
bool violates(const Property& property, std::span<const double> x, std::span<const double> y);

}  // namespace mollify::nn::formats
#pragma GCC visibility pop
