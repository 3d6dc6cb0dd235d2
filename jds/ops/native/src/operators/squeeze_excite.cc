// Squeeze and excitation: each channel times a gate, computed from the means of all channels.
#include <algorithm>
#include <memory>

#include "kernels/kernels.h"
#include "operators/channel_means.h"
#include "operators/operators.h"
#include "operators/row_product.h"
#include "operators/validate.h"
#include "runtime/array.h"
#include "runtime/memory.h"
#include "runtime/threads.h"

namespace jds {
namespace {

RowProduct row_product(const float* left, int64_t rows, const Array& weights, const Epilogue& epilogue, float* out) {
  return {.rows = rows,
          .depth = weights.dims[0],
          .features = weights.dims[1],
          .left = left,
          .type = weights.type,
          .out_type = Type::kFloat32,
          .weights = weights.data,
          .out = out,
          .epilogue = epilogue,
          .skip = nullptr};
}

}  // namespace

Status squeeze_excite(const Array& images, const Array& squeeze, const EpilogueArrays& first, const Array& excite,
                      const EpilogueArrays& second, const Array& out, Threads& threads) {
  const auto &i = images.dims, &s = squeeze.dims, &e = excite.dims;
  if (i.size() != 3 || s.size() != 2 || e.size() != 2 || out.dims != i || s[0] != i[2] || e[1] != i[2] ||
      e[0] != s[1]) {
    return invalid_shapes("squeeze and excitation take (channels, squeezed) and (squeezed, channels) to (batch, "
                          "positions, channels)", squeeze, excite, out);
  }
  if (squeeze.type != images.type || excite.type != images.type || out.type != images.type) {
    return invalid("the operands and the result of squeeze and excitation must have one type");
  }
  Epilogue epilogues[2];
  if (Status status = make_epilogue(first, s[1], epilogues[0]); !status.ok()) return status;
  if (Status status = make_epilogue(second, e[1], epilogues[1]); !status.ok()) return status;
  if (out.size() == 0) return {};
  const int64_t batch = i[0], positions = i[1], channels = i[2], squeezed = s[1];
  const std::unique_ptr<float[]> buffer = allocate<float>(batch * (2 * channels + squeezed));
  float *means = buffer.get(), *hidden = means + batch * channels, *gates = hidden + batch * squeezed;
  const RowProduct down = row_product(means, batch, squeeze, epilogues[0], hidden);
  const RowProduct up = row_product(hidden, batch, excite, epilogues[1], gates);
  const int64_t units = batch * positions, tasks = number_of_tasks(out.size(), units, threads.count());
  const auto scale = [&](int64_t task) {
    for (int64_t unit = units * task / tasks, end = units * (task + 1) / tasks; unit < end;) {
      const int64_t number = unit / positions, begin = unit % positions;
      const int64_t count = std::min(positions - begin, end - unit);
      void* scaled = static_cast<char*>(out.data) + number * positions * channels * bytes_of(out.type);
      kernels().scale_channels(image_of(images, number), gates + number * channels, begin, begin + count, scaled);
      unit += count;
    }
  };
  parallel_for(threads, {channel_means_phase(images, means, threads), row_product_phase(down, threads),
                         row_product_phase(up, threads), {tasks, scale}});
  return {};
}

}  // namespace jds
