// Depthwise convolutions and their input gradients, row by row. Compiled once for each instruction set.
#ifndef JDS_DEPTHWISE_H_
#define JDS_DEPTHWISE_H_

#include "channels.h"
#include "epilogue.h"
#include "problem.h"
#include "rows.h"

namespace jds {
namespace {

// One product of the sum: where its moving pixel and its filter begin.
template <class T>
struct Tap {
  const T* moving;
  const float* filter;
};

// `kBlock` neighbouring outputs, of the channels from `c` on: each filter value is read once for all of them.
template <int kBlock, class Channels, class T>
inline void sum_of_taps(const Tap<T>* taps, int count, int64_t stride, const Channels& channels,
                        Simd::Vector (&sums)[kBlock]) {
  for (int j = 0; j < kBlock; ++j) sums[j] = Simd::zero();
  for (int t = 0; t < count; ++t) {
    const Simd::Vector weight = channels.out(taps[t].filter);
    const T* moving = taps[t].moving;
    for (int j = 0; j < kBlock; ++j) {
      sums[j] = Simd::multiply_add(channels.in(moving + j * stride), weight, sums[j]);
    }
  }
}

// Writes results to memory, pixel after pixel.
template <class Out>
struct PixelWriter {
  using Pixel = Out*;

  Out* out;
  int64_t stride;

  Pixel pixel(int64_t j) const { return out + j * stride; }
  void advance(int64_t pixels) { out += pixels * stride; }

  template <class Channels>
  static void store(Pixel pixel, const Channels& channels, Simd::Vector v) {
    channels.store(pixel + channels.c, v);
  }
};

template <int kBlock, class T, class Writer>
inline void block_of_outputs(const Depthwise& d, const Tap<T>* taps, int count, int64_t stride, const Writer& writer) {
  typename Writer::Pixel pixels[kBlock];
  for (int j = 0; j < kBlock; ++j) pixels[j] = writer.pixel(j);
  each_vector(d.groups, d.out_features, [&](const auto& channels) {
    Simd::Vector sums[kBlock];
    sum_of_taps<kBlock>(taps, count, stride, channels, sums);
    const ReadyEpilogue epilogue = make_ready(d.epilogue, channels);
    for (int j = 0; j < kBlock; ++j) writer.store(pixels[j], channels, epilogue(sums[j]));
  });
}

// `outputs` neighbours that meet the same positions of the filter; `taps` are moved along.
template <class T, class Writer>
inline void run_of_outputs(const Depthwise& d, Tap<T>* taps, int count, int64_t outputs, int64_t stride,
                           Writer& writer) {
  const auto advance = [&](int64_t done) {
    outputs -= done;
    writer.advance(done);
    for (int t = 0; t < count; ++t) taps[t].moving += done * stride;
  };
  for (; outputs >= 8; advance(8)) block_of_outputs<8>(d, taps, count, stride, writer);
  for (; outputs >= 4; advance(4)) block_of_outputs<4>(d, taps, count, stride, writer);
  for (; outputs >= 2; advance(2)) block_of_outputs<2>(d, taps, count, stride, writer);
  for (; outputs >= 1; advance(1)) block_of_outputs<1>(d, taps, count, stride, writer);
}

// Several features are contracted: the products are summed in the moving array's channels, and then over each group.
template <class T, class Out>
inline void contracted_output(const Depthwise& d, const Tap<T>* taps, int count, Out* out) {
  constexpr int64_t kBuffer = kMaxInFeatures;
  float sums[kBuffer];
  const int64_t groups_at_once = kBuffer / d.in_features;
  for (int64_t g = 0; g < d.groups; g += groups_at_once) {
    const int64_t groups = d.groups - g < groups_at_once ? d.groups - g : groups_at_once, first = g * d.in_features;
    each_vector(groups * d.in_features, 1, [&](const auto& channels) {
      Simd::Vector sum = Simd::zero();
      for (int t = 0; t < count; ++t) {
        sum = Simd::multiply_add(channels.in(taps[t].moving + first), channels.out(taps[t].filter + first), sum);
      }
      channels.store(sums + channels.c, sum);
    });
    for (int64_t group = 0; group < groups; ++group) {
      float total = 0;
      for (int64_t i = 0; i < d.in_features; ++i) total += sums[group * d.in_features + i];
      narrow(apply(d.epilogue, g + group, total), out + g + group);
    }
  }
}

// The products of the first position of a run.
template <class T>
inline int find_taps(const Depthwise& d, int64_t row, const Run& run, Tap<T>* taps) {
  const int64_t pixel = d.groups * d.in_features, weights = pixel * d.out_features;
  int count = 0;
  each_meeting(d.space, row, run, [&](int64_t m, int64_t position) {
    taps[count++] = {static_cast<const T*>(d.moving) + m * pixel, d.filter + position * weights};
  });
  return count;
}

template <class T, class Out>
void depthwise_rows(const Depthwise& d, int64_t row_begin, int64_t row_end, int64_t run_begin, int64_t run_end) {
  const int64_t pixel = d.groups * d.in_features, out_pixel = d.groups * d.out_features;
  Tap<T> taps[kMaxTaps];
  for (int64_t row = row_begin; row < row_end; ++row) {
    Out* out = static_cast<Out*>(d.out) + row * d.space.inner.long_size * out_pixel;
    for (int64_t r = run_begin; r < run_end; ++r) {
      const Run& run = d.space.inner.run[r];
      const int count = find_taps(d, row, run, taps);
      PixelWriter<Out> writer = {out + run.first * out_pixel, run.stride * out_pixel};
      if (d.in_features == 1) {
        run_of_outputs(d, taps, count, run.count, run.moving_stride * pixel, writer);
        continue;
      }
      for (int64_t j = 0; j < run.count; ++j) {
        contracted_output(d, taps, count, writer.pixel(j));
        for (int t = 0; t < count; ++t) taps[t].moving += run.moving_stride * pixel;
      }
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

#endif  // JDS_DEPTHWISE_H_
