// The table's rows by family; op_table.cc joins them.
#pragma once

#include "op_table.h"

namespace mollify::op_table {

Rows arithmetic_rows();
Rows elementary_rows();
Rows reduction_rows();
Rows product_rows();
Rows pooling_rows();
Rows shape_rows();
Rows index_rows();
Rows making_rows();
Rows update_rows();
Rows smoothed_rows();
Rows bounds_rows();
Rows composite_rows();

}  // namespace mollify::op_table
