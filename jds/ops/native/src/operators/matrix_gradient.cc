// The kernel gradient of pointwise convolutions.
#include <algorithm>
#include <memory>

#include "kernels/kernels.h"
#include "operators/operators.h"
#include "operators/validate.h"
#include "runtime/array.h"
#include "runtime/convert.h"
#include "runtime/memory.h"
#include "runtime/threads.h"

namespace jds {
namespace {

// Tiles of rows that read the same panel.
constexpr int64_t kTilesPerTask = 4;
// Fewer positions are not worth their own array of sums.
constexpr int64_t kPositionsPerTask = 1024;

}  // namespace

Status matrix_gradient(const Array& left, const Array& right, const Array& out, Threads& threads) {
  const auto &l = left.dims, &r = right.dims, &o = out.dims;
  if (l.size() != 2 || r.size() != 2 || o.size() != 2 || l[0] != r[0] || l[1] != o[0] || r[1] != o[1]) {
    return invalid_shapes("a matrix gradient takes (p, l) and (p, r) to (l, r)", left, right, out);
  }
  if (right.type != left.type || (out.type != left.type && out.type != Type::kFloat32)) {
    return invalid("the matrix gradient's operands must have one type, and the result that type or float32");
  }
  const MatrixGradient params = {.positions = l[0],
                                 .left_features = l[1],
                                 .right_features = r[1],
                                 .type = left.type,
                                 .left = left.data,
                                 .right = right.data};
  const Kernels& run = kernels();
  const int64_t tiles = divide_up(l[1], run.tile_rows);
  const int64_t wanted = number_of_tasks(l[0] * out.size(), l[0] * tiles, threads.count());
  // The rows are split as long as a task has a few tiles; then the positions, whose sums are added in a fixed order.
  const int64_t row_tasks = std::min(wanted, std::max<int64_t>(1, tiles / kTilesPerTask));
  const int64_t parts = std::min(divide_up(wanted, row_tasks), std::max<int64_t>(1, l[0] / kPositionsPerTask));
  const bool in_place = parts == 1 && out.type == Type::kFloat32;
  const std::unique_ptr<float[]> buffer = in_place ? nullptr : allocate<float>(parts * out.size());
  float* sums = in_place ? static_cast<float*>(out.data) : buffer.get();
  parallel_for(threads, {{row_tasks * parts, [&](int64_t task) {
    const int64_t part = task / row_tasks, row = task % row_tasks;
    const int64_t row_begin = tiles * row / row_tasks * run.tile_rows;
    const int64_t row_end = std::min(l[1], tiles * (row + 1) / row_tasks * run.tile_rows);
    run.matrix_gradient(params, l[0] * part / parts, l[0] * (part + 1) / parts, row_begin, row_end,
                        sums + part * out.size(),
                        thread_scratch(run.matrix_gradient_scratch(row_end - row_begin)));
  }}});
  if (!in_place) add_parts(sums, parts, out);
  return {};
}

}  // namespace jds
