// For tests of products by OpenBLAS: chooses it, or says why they do not run.
#pragma once

#include <mollify/engine/error.h>
#include <mollify/engine/products.h>

#include <gtest/gtest.h>

namespace mollify {

// Why it cannot be chosen; empty where it was.
inline std::string use_openblas() {
  try {
    set_products(Products::openblas);
    return {};
  } catch (const Error& error) { return error.what(); }
}

}  // namespace mollify

#define MOLLIFY_USE_OPENBLAS() \
  if (const std::string missing = ::mollify::use_openblas(); !missing.empty()) GTEST_SKIP() << missing
