// Products of a few rows with a matrix that is read in place. Compiled once for each instruction set.
#ifndef JDS_KERNELS_ROW_PRODUCT_H_
#define JDS_KERNELS_ROW_PRODUCT_H_

#include "kernels/channels.h"
#include "kernels/matrix.h"
#include "kernels/params.h"
#include "kernels/simd/simd.h"

namespace jds {
namespace {

// Vectors of sums at a time: as many chains of additions hide their latency.
constexpr int kRowSums = 8;
// Rows of the matrix to prefetch: they are far apart, and the hardware does not predict their loads.
constexpr int kRowsAhead = 8;

// Results of `kCount` rows for `kWidth` vectors of columns, the first of which is `columns`.
template <int kCount, int kWidth, class Channels, class T, class Out>
inline void product_of_rows(const RowProduct& p, const float* left, const Channels& columns, const Rows<Out>& out) {
  Sums<kCount, kWidth> sums;
  set_to_zero(sums);
  const T* right = static_cast<const T*>(p.weights);
  for (int64_t k = 0; k < p.depth; ++k, right += p.features) {
    Simd::Vector vectors[kWidth];
#pragma GCC unroll 8
    for (int v = 0; v < kWidth; ++v) {
      vectors[v] = columns.out(right + v * Simd::kLanes);
      if constexpr (Channels::kIsFull) columns.prefetch(right + kRowsAhead * p.features + v * Simd::kLanes);
    }
    add_products(left + k, p.depth, vectors, sums);
  }
#pragma GCC unroll 8
  for (int v = 0; v < kWidth; ++v) {
    Channels own = columns;
    own.c += v * Simd::kLanes;
    store_column<kCount>(own, p.epilogue, sums, v, out);
  }
}

// Columns [begin, end), as many vectors at a time as there are, at most `kWidth`.
template <int kCount, int kWidth, class T, class Out>
inline void product_of_columns(const RowProduct& p, const float* left, int64_t begin, int64_t end,
                               const Rows<Out>& out) {
  constexpr int kColumns = kWidth * Simd::kLanes;
  for (; begin + kColumns <= end; begin += kColumns) {
    product_of_rows<kCount, kWidth, FullVector, T>(p, left, FullVector{begin}, out);
  }
  if constexpr (kWidth > 1) {
    product_of_columns<kCount, kWidth / 2, T>(p, left, begin, end, out);
  } else if (begin < end) {
    product_of_rows<kCount, 1, PartVector, T>(p, left, PartVector{begin, static_cast<int>(end - begin)}, out);
  }
}

template <class T, class Out>
void product_of_types(const RowProduct& p, int64_t begin, int64_t end) {
  const Rows<Out> out = {static_cast<Out*>(p.out), static_cast<const Out*>(p.skip), p.features};
  int64_t row = 0;
  for (; row + 4 <= p.rows; row += 4) {
    product_of_columns<4, kRowSums / 4, T>(p, p.left + row * p.depth, begin, end, out.from(row));
  }
  for (; row + 2 <= p.rows; row += 2) {
    product_of_columns<2, kRowSums / 2, T>(p, p.left + row * p.depth, begin, end, out.from(row));
  }
  if (row < p.rows) product_of_columns<1, kRowSums, T>(p, p.left + row * p.depth, begin, end, out.from(row));
}

template <class T>
void product_of_type(const RowProduct& p, int64_t begin, int64_t end) {
  if (p.out_type == Type::kFloat32) return product_of_types<T, float>(p, begin, end);
  product_of_types<T, T>(p, begin, end);
}

void row_product(const RowProduct& p, int64_t begin, int64_t end) {
  switch (p.type) {
    case Type::kFloat32: return product_of_type<float>(p, begin, end);
    case Type::kBFloat16: return product_of_type<BFloat16>(p, begin, end);
    case Type::kFloat16: return product_of_type<Float16>(p, begin, end);
  }
}

}  // namespace
}  // namespace jds

#endif  // JDS_KERNELS_ROW_PRODUCT_H_
