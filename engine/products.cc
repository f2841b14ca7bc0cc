#include <mollify/engine/products.h>

#include <mollify/engine/cpu/openblas.h>

#include <atomic>

namespace mollify {
namespace {

std::atomic<Products> current{Products::own};

}  // namespace

const char* to_string(Products products) {
  switch (products) {
    case Products::own: return "own";
    case Products::openblas: return "openblas";
  }
  return "?";
}

Products products() { return current.load(std::memory_order_relaxed); }

void set_products(Products products) {
  if (products == Products::openblas) cpu::openblas::use_one_thread();
  current.store(products, std::memory_order_relaxed);
}

}  // namespace mollify
