// With MOLLIFY_OP_TABLE_PRODUCTS=openblas in the environment all tests of the table multiply by OpenBLAS: its rows of
// products are then run by every generic test. The build does so in a run of its own.
#include "../backends.h"

#include <cstdlib>

namespace mollify::op_table {
namespace {

class ChosenProducts : public ::testing::Environment {
 public:
  void SetUp() override {
    if (const char* chosen = std::getenv("MOLLIFY_OP_TABLE_PRODUCTS"); chosen && std::string(chosen) == "openblas")
      MOLLIFY_USE_OPENBLAS();
  }
};
[[maybe_unused]] const ::testing::Environment* const chosen =
    ::testing::AddGlobalTestEnvironment(new ChosenProducts);

}  // namespace
}  // namespace mollify::op_table
