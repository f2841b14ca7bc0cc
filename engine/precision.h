// How a GPU multiplies f32 matrices and convolves: the one setting by which precision is ever given up, and only when
// asked.
#pragma once

#include <cstdint>

#pragma GCC visibility push(default)
namespace mollify {

// fp32: IEEE multiply-adds. tf32: operands rounded to 10 bits of fraction, f32 sums. bf16: operands rounded to 7 bits,
// f32 sums.
enum class Precision : uint8_t { fp32, tf32, bf16 };
const char* to_string(Precision precision);

// Of all products from now on, on every thread; fp32 at the start. The CPU, and f64 anywhere, always compute in full.
// A captured step keeps the precision that it was captured with.
Precision precision();
void set_precision(Precision precision);

}  // namespace mollify
#pragma GCC visibility pop
