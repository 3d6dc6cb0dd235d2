#define JDS_SIMD_HEADER "kernels/simd/portable.h"

#include "kernels/table.h"

namespace jds {

extern const Kernels kPortable;
const Kernels kPortable = table("portable");

}  // namespace jds
