// Which pixels of the moving array a row of the long one meets. Compiled once for each instruction set.
#ifndef JDS_ROWS_H_
#define JDS_ROWS_H_

#include "problem.h"

namespace jds {
namespace {

// Calls `body(pixel of the moving array, position of the short one)` for all that the first position of a run meets.
template <class Body>
inline void each_meeting(const Spatial& space, int64_t row, const Run& run, const Body& body) {
  const OuterAxis &first = space.outer[0], &second = space.outer[1];
  const InnerAxis& inner = space.inner;
  const int64_t l1 = row % second.long_size, l0 = row / second.long_size % first.long_size;
  const int64_t image = row / second.long_size / first.long_size;
  for (int64_t i = first.begin[l0]; i < first.begin[l0 + 1]; ++i) {
    const Meeting& outer = first.meetings[i];
    const int64_t plane = image * first.moving_size + outer.moving;
    for (int64_t j = second.begin[l1]; j < second.begin[l1 + 1]; ++j) {
      const Meeting& middle = second.meetings[j];
      const int64_t line = (plane * second.moving_size + middle.moving) * inner.moving_size;
      const int64_t position = (outer.position * second.short_size + middle.position) * inner.short_size;
      for (int64_t k = run.meetings_begin; k < run.meetings_end; ++k) {
        body(line + inner.meetings[k].moving, position + inner.meetings[k].position);
      }
    }
  }
}

}  // namespace
}  // namespace jds

#endif  // JDS_ROWS_H_
