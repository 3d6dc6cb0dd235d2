// Products of a few rows with a matrix, as a phase of an operator.
#ifndef JDS_OPERATORS_ROW_PRODUCT_H_
#define JDS_OPERATORS_ROW_PRODUCT_H_

#include <algorithm>

#include "kernels/kernels.h"
#include "kernels/params.h"
#include "runtime/array.h"
#include "runtime/threads.h"

namespace jds {

// More rows are better multiplied in tiles.
constexpr int64_t kFewRows = 4;

// Splits the columns among the threads. Reads `product` when the phase runs.
inline Phase row_product_phase(const RowProduct& product, const Threads& threads) {
  constexpr int64_t kColumns = 128;  // a multiple of the columns that the kernels compute at a time
  const int64_t units = divide_up(product.features, kColumns);
  const int64_t tasks = number_of_tasks(product.rows * product.depth * product.features, units, threads.count());
  return {tasks, [&product, units, tasks](int64_t task) {
            const int64_t begin = units * task / tasks * kColumns, end = units * (task + 1) / tasks * kColumns;
            kernels().row_product(product, begin, std::min(product.features, end));
          }};
}

}  // namespace jds

#endif  // JDS_OPERATORS_ROW_PRODUCT_H_
