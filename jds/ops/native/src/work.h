// How work is cut into tasks, and the memory that tasks work in.
#ifndef JDS_WORK_H_
#define JDS_WORK_H_

#include <cstdint>
#include <memory>

#include "convolve.h"

namespace jds {

// Less work than this many products is not worth the waking of a thread.
constexpr int64_t kProductsOfATask = 1 << 17;
// Parts for each thread, so that one that is interrupted does not keep the others waiting.
constexpr int64_t kTasksOfAThread = 4;

// For so many products, in so many units that cannot be cut.
int64_t number_of_tasks(int64_t products, int64_t units, int64_t threads);

// Adds arrays of the result's shape, one after another, into the first, and gives the sum out.
void add_parts(float* parts, int64_t count, const Array& out);

// Floats of an array, converted if need be.
class Floats {
 public:
  explicit Floats(const Array& array);
  const float* data() const { return data_; }

 private:
  const float* data_;
  std::unique_ptr<float[]> converted_;
};

}  // namespace jds

#endif  // JDS_WORK_H_
