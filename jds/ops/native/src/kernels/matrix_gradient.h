// Products of one matrix's transpose with another, summed over positions: kernel gradients of pointwise convolutions.
// Compiled once for each instruction set.
#ifndef JDS_KERNELS_MATRIX_GRADIENT_H_
#define JDS_KERNELS_MATRIX_GRADIENT_H_

#include "kernels/channels.h"
#include "kernels/matrix.h"
#include "kernels/params.h"
#include "kernels/simd/simd.h"

namespace jds {
namespace {

// Positions for which the rows of both matrices stay in the cache.
constexpr int64_t kPositions = 256;

// Copies channels [begin, end) of `positions` positions into tiles of (position, kRows), with zeros for missing
// channels.
template <class T>
inline void copy_columns(const T* from, int64_t stride, int64_t positions, int64_t begin, int64_t end, float* tiles) {
  for (int64_t first = begin; first < end; first += kRows) {
    const int64_t size = end - first < kRows ? end - first : kRows;
    for (int64_t p = 0; p < positions; ++p, tiles += kRows) {
      each_vector(size, 1, [&](const auto& channels) {
        channels.store(tiles + channels.c, channels.out(from + p * stride + first));
      });
      for (int64_t r = size; r < kRows; ++r) tiles[r] = 0;
    }
  }
}

// Adds the products of a tile and a panel to `rows` rows of `out`, or stores them if they are the first.
inline void multiply_positions(const float* tile, const float* panel, int64_t positions, int rows, int columns,
                               bool is_first, float* out, int64_t stride) {
  Sums<kRows, kVectors> sums;
  set_to_zero(sums);
  for (int64_t p = 0; p < positions; ++p, tile += kRows, panel += kColumns) {
    Simd::Vector right[kVectors];
#pragma GCC unroll 2
    for (int v = 0; v < kVectors; ++v) right[v] = Simd::load(panel + v * Simd::kLanes);
    add_products(tile, 1, right, sums);
  }
#pragma GCC unroll 2
  for (int v = 0; v < kVectors; ++v) {
    const int rest = columns - v * Simd::kLanes;
    if (rest <= 0) break;
    const int lanes = rest < Simd::kLanes ? rest : Simd::kLanes;
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) {
      float* to = out + r * stride + v * Simd::kLanes;
      if (r >= rows) continue;
      Simd::store(to, is_first ? sums[r][v] : Simd::add(Simd::load(to, lanes), sums[r][v]), lanes);
    }
  }
}

template <class T>
void matrix_gradient_of(const MatrixGradient& m, int64_t begin, int64_t end, int64_t row_begin, int64_t row_end,
                        float* sums, float* scratch) {
  const T *left = static_cast<const T*>(m.left), *right = static_cast<const T*>(m.right);
  float *panel = scratch, *tiles = scratch + kPositions * kColumns;
  for (int64_t first = begin; first < end; first += kPositions) {
    const int64_t positions = end - first < kPositions ? end - first : kPositions;
    copy_columns(left + first * m.left_features, m.left_features, positions, row_begin, row_end, tiles);
    for (int64_t column = 0; column < m.right_features; column += kColumns) {
      const int64_t rest = m.right_features - column;
      const int columns = rest < kColumns ? static_cast<int>(rest) : kColumns;
      copy_panel(right + first * m.right_features + column, m.right_features, positions, columns, panel);
      for (int64_t row = row_begin; row < row_end; row += kRows) {
        const int rows = row_end - row < kRows ? static_cast<int>(row_end - row) : kRows;
        multiply_positions(tiles + (row - row_begin) * positions, panel, positions, rows, columns, first == begin,
                           sums + row * m.right_features + column, m.right_features);
      }
    }
  }
}

void matrix_gradient(const MatrixGradient& m, int64_t begin, int64_t end, int64_t row_begin, int64_t row_end,
                     float* sums, float* scratch) {
  switch (m.type) {
    case Type::kFloat32: return matrix_gradient_of<float>(m, begin, end, row_begin, row_end, sums, scratch);
    case Type::kBFloat16: return matrix_gradient_of<BFloat16>(m, begin, end, row_begin, row_end, sums, scratch);
    case Type::kFloat16: return matrix_gradient_of<Float16>(m, begin, end, row_begin, row_end, sums, scratch);
  }
}

int64_t matrix_gradient_scratch(int64_t rows) { return kPositions * (kColumns + (rows + kRows - 1) / kRows * kRows); }

}  // namespace
}  // namespace jds

#endif  // JDS_KERNELS_MATRIX_GRADIENT_H_
