#include "kernels/kernels.h"

#include <string.h>

#include <atomic>

namespace jds {

extern const Kernels kPortable;
#if defined(__x86_64__)
extern const Kernels kAvx2, kAvx512;
#endif

namespace {

KernelList detect() {
  KernelList found = {};
  const auto add = [&](const Kernels& kernels) {
    found.list[found.count++] = &kernels;
    if (found.count > 1) strcat(found.names, " ");
    strcat(found.names, kernels.name);
  };
#if defined(__x86_64__)
  __builtin_cpu_init();
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c");
  if (avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl")) {
    add(kAvx512);
  }
  if (avx2) add(kAvx2);
#endif
  add(kPortable);
  return found;
}

std::atomic<const Kernels*>& chosen() {
  static std::atomic<const Kernels*> kernels{available_kernels().list[0]};
  return kernels;
}

}  // namespace

const KernelList& available_kernels() {
  static const KernelList found = detect();
  return found;
}

const Kernels& kernels() { return *chosen().load(); }

bool use_kernels(const char* name) {
  for (const Kernels* kernels : available_kernels()) {
    if (strcmp(name, kernels->name) != 0) continue;
    chosen().store(kernels);
    return true;
  }
  return false;
}

}  // namespace jds
