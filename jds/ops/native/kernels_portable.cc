#include "simd/portable.h"

#include "depthwise.h"
#include "kernel_gradient.h"
#include "problem.h"

namespace jds {

extern const Kernels kPortable;
const Kernels kPortable = {"portable", depthwise, kernel_gradient};

}  // namespace jds
