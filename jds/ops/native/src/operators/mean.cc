// Means of each channel over the positions of an image.
#include <memory>

#include "operators/channel_means.h"
#include "operators/operators.h"
#include "operators/validate.h"
#include "runtime/array.h"
#include "runtime/convert.h"
#include "runtime/memory.h"
#include "runtime/threads.h"

namespace jds {

Status mean(const Array& images, const Array& out, Threads& threads) {
  const auto &i = images.dims, &o = out.dims;
  if (i.size() != 3 || o.size() != 2 || i[0] != o[0] || i[2] != o[1]) {
    return invalid_shapes("a mean takes (batch, positions, channels) to (batch, channels)", images, images, out);
  }
  if (out.type != images.type) return invalid("a mean's result must have the type of its operand");
  if (out.size() == 0) return {};
  if (out.type == Type::kFloat32) {
    parallel_for(threads, {channel_means_phase(images, static_cast<float*>(out.data), threads)});
    return {};
  }
  const std::unique_ptr<float[]> means = allocate<float>(out.size());
  parallel_for(threads, {channel_means_phase(images, means.get(), threads)});
  from_floats(means.get(), out.size(), out.type, out.data);
  return {};
}

}  // namespace jds
