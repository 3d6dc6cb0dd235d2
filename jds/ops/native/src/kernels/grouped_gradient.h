// Kernel gradients of grouped convolutions: a matrix product per group and position of the filter. Compiled once for
// each instruction set.
#ifndef JDS_KERNELS_GROUPED_GRADIENT_H_
#define JDS_KERNELS_GROUPED_GRADIENT_H_

#include <algorithm>

#include "kernels/channels.h"
#include "kernels/matrix.h"
#include "kernels/params.h"
#include "kernels/simd/simd.h"

namespace jds {
namespace {

// Floats of copied pixels that stay in the second-level cache.
constexpr int64_t kCopiedFloats = 64 * 1024;

// Channels of both arrays that are multiplied together: of one group, up to two vectors of fixed features; or, if the
// groups are small, the groups that fit one vector.
struct ChannelBlock {
  int64_t group, groups;  // the first, and their number
  int64_t column, columns;  // fixed features of a group
  int64_t moving_width, fixed_width;  // floats of a copied pixel
};

// Groups that fit one vector, on both sides.
inline int64_t groups_of_block(const GroupedGradient& g) {
  return std::max<int64_t>(1, std::min(Simd::kLanes / g.moving_features, Simd::kLanes / g.fixed_features));
}

inline int64_t columns_of_block(const GroupedGradient& g) {
  return g.fixed_features > Simd::kLanes ? 2 * Simd::kLanes : Simd::kLanes;
}

int64_t grouped_gradient_blocks(const GroupedGradient& g) {
  const int64_t together = groups_of_block(g);
  if (together > 1) return (g.groups + together - 1) / together;
  const int64_t columns = columns_of_block(g);
  return g.groups * ((g.fixed_features + columns - 1) / columns);
}

inline ChannelBlock channel_block(const GroupedGradient& g, int64_t block) {
  const int64_t together = groups_of_block(g);
  if (together > 1) {
    const int64_t first = block * together;
    return {.group = first,
            .groups = std::min(together, g.groups - first),
            .column = 0,
            .columns = g.fixed_features,
            .moving_width = Simd::kLanes,
            .fixed_width = Simd::kLanes};
  }
  const int64_t width = columns_of_block(g), blocks = (g.fixed_features + width - 1) / width;
  const int64_t column = block % blocks * width;
  return {.group = block / blocks,
          .groups = 1,
          .column = column,
          .columns = std::min(width, g.fixed_features - column),
          .moving_width = g.moving_features,
          .fixed_width = width};
}

inline int64_t pixels(const GroupedGradient& g, bool moving) {
  int64_t count = 1;
  for (const GradientAxis& axis : g.axes) count *= moving ? axis.moving_size : axis.fixed_size;
  return count;
}

// Floats of an image's copied pixels.
inline int64_t copied_floats(const GroupedGradient& g, const ChannelBlock& b) {
  return pixels(g, true) * b.moving_width + pixels(g, false) * b.fixed_width;
}

inline int64_t images_at_once(const GroupedGradient& g, const ChannelBlock& b) {
  return std::min(g.batch, std::max<int64_t>(1, kCopiedFloats / std::max<int64_t>(1, copied_floats(g, b))));
}

int64_t grouped_gradient_scratch(const GroupedGradient& g) {
  const ChannelBlock block = channel_block(g, 0);
  return images_at_once(g, block) * copied_floats(g, block);
}

// Copies `size` channels of each pixel, and adds zeros up to `width`.
template <class T>
inline void copy_pixels(const T* from, int64_t stride, int64_t count, int64_t size, int64_t width, float* to) {
  for (int64_t p = 0; p < count; ++p, from += stride, to += width) {
    each_vector(size, 1, [&](const auto& channels) { channels.store(to + channels.c, channels.out(from)); });
    for (int64_t c = size; c < width; ++c) to[c] = 0;
  }
}

// The copied pixels of some images, and which of them belong to each position of the filter.
struct Copied {
  const GroupedGradient& params;
  int64_t images, moving_width, fixed_width;
  const float *moving, *fixed;

  // Calls `body(moving pixel, its step, fixed pixel, its step, count)` for all strips of position (s0, s1, s2).
  template <class Body>
  inline __attribute__((always_inline)) void each_strip(const int64_t (&s)[3], const Body& body) const {
    const GradientAxis &first = params.axes[0], &second = params.axes[1], &inner = params.axes[2];
    for (int64_t image = 0; image < images; ++image) {
      each_pair(first, s[0], [&](int64_t m0, int64_t l0) {
        const int64_t moving_plane = image * first.moving_size + m0, fixed_plane = image * first.fixed_size + l0;
        each_pair(second, s[1], [&](int64_t m1, int64_t l1) {
          const int64_t moving_line = (moving_plane * second.moving_size + m1) * inner.moving_size;
          const int64_t fixed_line = (fixed_plane * second.fixed_size + l1) * inner.fixed_size;
          for (int64_t i = inner.begin[s[2]]; i < inner.begin[s[2] + 1]; ++i) {
            const Strip& strip = inner.strips[i];
            body(moving + (moving_line + strip.moving) * moving_width, strip.moving_step * moving_width,
                 fixed + (fixed_line + strip.fixed) * fixed_width, strip.fixed_step * fixed_width, strip.count);
          }
        });
      });
    }
  }

 private:
  template <class Body>
  static inline __attribute__((always_inline)) void each_pair(const GradientAxis& axis, int64_t s, const Body& body) {
    for (int64_t i = axis.begin[s]; i < axis.begin[s + 1]; ++i) {
      const Strip& strip = axis.strips[i];
      for (int64_t j = 0; j < strip.count; ++j) {
        body(strip.moving + j * strip.moving_step, strip.fixed + j * strip.fixed_step);
      }
    }
  }
};

// Where sums go: rows of moving features, `stride` apart and `columns` wide. Adds to them, unless `is_first`.
struct Results {
  float* to;
  int64_t stride;
  int columns;
  bool is_first;

  inline void add(int64_t row, int vector, Simd::Vector value) const {
    const int rest = columns - vector * Simd::kLanes;
    if (rest <= 0) return;
    const int lanes = std::min(rest, Simd::kLanes);
    float* at = to + row * stride + vector * Simd::kLanes;
    Simd::store(at, is_first ? value : Simd::add(Simd::load(at, lanes), value), lanes);
  }
};

// Sums of `kCount` moving features, from feature `feature` of the group, times one or two vectors of fixed features.
template <int kCount, int kWidth>
inline void sum_features(const Copied& copied, const int64_t (&s)[3], int64_t feature, const Results& results) {
  Sums<kCount, kWidth> sums;
  set_to_zero(sums);
  copied.each_strip(s, [&](const float* moving, int64_t moving_step, const float* fixed, int64_t fixed_step,
                           int64_t count) {
    for (int64_t i = 0; i < count; ++i, moving += moving_step, fixed += fixed_step) {
      Simd::Vector right[kWidth];
#pragma GCC unroll 2
      for (int v = 0; v < kWidth; ++v) right[v] = Simd::load(fixed + v * Simd::kLanes);
      add_products(moving, 1, right, sums);
    }
  });
#pragma GCC unroll 16
  for (int r = 0; r < kCount; ++r) {
#pragma GCC unroll 2
    for (int v = 0; v < kWidth; ++v) results.add(feature + r, v, sums[r][v]);
  }
}

// Dispatches to the instantiation for `count` moving features.
template <int kCount, int kWidth>
inline void sum_some(const Copied& copied, const int64_t (&s)[3], int count, int64_t feature, const Results& results) {
  if (count == kCount) return sum_features<kCount, kWidth>(copied, s, feature, results);
  if constexpr (kCount > 1) sum_some<kCount - 1, kWidth>(copied, s, count, feature, results);
}

template <int kWidth>
inline void sum_group(const Copied& copied, const int64_t (&s)[3], const Results& results) {
  const int64_t features = copied.params.moving_features;
  int64_t feature = 0;
  for (int64_t parts = (features + kRows - 1) / kRows; parts > 0; --parts) {
    const int count = static_cast<int>((features - feature + parts - 1) / parts);
    Copied some = copied;
    some.moving += feature;  // here: added in the loop over the pixels, it takes 2.4 times as long
    sum_some<kRows, kWidth>(some, s, count, feature, results);
    feature += count;
  }
}

// Sums of several groups in one vector: for moving feature p, the lanes of a group all read its feature p.
template <int kFeatures>
inline void sum_groups(const Copied& copied, const int64_t (&s)[3], const Results& results) {
  const int64_t fixed_features = copied.params.fixed_features;
  Simd::Vector sums[kFeatures];
  Simd::Index lanes[kFeatures];
  for (int p = 0; p < kFeatures; ++p) {
    int32_t lane[Simd::kLanes] = {};
    for (int l = 0; l < results.columns; ++l) lane[l] = static_cast<int32_t>(l / fixed_features * kFeatures + p);
    lanes[p] = Simd::index(lane);
    sums[p] = Simd::zero();
  }
  copied.each_strip(s, [&](const float* moving, int64_t moving_step, const float* fixed, int64_t fixed_step,
                           int64_t count) {
    for (int64_t i = 0; i < count; ++i, moving += moving_step, fixed += fixed_step) {
      const Simd::Vector left = Simd::load(moving), right = Simd::load(fixed);
#pragma GCC unroll 8
      for (int p = 0; p < kFeatures; ++p) {
        sums[p] = Simd::multiply_add(Simd::permute(left, lanes[p]), right, sums[p]);
      }
    }
  });
  for (int p = 0; p < kFeatures; ++p) results.add(p, 0, sums[p]);
}

template <int kFeatures>
inline void sum_small_groups(const Copied& copied, const int64_t (&s)[3], const Results& results) {
  if (copied.params.moving_features == kFeatures) return sum_groups<kFeatures>(copied, s, results);
  if constexpr (kFeatures > 1) sum_small_groups<kFeatures - 1>(copied, s, results);
}

template <class T>
void grouped_gradient_of(const GroupedGradient& g, int64_t block, int64_t tap_begin, int64_t tap_end, float* out,
                         float* scratch) {
  const ChannelBlock b = channel_block(g, block);
  const int64_t moving_pixels = pixels(g, true), fixed_pixels = pixels(g, false), at_once = images_at_once(g, b);
  const int64_t moving_pixel = g.groups * g.moving_features, fixed_pixel = g.groups * g.fixed_features;
  const int64_t channel = b.group * g.fixed_features + b.column;
  float *moving = scratch, *fixed = scratch + at_once * moving_pixels * b.moving_width;
  for (int64_t image = 0; image == 0 || image < g.batch; image += at_once) {
    const int64_t images = std::min(at_once, g.batch - image);
    copy_pixels(static_cast<const T*>(g.moving) + image * moving_pixels * moving_pixel + b.group * g.moving_features,
                moving_pixel, images * moving_pixels, b.groups * g.moving_features, b.moving_width, moving);
    copy_pixels(static_cast<const T*>(g.fixed) + image * fixed_pixels * fixed_pixel + channel, fixed_pixel,
                images * fixed_pixels, b.groups * b.columns, b.fixed_width, fixed);
    const Copied copied = {.params = g,
                           .images = images,
                           .moving_width = b.moving_width,
                           .fixed_width = b.fixed_width,
                           .moving = moving,
                           .fixed = fixed};
    for (int64_t tap = tap_begin; tap < tap_end; ++tap) {
      const int64_t row = tap / g.axes[2].short_size;
      const int64_t s[3] = {row / g.axes[1].short_size, row % g.axes[1].short_size, tap % g.axes[2].short_size};
      const Results results = {.to = out + tap * g.moving_features * fixed_pixel + channel,
                         .stride = fixed_pixel,
                         .columns = static_cast<int>(b.groups * b.columns),
                         .is_first = image == 0};
      if (groups_of_block(g) > 1) {
        sum_small_groups<Simd::kLanes / 2>(copied, s, results);
      } else if (b.fixed_width > Simd::kLanes) {
        sum_group<2>(copied, s, results);
      } else {
        sum_group<1>(copied, s, results);
      }
    }
  }
}

void grouped_gradient(const GroupedGradient& g, int64_t block, int64_t tap_begin, int64_t tap_end, float* out,
                      float* scratch) {
  switch (g.type) {
    case Type::kFloat32: return grouped_gradient_of<float>(g, block, tap_begin, tap_end, out, scratch);
    case Type::kBFloat16: return grouped_gradient_of<BFloat16>(g, block, tap_begin, tap_end, out, scratch);
    case Type::kFloat16: return grouped_gradient_of<Float16>(g, block, tap_begin, tap_end, out, scratch);
  }
}

}  // namespace
}  // namespace jds

#endif  // JDS_KERNELS_GROUPED_GRADIENT_H_
