// x86 flags: -mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx2 -mfma -mf16c
#define JDS_SIMD_HEADER "kernels/simd/avx512.h"

#include "kernels/table.h"

namespace jds {

extern const Kernels kAvx512;
const Kernels kAvx512 = table("avx512");

}  // namespace jds
