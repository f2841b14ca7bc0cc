// CUDA's short vectors, with CUDA's alignment.
#pragma once

#define EMULATION_VECTOR2(name, element, alignment)                                  \
  struct __attribute__((aligned(alignment))) name##2 {                               \
    element x, y;                                                                    \
  };                                                                                 \
  constexpr name##2 make_##name##2(element x, element y) { return {x, y}; }
#define EMULATION_VECTOR3(name, element)                                             \
  struct name##3 {                                                                   \
    element x, y, z;                                                                 \
  };                                                                                 \
  constexpr name##3 make_##name##3(element x, element y, element z) { return {x, y, z}; }
#define EMULATION_VECTOR4(name, element, alignment)                                  \
  struct __attribute__((aligned(alignment))) name##4 {                               \
    element x, y, z, w;                                                              \
  };                                                                                 \
  constexpr name##4 make_##name##4(element x, element y, element z, element w) { return {x, y, z, w}; }

EMULATION_VECTOR2(char, signed char, 2)
EMULATION_VECTOR4(char, signed char, 4)
EMULATION_VECTOR2(uchar, unsigned char, 2)
EMULATION_VECTOR4(uchar, unsigned char, 4)
EMULATION_VECTOR2(ushort, unsigned short, 4)
EMULATION_VECTOR4(ushort, unsigned short, 8)
EMULATION_VECTOR2(int, int, 8)
EMULATION_VECTOR3(int, int)
EMULATION_VECTOR4(int, int, 16)
EMULATION_VECTOR2(uint, unsigned, 8)
EMULATION_VECTOR3(uint, unsigned)
EMULATION_VECTOR4(uint, unsigned, 16)
EMULATION_VECTOR2(longlong, long long, 16)
EMULATION_VECTOR2(ulonglong, unsigned long long, 16)
EMULATION_VECTOR2(float, float, 8)
EMULATION_VECTOR3(float, float)
EMULATION_VECTOR4(float, float, 16)
EMULATION_VECTOR2(double, double, 16)
EMULATION_VECTOR3(double, double)
EMULATION_VECTOR4(double, double, 16)

#undef EMULATION_VECTOR2
#undef EMULATION_VECTOR3
#undef EMULATION_VECTOR4

struct dim3 {
  unsigned x, y, z;
  constexpr dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
  constexpr dim3(uint3 v) : x(v.x), y(v.y), z(v.z) {}
  constexpr operator uint3() const { return {x, y, z}; }
};
