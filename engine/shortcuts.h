// Other ways to write operations of ops.h, which includes this.
#pragma once

#include <mollify/engine/indexing.h>
#include <mollify/engine/ops.h>

#pragma GCC visibility push(default)
namespace mollify {

// Comparisons, element by element: u8 ones and zeros.
Tensor operator<(const Tensor& a, const Tensor& b);
Tensor operator<=(const Tensor& a, const Tensor& b);
Tensor operator>(const Tensor& a, const Tensor& b);
Tensor operator>=(const Tensor& a, const Tensor& b);
Tensor operator==(const Tensor& a, const Tensor& b);
Tensor operator!=(const Tensor& a, const Tensor& b);
Tensor operator<(const Tensor& a, double b);
Tensor operator<=(const Tensor& a, double b);
Tensor operator>(const Tensor& a, double b);
Tensor operator>=(const Tensor& a, double b);
Tensor operator==(const Tensor& a, double b);
Tensor operator!=(const Tensor& a, double b);
Tensor minimum(const Tensor& a, double b);
Tensor maximum(const Tensor& a, double b);

// One axis.
Tensor sum(const Tensor& x, int axis, bool keep = false);
Tensor mean(const Tensor& x, int axis, bool keep = false);
Tensor max(const Tensor& x, int axis, bool keep = false);
Tensor min(const Tensor& x, int axis, bool keep = false);

void assign(const Tensor& target, double value);  // every number of the target

// Lists in braces. An extent of −1 is what the others leave.
Tensor concat(std::initializer_list<Tensor> parts, int axis = 0);
Tensor stack(std::initializer_list<Tensor> parts, int axis = 0);
Tensor reshape(const Tensor& x, std::initializer_list<int64_t> shape);

}  // namespace mollify
#pragma GCC visibility pop
