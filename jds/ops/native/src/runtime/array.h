// Arrays in memory, and arithmetic with their sizes.
#ifndef JDS_RUNTIME_ARRAY_H_
#define JDS_RUNTIME_ARRAY_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "kernels/params.h"

namespace jds {

// The product of sizes [begin, end).
inline int64_t product(const std::vector<int64_t>& sizes, size_t begin, size_t end) {
  int64_t total = 1;
  for (size_t i = begin; i < end; ++i) total *= sizes[i];
  return total;
}

// a / b, rounded up, for b > 0.
inline int64_t divide_up(int64_t a, int64_t b) { return a / b + (a % b > 0); }

// A dense array, the last dimension fastest.
struct Array {
  Type type;
  std::vector<int64_t> dims;
  void* data;

  int64_t size() const { return product(dims, 0, dims.size()); }
  int64_t bytes() const { return size() * bytes_of(type); }
};

}  // namespace jds

#endif  // JDS_RUNTIME_ARRAY_H_
