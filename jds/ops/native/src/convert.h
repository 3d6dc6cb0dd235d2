// Arrays of one type into another.
#ifndef JDS_CONVERT_H_
#define JDS_CONVERT_H_

#include <cstdint>

#include "problem.h"

namespace jds {

void to_floats(Type type, const void* from, int64_t size, float* to);

void from_floats(const float* from, int64_t size, Type type, void* to);

}  // namespace jds

#endif  // JDS_CONVERT_H_
