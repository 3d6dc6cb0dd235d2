// Means of each channel over the positions of images, as a phase of an operator.
#ifndef JDS_OPERATORS_CHANNEL_MEANS_H_
#define JDS_OPERATORS_CHANNEL_MEANS_H_

#include <algorithm>

#include "kernels/kernels.h"
#include "kernels/params.h"
#include "runtime/array.h"
#include "runtime/threads.h"

namespace jds {

// One of the images, which are (batch, positions, channels).
inline Image image_of(const Array& images, int64_t number) {
  const int64_t positions = images.dims[1], channels = images.dims[2];
  const int64_t offset = number * positions * channels * bytes_of(images.type);
  return {.positions = positions,
          .channels = channels,
          .type = images.type,
          .data = static_cast<const char*>(images.data) + offset};
}

// Writes (batch, channels). Each channel is summed by one task, so that the number of threads does not matter.
inline Phase channel_means_phase(const Array& images, float* means, const Threads& threads) {
  constexpr int64_t kChannels = 64;
  const int64_t channels = images.dims[2], pieces = divide_up(channels, kChannels), units = images.dims[0] * pieces;
  const int64_t tasks = number_of_tasks(images.size(), units, threads.count());
  return {tasks, [&images, means, channels, pieces, units, tasks](int64_t task) {
            for (int64_t unit = units * task / tasks; unit < units * (task + 1) / tasks; ++unit) {
              const int64_t number = unit / pieces, begin = unit % pieces * kChannels;
              const int64_t end = std::min(channels, begin + kChannels);
              const Image image = image_of(images, number);
              float* own = means + number * channels;
              kernels().channel_sums(image, begin, end, own);
              for (int64_t c = begin; c < end; ++c) own[c] /= static_cast<float>(image.positions);
            }
          }};
}

}  // namespace jds

#endif  // JDS_OPERATORS_CHANNEL_MEANS_H_
