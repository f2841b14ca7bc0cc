// The matrix products of a warp as the PTX ISA lays their fragments out (mma.sync.aligned.m16n8kK.row.col): d += a·b
// with a 16×K, b K×8 and d 16×8. All 32 lanes must call. With group = lane / 4 and member = lane % 4:
//   d[i] is at row group + 8 (i / 2), column 2 member + i % 2;
//   tf32, k = 8: a[i] is at row group + 8 (i % 2), column member + 4 (i / 2); b[i] at row member + 4 i, column group;
//   tf32, k = 4: a[i] is at row group + 8 i, column member; b at row member, column group;
//   bf16, k = 16: a[i] holds columns 2 member + 8 (i / 2) (low half) and the next one (high half) of row group + 8 (i %
//                 2); b[i] holds rows 2 member + 8 i and the next one of column group.
// Sums are taken in double and rounded to float once; a GPU's order and truncation differ.
#pragma once

// Operands are bits of floats of which the 19 upper ones count.
void emulated_mma_m16n8k8_tf32(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2],
                               const char* file = __builtin_FILE(), int line = __builtin_LINE());
void emulated_mma_m16n8k4_tf32(float (&d)[4], const unsigned (&a)[2], unsigned b, const char* file = __builtin_FILE(),
                               int line = __builtin_LINE());
// Operands are pairs of bf16.
void emulated_mma_m16n8k16_bf16(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2],
                                const char* file = __builtin_FILE(), int line = __builtin_LINE());
