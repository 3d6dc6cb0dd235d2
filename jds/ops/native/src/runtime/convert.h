// Conversion between float32 and the 16-bit types.
#ifndef JDS_RUNTIME_CONVERT_H_
#define JDS_RUNTIME_CONVERT_H_

#include <cstdint>
#include <memory>

#include "kernels/params.h"
#include "runtime/array.h"

namespace jds {

void to_floats(Type type, const void* from, int64_t size, float* to);

void from_floats(const float* from, int64_t size, Type type, void* to);

// An array's numbers as floats, copied only if they have another type.
class Floats {
 public:
  explicit Floats(const Array& array);
  const float* data() const { return data_; }

 private:
  const float* data_;
  std::unique_ptr<float[]> converted_;
};

// Adds `count` arrays of the size of `out`, one after another, into the first, and writes the sum to `out`.
void add_parts(float* parts, int64_t count, const Array& out);

}  // namespace jds

#endif  // JDS_RUNTIME_CONVERT_H_
