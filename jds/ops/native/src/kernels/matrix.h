// Matrix products of a tile of rows with a panel of columns. Compiled once for each instruction set.
#ifndef JDS_KERNELS_MATRIX_H_
#define JDS_KERNELS_MATRIX_H_

#include "kernels/channels.h"
#include "kernels/epilogue.h"
#include "kernels/params.h"
#include "kernels/simd/simd.h"

namespace jds {
namespace {

constexpr int kRows = Simd::kTileRows;
constexpr int kVectors = 2;
constexpr int kColumns = kVectors * Simd::kLanes;
// Rows of the right matrix to prefetch: the time to fetch one divided by the time to use one.
constexpr int kPrefetchRows = 24;

// Offset of channel `c` from the first channel of its row in a tile.
inline int64_t tile_offset(int64_t c) { return c / kDepth * (kRows * kDepth) + c % kDepth; }

// Floats of a tile of rows of `depth` channels.
inline int64_t tile_size(int64_t depth) { return (depth + kDepth - 1) / kDepth * (kRows * kDepth); }

// The columns of the right matrix that one panel of results needs, of which `columns` exist.
struct Panel {
  const float* rows;  // row k begins at `rows + k * stride`
  int64_t stride;
  float* copy;  // if not null, the rows are copied to here, kColumns apart
  int64_t first_column;
  int columns;
};

// Sums of products that are kept in registers: `kCount` rows of `kWidth` vectors. Every loop over them is unrolled;
// otherwise the compiler keeps them in memory.
template <int kCount, int kWidth>
using Sums = Simd::Vector[kCount][kWidth];

template <int kCount, int kWidth>
inline __attribute__((always_inline)) void set_to_zero(Sums<kCount, kWidth>& sums) {
#pragma GCC unroll 16
  for (int r = 0; r < kCount; ++r) {
#pragma GCC unroll 8
    for (int v = 0; v < kWidth; ++v) sums[r][v] = Simd::zero();
  }
}

// Adds to row r the product of `left[r * stride]` and the vectors of `right`.
template <int kCount, int kWidth>
inline __attribute__((always_inline)) void add_products(const float* left, int64_t stride,
                                                        const Simd::Vector (&right)[kWidth],
                                                        Sums<kCount, kWidth>& sums) {
#pragma GCC unroll 16
  for (int r = 0; r < kCount; ++r) {
    const Simd::Vector value = Simd::broadcast(left[r * stride]);
#pragma GCC unroll 8
    for (int v = 0; v < kWidth; ++v) sums[r][v] = Simd::multiply_add(value, right[v], sums[r][v]);
  }
}

// Where rows of results are written to, `stride` apart, after adding those of `skip`, if it is not null.
template <class Out>
struct Rows {
  Out* out;
  const Out* skip;
  int64_t stride;

  Rows from(int64_t row) const { return {out + row * stride, skip ? skip + row * stride : nullptr, stride}; }
};

// Writes to a column of results.
template <class Channels, class Out>
struct ColumnStore {
  Channels columns;
  Rows<Out> rows;

  void operator()(int row, Simd::Vector v) const {
    const int64_t offset = row * rows.stride;
    if (rows.skip) v = Simd::add(v, columns.out(rows.skip + offset));
    columns.store(rows.out + offset + columns.c, v);
  }
};

template <int kCount, int kWidth, class Channels, class Out>
inline __attribute__((always_inline)) void store_column(const Channels& columns, const Epilogue& epilogue,
                                                        const Sums<kCount, kWidth>& sums, int v,
                                                        const Rows<Out>& rows) {
  Simd::Vector values[kCount];
#pragma GCC unroll 16
  for (int r = 0; r < kCount; ++r) values[r] = sums[r][v];
  const ColumnStore<Channels, Out> store = {columns, rows};
  store_results(epilogue, columns, values, store, [&] { return store; });
}

// Prefetches the next `each` rows, into the second-level cache: the first-level cache is in use.
inline void prefetch_lines(Prefetch& prefetch) {
  int64_t row = 0;
  for (; row < prefetch.each && row < prefetch.rows; ++row, prefetch.next += prefetch.stride) {
    for (int64_t line = 0; line < prefetch.lines; ++line) __builtin_prefetch(prefetch.next + line * kLine, 0, 2);
  }
  prefetch.rows -= row;
}

// Results of `kCount` rows of a tile: epilogue(tile * panel), of the first `kWidth` vectors of columns.
template <int kCount, int kWidth, bool kCopy, class Out>
inline void multiply_tile(const float* tile, int64_t depth, const Panel& panel, const Epilogue& epilogue,
                          const Rows<Out>& out, Prefetch& prefetch) {
  Sums<kCount, kWidth> sums;
  set_to_zero(sums);
  const float* row = panel.rows;
  float* copy = panel.copy;
  for (int64_t begin = 0; begin < depth; begin += kDepth, tile += kRows * kDepth) {
    const int block = depth - begin < kDepth ? static_cast<int>(depth - begin) : kDepth;
    prefetch_lines(prefetch);
    for (int k = 0; k < block; ++k, row += panel.stride) {
      Simd::Vector right[kWidth];
#pragma GCC unroll 2
      for (int v = 0; v < kWidth; ++v) {
        right[v] = Simd::load(row + v * Simd::kLanes);
        if (kCopy) {
          Simd::store(copy + v * Simd::kLanes, right[v]);
          // Rows are far apart: the hardware does not predict these loads.
          __builtin_prefetch(row + kPrefetchRows * panel.stride + v * Simd::kLanes);
        }
      }
      if (kCopy) copy += kColumns;
      add_products(tile + k, kDepth, right, sums);
    }
  }
#pragma GCC unroll 2
  for (int v = 0; v < kWidth; ++v) {
    const int64_t c = panel.first_column + v * Simd::kLanes;
    const int rest = panel.columns - v * Simd::kLanes;
    if (rest >= Simd::kLanes) {
      store_column<kCount>(FullVector{c}, epilogue, sums, v, out);
    } else if (rest > 0) {
      store_column<kCount>(PartVector{c, rest}, epilogue, sums, v, out);
    }
  }
}

// Dispatches to the instantiation for `rows`.
template <int kCount, class Out>
inline void multiply_rows(int rows, const float* tile, int64_t depth, const Panel& panel, const Epilogue& epilogue,
                          const Rows<Out>& out, Prefetch& prefetch) {
  if (rows == kCount) {
    if (panel.columns <= Simd::kLanes) {
      return multiply_tile<kCount, 1, false>(tile, depth, panel, epilogue, out, prefetch);
    }
    if (panel.copy) return multiply_tile<kCount, kVectors, true>(tile, depth, panel, epilogue, out, prefetch);
    return multiply_tile<kCount, kVectors, false>(tile, depth, panel, epilogue, out, prefetch);
  }
  if constexpr (kCount > 1) multiply_rows<kCount - 1>(rows, tile, depth, panel, epilogue, out, prefetch);
}

// Copies a panel as floats, with zeros for missing columns.
template <class T>
inline void copy_panel(const T* from, int64_t stride, int64_t depth, int columns, float* to) {
  for (int64_t k = 0; k < depth; ++k, from += stride, to += kColumns) {
    for (int v = 0; v < kVectors; ++v) {
      const int rest = columns - v * Simd::kLanes;
      Simd::Vector value = Simd::zero();
      if (rest >= Simd::kLanes) {
        value = Simd::load(from + v * Simd::kLanes);
      } else if (rest > 0) {
        value = Simd::load(from + v * Simd::kLanes, rest);
      }
      Simd::store(to + v * Simd::kLanes, value);
    }
  }
}

// Columns of the panel at `column` that are before `end`.
inline int panel_width(int64_t column, int64_t end) {
  return end - column < kColumns ? static_cast<int>(end - column) : kColumns;
}

template <class T>
void copy_panels(const Block& b, int64_t begin, int64_t end, float* panels) {
  for (int64_t column = begin; column < end; column += kColumns) {
    copy_panel(static_cast<const T*>(b.weights) + column, b.features, b.depth, panel_width(column, end),
               panels + column * b.depth);
  }
}

// The product of tiles of left rows with the weights, (depth, features).
template <class T, class Out>
void multiply_matrices(const Block& b, const Part& part) {
  const T* right = static_cast<const T*>(b.weights);
  const Rows<Out> out =
      Rows<Out>{static_cast<Out*>(b.out), static_cast<const Out*>(b.skip), b.features}.from(part.begin);
  const int64_t rows = part.end - part.begin, size = tile_size(b.depth);
  Prefetch prefetch = part.prefetch;
  for (int64_t column = part.column_begin; column < part.column_end; column += kColumns) {
    const int columns = panel_width(column, part.column_end);
    const Panel copied = {.rows = part.panels ? part.panels + column * b.depth : part.panel,
                          .stride = kColumns,
                          .copy = nullptr,
                          .first_column = column,
                          .columns = columns};
    Panel panel = copied;
    if (!part.panels) {
      bool whole_floats = false;
      if constexpr (sizeof(T) == sizeof(float)) {
        whole_floats = columns == kColumns;
        // The first tile reads the panel in place, and writes the copy that the other tiles read.
        if (whole_floats) {
          panel = {.rows = right + column,
                   .stride = b.features,
                   .copy = part.panel,
                   .first_column = column,
                   .columns = columns};
        }
      }
      if (!whole_floats) copy_panel(right + column, b.features, b.depth, columns, part.panel);
    }
    for (int64_t row = 0; row < rows; row += kRows, panel = copied) {
      const int count = rows - row < kRows ? static_cast<int>(rows - row) : kRows;
      multiply_rows<kRows>(count, part.tiles + row / kRows * size, b.depth, panel, b.epilogue, out.from(row), prefetch);
    }
  }
}

}  // namespace
}  // namespace jds

#endif  // JDS_KERNELS_MATRIX_H_
