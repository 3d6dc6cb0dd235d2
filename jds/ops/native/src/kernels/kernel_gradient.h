// Kernel gradients of depthwise convolutions, row by row. Compiled once for each instruction set.
#ifndef JDS_KERNELS_KERNEL_GRADIENT_H_
#define JDS_KERNELS_KERNEL_GRADIENT_H_

#include "kernels/channels.h"
#include "kernels/params.h"
#include "kernels/rows.h"
#include "kernels/simd/simd.h"

namespace jds {
namespace {

// One position of the gradient: the beginning of its moving pixel, and its sums.
template <class T>
struct Correlation {
  const T* moving;
  float* sums;
};

// Adds the products of one run of positions to `kTaps` positions of the gradient, kept in registers.
template <int kTaps, bool kFixedExpands, class Channels, class T>
inline void correlate(const Correlation<T>* taps, const T* fixed, int64_t positions, int64_t moving_stride,
                      int64_t fixed_stride, const Channels& channels) {
  Simd::Vector sums[kTaps];
  for (int t = 0; t < kTaps; ++t) sums[t] = channels.out(taps[t].sums);
  for (int64_t j = 0; j < positions; ++j) {
    const T* at = fixed + j * fixed_stride;
    const Simd::Vector value = kFixedExpands ? channels.in(at) : channels.out(at);
    for (int t = 0; t < kTaps; ++t) {
      const T* moving = taps[t].moving + j * moving_stride;
      sums[t] = Simd::multiply_add(kFixedExpands ? channels.out(moving) : channels.in(moving), value, sums[t]);
    }
  }
  for (int t = 0; t < kTaps; ++t) channels.store(taps[t].sums + channels.c, sums[t]);
}

template <int kTaps, bool kFixedExpands, class T>
inline void correlate_channels(const KernelGradient& k, const Correlation<T>* taps, const T* fixed, const Run& run) {
  const int64_t moving_stride = run.moving_stride * k.groups * k.moving_features;
  const int64_t fixed_stride = run.stride * k.groups * k.fixed_features;
  each_vector(k.groups, k.moving_features * k.fixed_features, [&](const auto& channels) {
    correlate<kTaps, kFixedExpands>(taps, fixed, run.count, moving_stride, fixed_stride, channels);
  });
}

// Dispatches to the instantiation for `count` positions.
template <int kTaps, class T>
inline void correlate_group(const KernelGradient& k, const Correlation<T>* taps, int count, const T* fixed,
                            const Run& run) {
  if (count == kTaps) {
    if (k.moving_features > 1) return correlate_channels<kTaps, true>(k, taps, fixed, run);
    return correlate_channels<kTaps, false>(k, taps, fixed, run);
  }
  if constexpr (kTaps > 1) correlate_group<kTaps - 1>(k, taps, count, fixed, run);
}

// Splits the positions into groups of similar size whose sums fit the registers.
template <class T>
inline void in_groups(const KernelGradient& k, const Correlation<T>* taps, int count, const T* fixed, const Run& run) {
  for (int groups = (count + Simd::kSums - 1) / Simd::kSums; groups > 0; --groups) {
    const int size = (count + groups - 1) / groups;
    correlate_group<Simd::kSums>(k, taps, size, fixed, run);
    taps += size;
    count -= size;
  }
}

template <class T>
void kernel_gradient_rows(const KernelGradient& k, int64_t row_begin, int64_t row_end, float* partial) {
  const int64_t pixel = k.groups * k.moving_features, fixed_pixel = k.groups * k.fixed_features;
  const int64_t weights = pixel * k.fixed_features;
  const T* moving = static_cast<const T*>(k.moving);
  Correlation<T> taps[kMaxTaps];
  for (int64_t row = row_begin; row < row_end; ++row) {
    const T* fixed = static_cast<const T*>(k.fixed) + row * k.space.inner.long_size * fixed_pixel;
    for (int64_t r = 0; r < k.space.inner.runs; ++r) {
      const Run& run = k.space.inner.run[r];
      int count = 0;
      each_tap(k.space, row, run, [&](int64_t m, int64_t position) {
        taps[count++] = {moving + m * pixel, partial + position * weights};
      });
      in_groups(k, taps, count, fixed + run.first * fixed_pixel, run);
    }
  }
}

void kernel_gradient(const KernelGradient& k, int64_t row_begin, int64_t row_end, float* partial) {
  switch (k.type) {
    case Type::kFloat32: return kernel_gradient_rows<float>(k, row_begin, row_end, partial);
    case Type::kBFloat16: return kernel_gradient_rows<BFloat16>(k, row_begin, row_end, partial);
    case Type::kFloat16: return kernel_gradient_rows<Float16>(k, row_begin, row_end, partial);
  }
}

}  // namespace
}  // namespace jds

#endif  // JDS_KERNELS_KERNEL_GRADIENT_H_
