// Pointwise convolutions: a matrix product is a block of an ordinary convolution of one position.
#include <algorithm>
#include <memory>

#include "operators/operators.h"
#include "operators/validate.h"
#include "runtime/array.h"
#include "runtime/memory.h"
#include "runtime/threads.h"

namespace jds {
namespace {

// Copies (rows, columns) to (columns, rows), in squares that stay in the cache.
template <class Bits>
void transpose(const Array& array, void* to, Threads& threads) {
  constexpr int64_t kSquare = 16;
  const int64_t rows = array.dims[0], columns = array.dims[1];
  const Bits* from = static_cast<const Bits*>(array.data);
  const int64_t strips = divide_up(columns, kSquare);
  const int64_t tasks = rows * columns < kProductsPerTask ? 1 : std::min(strips, kTasksPerThread * threads.count());
  parallel_for(threads, {{tasks, [&](int64_t task) {
    const int64_t begin = strips * task / tasks * kSquare;
    const int64_t end = std::min(columns, strips * (task + 1) / tasks * kSquare);
    for (int64_t row = 0; row < rows; row += kSquare) {
      for (int64_t column = begin; column < end; ++column) {
        for (int64_t r = row; r < std::min(rows, row + kSquare); ++r) {
          static_cast<Bits*>(to)[column * rows + r] = from[r * columns + column];
        }
      }
    }
  }}});
}

}  // namespace

Status matrix_product(const Array& left, const Array& right, bool transposed, const Array& out, Threads& threads) {
  const auto &l = left.dims, &r = right.dims, &o = out.dims;
  if (l.size() != 2 || r.size() != 2 || o.size() != 2 || l[0] != o[0] || l[1] != r[transposed] ||
      o[1] != r[!transposed]) {
    return invalid_shapes("a matrix product takes (p, k) and (k, n), or (n, k), to (p, n)", left, right, out);
  }
  const Array rows = {left.type, {1, 1, 1, l[0], l[1]}, left.data};
  const Array result = {out.type, {1, 1, 1, o[0], o[1]}, out.data};
  Array weights = {right.type, {1, 1, 1, l[1], o[1]}, right.data};
  std::unique_ptr<char[]> buffer;
  if (transposed) {
    buffer = allocate<char>(right.bytes());
    weights.data = buffer.get();
    if (right.type == Type::kFloat32) {
      transpose<uint32_t>(right, weights.data, threads);
    } else {
      transpose<uint16_t>(right, weights.data, threads);
    }
  }
  return block(rows, nullptr, {}, weights, {}, nullptr, result, {}, threads);
}

}  // namespace jds
