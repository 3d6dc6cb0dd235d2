// Convolutions that end in a matrix product, tile by tile. Compiled once for each instruction set.
//
// The rows of the left matrix are built for one tile of positions at a time: results of a depthwise convolution, or the
// windows of an ordinary convolution. They stay in the cache until they are multiplied.
#ifndef JDS_KERNELS_BLOCK_H_
#define JDS_KERNELS_BLOCK_H_

#include "kernels/depthwise.h"
#include "kernels/matrix.h"
#include "kernels/params.h"
#include "kernels/rows.h"
#include "kernels/simd/simd.h"

namespace jds {
namespace {

// Writes results into tiles of rows.
struct TileWriter {
  using Pixel = float*;

  float* tiles;
  int64_t size;
  int64_t row;

  Pixel pixel(int64_t j) const { return tiles + (row + j) / kRows * size + (row + j) % kRows * kDepth; }
  void advance(int64_t rows) { row += rows; }

  template <class Channels>
  static void store(Pixel pixel, const Channels& channels, Simd::Vector v) {
    channels.store(pixel + tile_offset(channels.c), v);
  }
};

// Numbers of a window that are adjacent both in the moving array and in the row, where they begin at `first`.
template <class T>
struct Piece {
  const T* moving;
  int64_t first, size;
};

template <class T>
inline void copy_piece(const Piece<T>& piece, float* pixel) {
  if (piece.size <= Simd::kLanes && piece.first % kDepth + piece.size <= kDepth) {  // as in a first layer, of 3 colors
    const int size = static_cast<int>(piece.size);
    return Simd::store(pixel + tile_offset(piece.first), Simd::load(piece.moving, size), size);
  }
  for (int64_t done = 0; done < piece.size;) {
    const int64_t c = piece.first + done, to_the_end = piece.size - done, to_the_block = kDepth - c % kDepth;
    const int64_t size = to_the_end < to_the_block ? to_the_end : to_the_block;
    const T* from = piece.moving + done;
    float* to = pixel + tile_offset(c);
    each_vector(size, 1, [&](const auto& channels) { channels.store(to + channels.c, channels.out(from)); });
    done += size;
  }
}

// Finds the pieces of the window of a run's first position, and returns their number.
template <class T>
inline int find_pieces(const Block& b, int64_t row, const Run& run, Piece<T>* pieces) {
  const int64_t channels = b.first.groups;
  int count = 0;
  each_tap(b.first.space, row, run, [&](int64_t m, int64_t position) {
    const T* moving = static_cast<const T*>(b.first.moving) + m * channels;
    Piece<T>& last = pieces[count > 0 ? count - 1 : 0];
    if (count > 0 && moving == last.moving + last.size && position * channels == last.first + last.size) {
      last.size += channels;
    } else {
      pieces[count++] = {moving, position * channels, channels};
    }
  });
  return count;
}

// Writes the windows of an ordinary convolution; the part of a window outside the array is zero.
template <class T>
inline void write_windows(const Block& b, int64_t row, const Run& run, int64_t skip, int64_t outputs,
                          TileWriter& writer) {
  const int64_t stride = run.moving_stride * b.first.groups;
  Piece<T> pieces[kMaxTaps];
  const int count = find_pieces(b, row, run, pieces);
  int64_t size = 0;
  for (int p = 0; p < count; ++p) {
    size += pieces[p].size;
    pieces[p].moving += skip * stride;
  }
  for (int64_t j = 0; j < outputs; ++j) {
    float* pixel = writer.pixel(j);
    if (size < b.depth) {
      for (int64_t k = 0; k < b.depth; ++k) pixel[tile_offset(k)] = 0;
    }
    for (int p = 0; p < count; ++p) {
      copy_piece(pieces[p], pixel);
      pieces[p].moving += stride;
    }
  }
  writer.advance(outputs);
}

template <class T>
inline void write_filtered(const Block& b, int64_t row, const Run& run, int64_t skip, int64_t outputs,
                           TileWriter& writer) {
  TapPointers<T> taps;
  find_tap_pointers(b.first, row, run, taps);
  taps.advance(skip);
  run_of_outputs(b.first, taps, outputs, writer);
}

// Fills tiles with the rows of the positions [begin, end).
template <class T>
inline void write_tiles(const Block& b, int64_t begin, int64_t end, float* tiles) {
  const InnerAxis& inner = b.first.space.inner;
  TileWriter writer = {tiles, tile_size(b.depth), 0};
  for (int64_t row = begin / inner.long_size; row * inner.long_size < end; ++row) {
    const int64_t row_begin = begin - row * inner.long_size, row_end = end - row * inner.long_size;
    for (int64_t r = 0; r < inner.runs; ++r) {
      const Run& run = inner.run[r];
      const int64_t skip = row_begin > run.first ? row_begin - run.first : 0;
      const int64_t last = run.first + run.count < row_end ? run.first + run.count : row_end;
      const int64_t outputs = last - run.first - skip;
      if (outputs <= 0) continue;
      if (b.first.filter) {
        write_filtered<T>(b, row, run, skip, outputs, writer);
      } else {
        write_windows<T>(b, row, run, skip, outputs, writer);
      }
    }
  }
}

void block_rows(const Block& b, int64_t begin, int64_t end, float* tiles) {
  switch (b.first.type) {
    case Type::kFloat32: return write_tiles<float>(b, begin, end, tiles);
    case Type::kBFloat16: return write_tiles<BFloat16>(b, begin, end, tiles);
    case Type::kFloat16: return write_tiles<Float16>(b, begin, end, tiles);
  }
}

void block_panels(const Block& b, int64_t begin, int64_t end, float* panels) {
  switch (b.first.type) {
    case Type::kFloat32: return copy_panels<float>(b, begin, end, panels);
    case Type::kBFloat16: return copy_panels<BFloat16>(b, begin, end, panels);
    case Type::kFloat16: return copy_panels<Float16>(b, begin, end, panels);
  }
}

template <class T>
void block_product_of(const Block& b, const Part& part) {
  if (b.out_type == Type::kFloat32) return multiply_matrices<T, float>(b, part);
  return multiply_matrices<T, T>(b, part);
}

void block_product(const Block& b, const Part& part) {
  switch (b.first.type) {
    case Type::kFloat32: return block_product_of<float>(b, part);
    case Type::kBFloat16: return block_product_of<BFloat16>(b, part);
    case Type::kFloat16: return block_product_of<Float16>(b, part);
  }
}

int64_t block_tile(const Block& b) { return tile_size(b.depth); }

}  // namespace
}  // namespace jds

#endif  // JDS_KERNELS_BLOCK_H_
