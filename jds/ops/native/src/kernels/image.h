// Sums over the positions of an image, and its product with a number per channel. Compiled once for each instruction set.
#ifndef JDS_KERNELS_IMAGE_H_
#define JDS_KERNELS_IMAGE_H_

#include "kernels/channels.h"
#include "kernels/params.h"
#include "kernels/simd/simd.h"

namespace jds {
namespace {

// Vectors of channels at a time: as many chains of additions hide their latency.
constexpr int kImageVectors = 4;

// Writes the sums of `kWidth` vectors of channels, the first of which is `channels`.
template <int kWidth, class Channels, class T>
inline void sum_positions(const Image& image, const Channels& channels, float* sums) {
  Simd::Vector totals[kWidth];
  for (int v = 0; v < kWidth; ++v) totals[v] = Simd::zero();
  const T* pixel = static_cast<const T*>(image.data);
  for (int64_t p = 0; p < image.positions; ++p, pixel += image.channels) {
    for (int v = 0; v < kWidth; ++v) totals[v] = Simd::add(totals[v], channels.in(pixel + v * Simd::kLanes));
  }
  for (int v = 0; v < kWidth; ++v) channels.store(sums + channels.c + v * Simd::kLanes, totals[v]);
}

template <class T>
void channel_sums_of(const Image& image, int64_t begin, int64_t end, float* sums) {
  constexpr int64_t kChannels = kImageVectors * Simd::kLanes;
  for (; begin + kChannels <= end; begin += kChannels) {
    sum_positions<kImageVectors, FullVector, T>(image, FullVector{begin}, sums);
  }
  for (; begin + Simd::kLanes <= end; begin += Simd::kLanes) {
    sum_positions<1, FullVector, T>(image, FullVector{begin}, sums);
  }
  if (begin < end) sum_positions<1, PartVector, T>(image, PartVector{begin, static_cast<int>(end - begin)}, sums);
}

void channel_sums(const Image& image, int64_t begin, int64_t end, float* sums) {
  switch (image.type) {
    case Type::kFloat32: return channel_sums_of<float>(image, begin, end, sums);
    case Type::kBFloat16: return channel_sums_of<BFloat16>(image, begin, end, sums);
    case Type::kFloat16: return channel_sums_of<Float16>(image, begin, end, sums);
  }
}

template <class T>
void scale_channels_of(const Image& image, const float* factors, int64_t begin, int64_t end, void* out) {
  const T* pixel = static_cast<const T*>(image.data) + begin * image.channels;
  T* scaled = static_cast<T*>(out) + begin * image.channels;
  for (int64_t p = begin; p < end; ++p, pixel += image.channels, scaled += image.channels) {
    each_vector(image.channels, 1, [&](const auto& channels) {
      channels.store(scaled + channels.c, Simd::multiply(channels.in(pixel), channels.out(factors)));
    });
  }
}

void scale_channels(const Image& image, const float* factors, int64_t begin, int64_t end, void* out) {
  switch (image.type) {
    case Type::kFloat32: return scale_channels_of<float>(image, factors, begin, end, out);
    case Type::kBFloat16: return scale_channels_of<BFloat16>(image, factors, begin, end, out);
    case Type::kFloat16: return scale_channels_of<Float16>(image, factors, begin, end, out);
  }
}

}  // namespace
}  // namespace jds

#endif  // JDS_KERNELS_IMAGE_H_
