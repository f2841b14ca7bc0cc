// Lists that kernels make, with memory from the engine's cache: a replay asks the system for nothing.
#pragma once

#include <mollify/engine/memory.h>

#include <vector>

namespace mollify::cpu {

template <class T>
struct PoolAllocator {
  using value_type = T;
  PoolAllocator() = default;
  template <class U>
  PoolAllocator(const PoolAllocator<U>&) {}  // NOLINT: as allocators convert
  T* allocate(size_t count) { return static_cast<T*>(allocate_small(count * sizeof(T))); }
  void deallocate(T* pointer, size_t count) { free_small(pointer, count * sizeof(T)); }
  bool operator==(const PoolAllocator&) const = default;
};

template <class T>
using PoolVector = std::vector<T, PoolAllocator<T>>;

}  // namespace mollify::cpu
