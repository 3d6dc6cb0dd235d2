// The taps of a position of the long array, over all axes. Compiled once for each instruction set.
#ifndef JDS_KERNELS_ROWS_H_
#define JDS_KERNELS_ROWS_H_

#include <stdint.h>

#include "kernels/params.h"

namespace jds {
namespace {

// Calls `body(pixel of the moving array, position of the short array)` for each tap of the first position of a run.
template <class Body>
inline void each_tap(const Spatial& space, int64_t row, const Run& run, const Body& body) {
  const OuterAxis &first = space.outer[0], &second = space.outer[1];
  const InnerAxis& inner = space.inner;
  const int64_t l1 = row % second.long_size, l0 = row / second.long_size % first.long_size;
  const int64_t image = row / second.long_size / first.long_size;
  for (int64_t i = first.begin[l0]; i < first.begin[l0 + 1]; ++i) {
    const Tap& outer = first.taps[i];
    const int64_t plane = image * first.moving_size + outer.moving;
    for (int64_t j = second.begin[l1]; j < second.begin[l1 + 1]; ++j) {
      const Tap& middle = second.taps[j];
      const int64_t line = (plane * second.moving_size + middle.moving) * inner.moving_size;
      const int64_t position = (outer.position * second.short_size + middle.position) * inner.short_size;
      for (int64_t k = run.taps_begin; k < run.taps_end; ++k) {
        body(line + inner.taps[k].moving, position + inner.taps[k].position);
      }
    }
  }
}

}  // namespace
}  // namespace jds

#endif  // JDS_KERNELS_ROWS_H_
