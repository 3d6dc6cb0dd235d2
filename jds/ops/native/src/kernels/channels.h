// Channels, a vector at a time; the last vector may be short. Compiled once for each instruction set.
#ifndef JDS_KERNELS_CHANNELS_H_
#define JDS_KERNELS_CHANNELS_H_

#include <stdint.h>

#include "kernels/simd/simd.h"

namespace jds {
namespace {

// A full vector of channels, from `c` on. `in` and `out` take the beginning of an input or output pixel, `store` the
// address to write to.
struct FullVector {
  static constexpr bool kIsFull = true;

  int64_t c;

  template <class T>
  Simd::Vector in(const T* p) const {
    return Simd::load(p + c);
  }
  template <class T>
  Simd::Vector out(const T* p) const {
    return Simd::load(p + c);
  }
  template <class T>
  void store(T* p, Simd::Vector v) const {
    Simd::store(p, v);
  }
  // Asks for what will be read soon.
  template <class T>
  void prefetch(const T* p) const {
    __builtin_prefetch(p + c, 0, 2);
  }
};

// The last channels, fewer than the lanes of a vector.
struct PartVector {
  static constexpr bool kIsFull = false;

  int64_t c;
  int lanes;

  template <class T>
  Simd::Vector in(const T* p) const {
    return Simd::load(p + c, lanes);
  }
  template <class T>
  Simd::Vector out(const T* p) const {
    return Simd::load(p + c, lanes);
  }
  template <class T>
  void store(T* p, Simd::Vector v) const {
    Simd::store(p, v, lanes);
  }
};

// `multiplier` outputs per input channel: output lane l reads input channel (c + l) / multiplier.
struct ExpandedVector : PartVector {
  int64_t group;
  int groups;
  Simd::Index index;

  ExpandedVector(int64_t c, int lanes, int64_t multiplier) : PartVector{c, lanes}, group(c / multiplier) {
    int32_t lane[Simd::kLanes] = {};
    for (int l = 0; l < lanes; ++l) lane[l] = static_cast<int32_t>((c + l) / multiplier - group);
    groups = lane[lanes - 1] + 1;
    index = Simd::index(lane);
  }

  template <class T>
  Simd::Vector in(const T* p) const {
    return Simd::permute(Simd::load(p + group, groups), index);
  }
};

// Calls `body` with each vector of the `groups * multiplier` output channels.
template <class Body>
inline void each_vector(int64_t groups, int64_t multiplier, const Body& body) {
  const int64_t channels = groups * multiplier;
  int64_t c = 0;
  if (multiplier > 1) {
    for (; c < channels; c += Simd::kLanes) {
      const int64_t rest = channels - c;
      body(ExpandedVector(c, rest < Simd::kLanes ? static_cast<int>(rest) : Simd::kLanes, multiplier));
    }
    return;
  }
  for (; c + Simd::kLanes <= channels; c += Simd::kLanes) body(FullVector{c});
  if (c < channels) body(PartVector{c, static_cast<int>(channels - c)});
}

}  // namespace
}  // namespace jds

#endif  // JDS_KERNELS_CHANNELS_H_
