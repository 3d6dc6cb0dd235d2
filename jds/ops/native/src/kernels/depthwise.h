// Depthwise convolutions and their input gradients, row by row. Compiled once for each instruction set.
#ifndef JDS_KERNELS_DEPTHWISE_H_
#define JDS_KERNELS_DEPTHWISE_H_

#include <type_traits>

#include "kernels/channels.h"
#include "kernels/epilogue.h"
#include "kernels/params.h"
#include "kernels/rows.h"
#include "kernels/simd/simd.h"

namespace jds {
namespace {

// A tap as pointers: the beginnings of its moving pixel and its filter values.
template <class T>
struct TapPointer {
  const T* moving;
  const float* filter;
};

// The taps of one position of the output, row by row of the filter. `is_even` if in each row they are neighbors, their
// moving pixels `pixel` apart and their filter values `weights`.
template <class T>
struct TapPointers {
  TapPointer<T> list[kMaxTaps];
  int count, in_a_row;
  bool is_even;
  int64_t pixel, weights;
  // Moving pixels from one output to the next.
  int64_t stride;
  // The next row of outputs reads `new_lines` more lines of the moving array, `line` apart, after that of the last tap.
  int64_t new_lines, line;

  void advance(int64_t outputs) {
    for (int t = 0; t < count; ++t) list[t].moving += outputs * stride * pixel;
  }
};

// Adds the taps of `kBlock` neighboring outputs, for one vector of channels.
template <int kBlock, class Channels, class T>
inline void sum_of_taps(const TapPointers<T>& taps, const Channels& channels, Simd::Vector (&sums)[kBlock]) {
  const int64_t stride = taps.stride * taps.pixel;
  for (int t = 0; t < taps.count; ++t) {
    const Simd::Vector weight = channels.out(taps.list[t].filter);
    const T* moving = taps.list[t].moving;
    for (int j = 0; j < kBlock; ++j) {
      sums[j] = Simd::multiply_add(channels.in(moving + j * stride), weight, sums[j]);
    }
  }
}

// The same by whole rows of the filter: each pixel is read once for all its products.
template <int kBlock, int kTaps, int kStride, class Channels, class T>
inline void sum_of_rows(const TapPointers<T>& taps, const Channels& channels, Simd::Vector (&sums)[kBlock]) {
  for (int row = 0; row < taps.count; row += kTaps) {
    Simd::Vector weights[kTaps];
#pragma GCC unroll 8
    for (int t = 0; t < kTaps; ++t) weights[t] = channels.out(taps.list[row].filter + t * taps.weights);
    const T* moving = taps.list[row].moving;
#pragma GCC unroll 32
    for (int i = 0; i < (kBlock - 1) * kStride + kTaps; ++i, moving += taps.pixel) {
      Simd::Vector value = channels.in(moving);
      Simd::keep(value);
#pragma GCC unroll 8
      for (int t = 0; t < kTaps; ++t) {
        const int j = (i - t) / kStride;
        if (i < t || (i - t) % kStride != 0 || j >= kBlock) continue;
        sums[j] = Simd::multiply_add(value, weights[t], sums[j]);
      }
    }
  }
}

// Writes results to memory, pixel after pixel, after adding those of `skip`, if it is not null.
template <class Out>
struct PixelWriter {
  struct Pixel {
    Out* out;
    const Out* skip;
  };

  Pixel first;
  int64_t stride;

  Pixel pixel(int64_t j) const { return {first.out + j * stride, first.skip ? first.skip + j * stride : nullptr}; }
  void advance(int64_t pixels) { first = pixel(pixels); }

  template <class Channels>
  static void store(const Pixel& pixel, const Channels& channels, Simd::Vector v) {
    if (pixel.skip) v = Simd::add(v, channels.out(pixel.skip));
    channels.store(pixel.out + channels.c, v);
  }
};

// Writes one vector of channels to each of some pixels.
template <int kBlock, class Writer, class Channels>
struct PixelStore {
  typename Writer::Pixel pixels[kBlock];
  Channels channels;

  void operator()(int j, Simd::Vector v) const { Writer::store(pixels[j], channels, v); }
};

// Computes `kBlock` neighboring outputs. `kTaps` taps per row and stride `kStride`, or 0 and 0 for any.
template <int kBlock, int kTaps, int kStride, class T, class Writer>
inline void block_of_outputs(const Depthwise& d, const TapPointers<T>& taps, const Writer& writer) {
  typename Writer::Pixel pixels[kBlock];
  for (int j = 0; j < kBlock; ++j) pixels[j] = writer.pixel(j);
  each_vector(d.groups, d.out_features, [&](const auto& channels) {
    Simd::Vector sums[kBlock];
    for (int j = 0; j < kBlock; ++j) sums[j] = Simd::zero();
    if constexpr (kTaps > 0 && channels.kIsFull) {
      const T* last = taps.list[taps.count - 1].moving;
      for (int64_t line = 1; line <= taps.new_lines; ++line) {
        for (int j = 0; j < kBlock * kStride; ++j) channels.prefetch(last + line * taps.line + j * taps.pixel);
      }
      sum_of_rows<kBlock, kTaps, kStride>(taps, channels, sums);
    } else {
      sum_of_taps<kBlock>(taps, channels, sums);
    }
    const auto store = [&](int j, Simd::Vector v) { Writer::store(pixels[j], channels, v); };
    store_results(d.epilogue, channels, sums, store, [&] {
      PixelStore<kBlock, Writer, std::decay_t<decltype(channels)>> copy = {{}, channels};
      for (int j = 0; j < kBlock; ++j) copy.pixels[j] = pixels[j];
      return copy;
    });
  });
}

template <int kTaps, int kStride, class T, class Writer>
inline void blocks_of_outputs(const Depthwise& d, TapPointers<T>& taps, int64_t outputs, Writer& writer) {
  const auto advance = [&](int64_t done) {
    outputs -= done;
    writer.advance(done);
    taps.advance(done);
  };
  for (; outputs >= 8; advance(8)) block_of_outputs<8, kTaps, kStride>(d, taps, writer);
  for (; outputs >= 4; advance(4)) block_of_outputs<4, kTaps, kStride>(d, taps, writer);
  for (; outputs >= 2; advance(2)) block_of_outputs<2, 0, 0>(d, taps, writer);
  for (; outputs >= 1; advance(1)) block_of_outputs<1, 0, 0>(d, taps, writer);
}

template <int kTaps, class T, class Writer>
inline void blocks_of_stride(const Depthwise& d, TapPointers<T>& taps, int64_t outputs, Writer& writer) {
  if (taps.stride == 1) return blocks_of_outputs<kTaps, 1>(d, taps, outputs, writer);
  if (taps.stride == 2) return blocks_of_outputs<kTaps, 2>(d, taps, outputs, writer);
  blocks_of_outputs<0, 0>(d, taps, outputs, writer);
}

// Computes `outputs` neighboring outputs with taps at the same positions of the filter; advances `taps`.
template <class T, class Writer>
inline void run_of_outputs(const Depthwise& d, TapPointers<T>& taps, int64_t outputs, Writer& writer) {
  // Whether the sums and a row of the filter fit the registers.
  constexpr bool kFits = Simd::kSums >= 12;
  if (kFits && taps.count > 0 && taps.is_even) {
    if (taps.in_a_row == 2) return blocks_of_stride<2>(d, taps, outputs, writer);
    if (taps.in_a_row == 3) return blocks_of_stride<3>(d, taps, outputs, writer);
    if (taps.in_a_row == 5) return blocks_of_stride<5>(d, taps, outputs, writer);
    if (taps.in_a_row == 7) return blocks_of_stride<7>(d, taps, outputs, writer);
  }
  blocks_of_outputs<0, 0>(d, taps, outputs, writer);
}

// Computes one output that contracts several features: sums per channel of the moving array, then per group.
template <class T, class Out>
inline void contracted_output(const Depthwise& d, const TapPointers<T>& taps,
                              const typename PixelWriter<Out>::Pixel& pixel) {
  constexpr int64_t kBuffer = kMaxContractedFeatures;
  float sums[kBuffer], totals[kBuffer];
  const int64_t groups_at_once = kBuffer / d.in_features;
  for (int64_t g = 0; g < d.groups; g += groups_at_once) {
    const int64_t groups = d.groups - g < groups_at_once ? d.groups - g : groups_at_once, first = g * d.in_features;
    each_vector(groups * d.in_features, 1, [&](const auto& channels) {
      Simd::Vector sum = Simd::zero();
      for (int t = 0; t < taps.count; ++t) {
        const TapPointer<T>& tap = taps.list[t];
        sum = Simd::multiply_add(channels.in(tap.moving + first), channels.out(tap.filter + first), sum);
      }
      channels.store(sums + channels.c, sum);
    });
    for (int64_t group = 0; group < groups; ++group) {
      float total = 0;
      for (int64_t i = 0; i < d.in_features; ++i) total += sums[group * d.in_features + i];
      totals[group] = total;
    }
    const Epilogue epilogue = {.scale = d.epilogue.scale ? d.epilogue.scale + g : nullptr,
                               .bias = d.epilogue.bias ? d.epilogue.bias + g : nullptr,
                               .activation = d.epilogue.activation};
    each_vector(groups, 1, [&](const auto& channels) {
      Simd::Vector values[1] = {channels.out(totals)};
      const PixelStore<1, PixelWriter<Out>, std::decay_t<decltype(channels)>> store = {
          {{pixel.out + g, pixel.skip ? pixel.skip + g : nullptr}}, channels};
      store_results(epilogue, channels, values, store, [&] { return store; });
    });
  }
}

// Finds the taps of the first position of a run.
template <class T>
inline void find_tap_pointers(const Depthwise& d, int64_t row, const Run& run, TapPointers<T>& taps) {
  const OuterAxis& lines = d.space.outer[1];
  const Tap* inner = d.space.inner.taps + run.taps_begin;
  taps.pixel = d.groups * d.in_features;
  taps.stride = run.moving_stride;
  taps.line = d.space.inner.moving_size * taps.pixel;
  taps.new_lines = lines.long_size > 1 ? (lines.moving_size + lines.long_size - 1) / lines.long_size : 0;
  taps.in_a_row = static_cast<int>(run.taps_end - run.taps_begin);
  taps.is_even = true;
  const int64_t weights = taps.pixel * d.out_features;
  const int64_t step = taps.in_a_row > 1 ? inner[1].position - inner[0].position : 0;
  for (int t = 1; t < taps.in_a_row; ++t) {
    taps.is_even &= inner[t].moving - inner[t - 1].moving == 1 && inner[t].position - inner[t - 1].position == step;
  }
  taps.weights = step * weights;
  taps.count = 0;
  each_tap(d.space, row, run, [&](int64_t m, int64_t position) {
    taps.list[taps.count++] = {static_cast<const T*>(d.moving) + m * taps.pixel, d.filter + position * weights};
  });
}

template <class T, class Out>
void depthwise_rows(const Depthwise& d, int64_t row_begin, int64_t row_end, int64_t run_begin, int64_t run_end) {
  const int64_t out_pixel = d.groups * d.out_features;
  TapPointers<T> taps;
  for (int64_t row = row_begin; row < row_end; ++row) {
    const int64_t line = row * d.space.inner.long_size * out_pixel;
    const typename PixelWriter<Out>::Pixel begin = {static_cast<Out*>(d.out) + line,
                                                    d.skip ? static_cast<const Out*>(d.skip) + line : nullptr};
    for (int64_t r = run_begin; r < run_end; ++r) {
      const Run& run = d.space.inner.run[r];
      find_tap_pointers(d, row, run, taps);
      PixelWriter<Out> writer = {PixelWriter<Out>{begin, out_pixel}.pixel(run.first), run.stride * out_pixel};
      if (d.in_features == 1) {
        run_of_outputs(d, taps, run.count, writer);
        continue;
      }
      for (int64_t j = 0; j < run.count; ++j, taps.advance(1)) contracted_output<T, Out>(d, taps, writer.pixel(j));
    }
  }
}

template <class T>
void depthwise_of(const Depthwise& d, int64_t row_begin, int64_t row_end, int64_t run_begin, int64_t run_end) {
  if (d.out_type == Type::kFloat32) return depthwise_rows<T, float>(d, row_begin, row_end, run_begin, run_end);
  return depthwise_rows<T, T>(d, row_begin, row_end, run_begin, run_end);
}

void depthwise(const Depthwise& d, int64_t row_begin, int64_t row_end, int64_t run_begin, int64_t run_end) {
  switch (d.type) {
    case Type::kFloat32: return depthwise_of<float>(d, row_begin, row_end, run_begin, run_end);
    case Type::kBFloat16: return depthwise_of<BFloat16>(d, row_begin, row_end, run_begin, run_end);
    case Type::kFloat16: return depthwise_of<Float16>(d, row_begin, row_end, run_begin, run_end);
  }
}

}  // namespace
}  // namespace jds

#endif  // JDS_KERNELS_DEPTHWISE_H_
